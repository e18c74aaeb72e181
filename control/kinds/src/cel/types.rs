//! Types that the checker knows, and the patterns by which functions say what they take.

use std::fmt;
use std::rc::Rc;

use super::value::Val;
use super::view::Shape;

/// The type of an expression. Objects are told apart by the schema that they have.
#[derive(Clone, Debug)]
pub(crate) enum Type<'s> {
    /// Known when it runs; also of what was already found wrong.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Timestamp,
    /// The name of a type.
    Name,
    Ip,
    Cidr,
    Url,
    Quantity,
    Semver,
    Format,
    List(Rc<Type<'s>>),
    Map(Rc<Type<'s>>, Rc<Type<'s>>),
    Optional(Rc<Type<'s>>),
    Object(Shape<'s>),
}

impl<'s> Type<'s> {
    pub(crate) fn list(of: Self) -> Self {
        Self::List(Rc::new(of))
    }

    pub(crate) fn map(key: Self, value: Self) -> Self {
        Self::Map(Rc::new(key), Rc::new(value))
    }

    pub(crate) fn optional(of: Self) -> Self {
        Self::Optional(Rc::new(of))
    }

    /// The type that both are; none when there is none. Null is a value of any.
    pub(super) fn join(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Dyn, _) | (_, Self::Dyn) => Some(Self::Dyn),
            (Self::Null, it) | (it, Self::Null) => Some(it.clone()),
            (Self::List(a), Self::List(b)) => Some(Self::list(a.join(b)?)),
            (Self::Map(a, b), Self::Map(c, d)) => Some(Self::map(a.join(c)?, b.join(d)?)),
            (Self::Optional(a), Self::Optional(b)) => Some(Self::optional(a.join(b)?)),
            (Self::Object(a), Self::Object(b)) => a.is(*b).then(|| self.clone()),
            (a, b) => (std::mem::discriminant(a) == std::mem::discriminant(b)).then(|| a.clone()),
        }
    }

    fn is_ordered(&self) -> bool {
        matches!(
            self,
            Self::Dyn
                | Self::Bool
                | Self::Int
                | Self::Uint
                | Self::Double
                | Self::Text
                | Self::Bytes
                | Self::Duration
                | Self::Timestamp
        )
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Dyn | Self::Int | Self::Uint | Self::Double)
    }
}

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::List(of) => return write!(f, "list({of})"),
            Self::Map(key, value) => return write!(f, "map({key}, {value})"),
            Self::Optional(of) => return write!(f, "optional_type({of})"),
            Self::Dyn => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            Self::Name => "type",
            Self::Ip => "net.IP",
            Self::Cidr => "net.CIDR",
            Self::Url => "kubernetes.URL",
            Self::Quantity => "kubernetes.Quantity",
            Self::Semver => "kubernetes.Semver",
            Self::Format => "kubernetes.NamedFormat",
            Self::Object(_) => "object",
        };
        f.write_str(name)
    }
}

/// What a function takes or gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern {
    Dyn,
    /// The same type wherever it stands in one signature.
    Any,
    /// As `Any`, of values that have an order.
    Ordered,
    /// Of any of the three kinds of numbers.
    Number,
    /// The values of a map of `Any`.
    Other,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Timestamp,
    Type,
    Ip,
    Cidr,
    Url,
    Quantity,
    Semver,
    Format,
    List(&'static Self),
    Map(&'static Self, &'static Self),
    Optional(&'static Self),
}

/// What `Any`, `Ordered` and `Other` are in one call.
#[derive(Default)]
pub(super) struct Bindings<'s> {
    any: Option<Type<'s>>,
    other: Option<Type<'s>>,
}

impl Pattern {
    /// Whether a value of the type may be given; notes what `Any` is.
    pub(super) fn takes<'s>(&self, ty: &Type<'s>, bindings: &mut Bindings<'s>) -> bool {
        let bind =
            |slot: &mut Option<Type<'s>>| match slot.as_ref().map_or(Some(ty.clone()), |it| it.join(ty)) {
                Some(joined) => {
                    *slot = Some(joined);
                    true
                }
                None => false,
            };
        match (self, ty) {
            (Self::Any, _) => bind(&mut bindings.any),
            (Self::Other, _) => bind(&mut bindings.other),
            (Self::Ordered, ty) => ty.is_ordered() && bind(&mut bindings.any),
            (Self::Number, ty) => ty.is_number(),
            (Self::Dyn, _) | (_, Type::Dyn) => true,
            (Self::List(of), Type::List(ty)) => of.takes(ty, bindings),
            (Self::Map(key, value), Type::Map(k, v)) => key.takes(k, bindings) && value.takes(v, bindings),
            (Self::Optional(of), Type::Optional(ty)) => of.takes(ty, bindings),
            (scalar, ty) => {
                scalar.scalar().is_some_and(|it| std::mem::discriminant(&it) == std::mem::discriminant(ty))
            }
        }
    }

    /// The type that a function gives.
    pub(super) fn given<'s>(&self, bindings: &Bindings<'s>) -> Type<'s> {
        match self {
            Self::Any | Self::Ordered => bindings.any.clone().unwrap_or(Type::Dyn),
            Self::Other => bindings.other.clone().unwrap_or(Type::Dyn),
            Self::List(of) => Type::list(of.given(bindings)),
            Self::Map(key, value) => Type::map(key.given(bindings), value.given(bindings)),
            Self::Optional(of) => Type::optional(of.given(bindings)),
            scalar => scalar.scalar().unwrap_or(Type::Dyn),
        }
    }

    /// Whether the value may be given; what it holds is not looked at.
    pub(super) fn holds(&self, value: &Val<'_>) -> bool {
        match (self, value) {
            (Self::Dyn | Self::Any | Self::Other, _)
            | (Self::Bool | Self::Ordered, Val::Bool(_))
            | (Self::Int | Self::Number | Self::Ordered, Val::Int(_))
            | (Self::Uint | Self::Number | Self::Ordered, Val::Uint(_))
            | (Self::Double | Self::Number | Self::Ordered, Val::Double(_))
            | (Self::Text | Self::Ordered, Val::Text(_))
            | (Self::Bytes | Self::Ordered, Val::Bytes(_))
            | (Self::Duration | Self::Ordered, Val::Duration(_))
            | (Self::Timestamp | Self::Ordered, Val::Timestamp(_))
            | (Self::Type, Val::Type(_))
            | (Self::Ip, Val::Ip(_))
            | (Self::Cidr, Val::Cidr(_))
            | (Self::Url, Val::Url(_))
            | (Self::Quantity, Val::Quantity(_))
            | (Self::Semver, Val::Semver(_))
            | (Self::Format, Val::Format(_))
            | (Self::List(_), Val::List(_))
            | (Self::Map(_, _), Val::Map(_))
            | (Self::Optional(_), Val::Optional(_)) => true,
            (_, _) => false,
        }
    }

    fn scalar<'s>(self) -> Option<Type<'s>> {
        Some(match self {
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Uint => Type::Uint,
            Self::Double => Type::Double,
            Self::Text => Type::Text,
            Self::Bytes => Type::Bytes,
            Self::Duration => Type::Duration,
            Self::Timestamp => Type::Timestamp,
            Self::Type => Type::Name,
            Self::Ip => Type::Ip,
            Self::Cidr => Type::Cidr,
            Self::Url => Type::Url,
            Self::Quantity => Type::Quantity,
            Self::Semver => Type::Semver,
            Self::Format => Type::Format,
            Self::Dyn
            | Self::Any
            | Self::Ordered
            | Self::Number
            | Self::Other
            | Self::List(_)
            | Self::Map(_, _)
            | Self::Optional(_) => return None,
        })
    }
}
