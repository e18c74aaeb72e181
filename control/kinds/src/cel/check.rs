//! Whether a parsed rule makes sense: its names are known, its fields are in the schema, its functions take what they get.
//!
//! Where types are known only when the rule runs (`dyn`), it says yes. On the way names become positions, and calls get
//! the meanings that they can have.

use super::ast::{Call, Each, Expr, Node, Select, Verb};
use super::functions;
use super::lexer::Wrong;
use super::library::{regex, time};
use super::types::{Bindings, Type};
use super::value::{TYPE_NAMES, Val};
use super::view::type_of;
use crate::custom::Pattern;

/// The type of what the rule gives, and which variables it reads.
pub(super) fn check<'s>(
    root: &mut Expr,
    variables: &[(&str, Type<'s>)],
) -> Result<(Type<'s>, Vec<usize>), Vec<Wrong>> {
    let variables = variables.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect();
    let mut checker = Checker { variables, errors: Vec::new(), used: Vec::new() };
    let ty = checker.check(root);
    checker.errors.sort_by_key(|error| error.at);
    match checker.errors.is_empty() {
        true => Ok((ty, checker.used)),
        false => Err(checker.errors),
    }
}

struct Checker<'s> {
    /// Innermost last; positions are those at run time.
    variables: Vec<(String, Type<'s>)>,
    errors: Vec<Wrong>,
    used: Vec<usize>,
}

impl<'s> Checker<'s> {
    /// Notes what is wrong; nothing more is said of it after that.
    fn wrong(&mut self, at: usize, message: String) -> Type<'s> {
        self.errors.push(Wrong { at, message });
        Type::Dyn
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.variables.iter().rposition(|(known, _)| known == name)
    }

    fn check(&mut self, expr: &mut Expr) -> Type<'s> {
        let at = expr.at;
        if let Node::Name(_) | Node::Select(_) = &expr.node
            && let Some(known) = self.type_name(expr)
        {
            expr.node = Node::Literal(Val::Type(known));
        }
        match &mut expr.node {
            Node::Literal(value) => literal(value),
            Node::Slot(slot) => self.variables[*slot].1.clone(),
            Node::Name(name) => match self.position(name) {
                Some(slot) => {
                    self.used.push(slot);
                    expr.node = Node::Slot(slot);
                    self.variables[slot].1.clone()
                }
                None => {
                    let message = format!("undeclared reference to '{name}' (in container '')");
                    self.wrong(at, message)
                }
            },
            Node::Select(select) => self.select(at, select),
            Node::Call(call) => self.call(at, call),
            Node::And(parts) => self.junction(at, "_&&_", parts),
            Node::Or(parts) => self.junction(at, "_||_", parts),
            Node::If(parts) => self.condition(at, parts),
            Node::List(elements) => {
                let mut joined: Option<Type<'s>> = None;
                for element in elements {
                    let mut ty = self.check(&mut element.value);
                    if element.is_optional {
                        ty = self.unwrapped(element.value.at, ty);
                    }
                    joined = Some(joined.map_or(ty.clone(), |it| it.join(&ty).unwrap_or(Type::Dyn)));
                }
                Type::list(joined.unwrap_or(Type::Dyn))
            }
            Node::Map(entries) => {
                let mut joined: Option<(Type<'s>, Type<'s>)> = None;
                for entry in entries {
                    let key = self.check(&mut entry.key);
                    let mut value = self.check(&mut entry.value);
                    if entry.is_optional {
                        value = self.unwrapped(entry.value.at, value);
                    }
                    joined = Some(match joined {
                        Some((a, b)) => {
                            (a.join(&key).unwrap_or(Type::Dyn), b.join(&value).unwrap_or(Type::Dyn))
                        }
                        None => (key, value),
                    });
                }
                let (key, value) = joined.unwrap_or((Type::Dyn, Type::Dyn));
                Type::map(key, value)
            }
            Node::Each(each) => self.each(at, each),
        }
    }

    /// The name of a type, when that is what stands there.
    fn type_name(&self, expr: &Expr) -> Option<&'static str> {
        let name = expr.dotted()?;
        let first = name.split('.').next()?;
        let known = TYPE_NAMES.iter().find(|known| **known == name)?;
        self.position(first).is_none().then_some(known)
    }

    fn unwrapped(&mut self, at: usize, ty: Type<'s>) -> Type<'s> {
        match ty {
            Type::Optional(of) => (*of).clone(),
            Type::Dyn => Type::Dyn,
            other => self.wrong(at, format!("expected type 'optional_type' but found '{other}'")),
        }
    }

    fn select(&mut self, at: usize, select: &mut Select) -> Type<'s> {
        let from = self.check(&mut select.from);
        let (from, was_optional) = match from {
            Type::Optional(of) => ((*of).clone(), true),
            other => (other, false),
        };
        let field = match &from {
            Type::Dyn => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Object(shape) => match shape.field(&select.field).and_then(|(_, place)| type_of(place)) {
                Some(ty) => ty,
                None => self.wrong(at, format!("undefined field '{}'", select.field)),
            },
            other => {
                let message = format!("type '{other}' does not support field selection");
                self.wrong(at, message)
            }
        };
        match (select.is_test, was_optional || select.is_optional) {
            (true, _) => Type::Bool,
            (false, true) => Type::optional(field),
            (false, false) => field,
        }
    }

    fn junction(&mut self, at: usize, name: &str, parts: &mut [Expr]) -> Type<'s> {
        let types: Vec<Type<'s>> = parts.iter_mut().map(|part| self.check(part)).collect();
        if let Some(other) = types.iter().find(|ty| !is_bool(ty)) {
            let given = match types.as_slice() {
                [a, b] => format!("{a}, {b}"),
                _ => format!("bool, {other}"),
            };
            self.wrong(at, format!("found no matching overload for '{name}' applied to '({given})'"));
        }
        Type::Bool
    }

    fn condition(&mut self, at: usize, parts: &mut [Expr; 3]) -> Type<'s> {
        let [condition, then, otherwise] = parts;
        let (condition, a, b) = (self.check(condition), self.check(then), self.check(otherwise));
        match a.join(&b).filter(|_| is_bool(&condition)) {
            Some(joined) => joined,
            None => {
                let given = format!("({condition}, {a}, {b})");
                self.wrong(at, format!("found no matching overload for '_?_:_' applied to '{given}'"))
            }
        }
    }

    fn call(&mut self, at: usize, call: &mut Call) -> Type<'s> {
        self.qualify(call);
        let mut types = Vec::with_capacity(call.args.len() + 1);
        for arg in call.target.iter_mut().chain(&mut call.args) {
            types.push(self.check(arg));
        }
        if matches!(call.name.as_str(), "_[_]" | "_[?_]")
            && let Some(ty) = optional_index(&call.name, &types)
        {
            call.overloads = functions::named("_[_]", false);
            return ty;
        }
        let is_method = call.target.is_some();
        let mut given: Option<Type<'s>> = None;
        for overload in functions::named(&call.name, is_method) {
            let mut bindings = Bindings::default();
            let takes = overload.takes;
            if takes.len() == types.len()
                && takes.iter().zip(&types).all(|(it, ty)| it.takes(ty, &mut bindings))
            {
                call.overloads.push(overload);
                let gives = overload.gives.given(&bindings);
                given = Some(given.map_or(gives.clone(), |it| it.join(&gives).unwrap_or(Type::Dyn)));
            }
        }
        self.constants(at, call);
        match given {
            Some(ty) => ty,
            None if functions::is_known(&call.name) => {
                let applied = applied(&types, is_method);
                self.wrong(
                    at,
                    format!("found no matching overload for '{}' applied to '{applied}'", call.name),
                )
            }
            None => {
                let message = format!("undeclared reference to '{}' (in container '')", call.name);
                self.wrong(at, message)
            }
        }
    }

    /// `sets.contains(…)` is a function with a dot in its name, not a method of something called `sets`.
    fn qualify(&self, call: &mut Call) {
        let Some(space) = call.target.as_ref().and_then(Expr::dotted) else { return };
        let first = space.split('.').next().unwrap_or_default();
        let name = format!("{space}.{}", call.name);
        if self.position(first).is_none() && functions::is_known(&name) {
            call.name = name;
            call.target = None;
        }
    }

    /// What stands in the text is checked, and compiled, once.
    fn constants(&mut self, at: usize, call: &mut Call) {
        let position = usize::from(call.target.is_none());
        if regex::takes_pattern(&call.name)
            && let Some(Node::Literal(Val::Text(text))) = call.args.get(position).map(|arg| &arg.node)
        {
            match Pattern::parse(text) {
                Ok(pattern) => call.pattern = Some(pattern),
                Err(error) => drop(self.wrong(at, format!("invalid {} argument: {error}", call.name))),
            }
        }
        if let ("duration" | "timestamp", [Expr { node: Node::Literal(Val::Text(text)), at, .. }]) =
            (call.name.as_str(), call.args.as_slice())
        {
            let is_good = match call.name.as_str() {
                "duration" => time::parse_duration(text).is_some(),
                _ => time::parse_timestamp(text).is_ok(),
            };
            if !is_good {
                self.wrong(*at, format!("invalid {} argument", call.name));
            }
        }
    }

    fn each(&mut self, at: usize, each: &mut Each) -> Type<'s> {
        let over = self.check(&mut each.over);
        let Some(names) = self.ranged(each, &over) else {
            let message = format!(
                "expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
            );
            return self.wrong(each.over.at, message);
        };
        let mark = self.variables.len();
        self.variables.extend(each.names.iter().cloned().zip(names.clone()));
        if let Some(filter) = &mut each.filter {
            let ty = self.check(filter);
            self.expect_bool(at, "_?_:_", &ty, |ty| format!("{ty}, list, list"));
        }
        let body = self.check(&mut each.body);
        self.variables.truncate(mark);
        match each.verb {
            Verb::All => {
                self.expect_bool(at, "_&&_", &body, |ty| format!("bool, {ty}"));
                Type::Bool
            }
            Verb::Exists => {
                self.expect_bool(at, "_||_", &body, |ty| format!("bool, {ty}"));
                Type::Bool
            }
            Verb::ExistsOne => {
                self.expect_bool(at, "_?_:_", &body, |ty| format!("{ty}, int, int"));
                Type::Bool
            }
            Verb::Filter => {
                let made = Type::list(names.into_iter().next().unwrap_or(Type::Dyn));
                self.expect_bool(at, "_?_:_", &body, |ty| format!("{ty}, {made}, {made}"));
                made
            }
            Verb::Map => Type::list(body),
            Verb::TransformMap => Type::map(names.into_iter().next().unwrap_or(Type::Dyn), body),
            Verb::TransformMapEntry => match body {
                Type::Map(_, _) | Type::Dyn => body,
                other => self.wrong(at, format!("expected type 'map' but found '{other}'")),
            },
            Verb::SortBy => over,
            Verb::OptMap => Type::optional(body),
            Verb::OptFlatMap => match body {
                Type::Optional(_) | Type::Dyn => body,
                other => self.wrong(at, format!("expected type 'optional_type' but found '{other}'")),
            },
        }
    }

    /// The types of a macro's variables; none when it cannot be of this.
    fn ranged(&self, each: &Each, over: &Type<'s>) -> Option<Vec<Type<'s>>> {
        let wants_optional = matches!(each.verb, Verb::OptMap | Verb::OptFlatMap);
        let count = each.names.len();
        match over {
            Type::Dyn => Some(vec![Type::Dyn; count]),
            Type::Optional(of) if wants_optional => Some(vec![(**of).clone()]),
            _ if wants_optional => None,
            Type::List(of) if count == 1 => Some(vec![(**of).clone()]),
            Type::List(of) => Some(vec![Type::Int, (**of).clone()]),
            Type::Map(_, _) if each.verb == Verb::SortBy => None,
            Type::Map(key, _) if count == 1 => Some(vec![(**key).clone()]),
            Type::Map(key, value) => Some(vec![(**key).clone(), (**value).clone()]),
            _ => None,
        }
    }

    /// What a macro asks of an item is a condition; told of it is the operator that the macro stands for.
    fn expect_bool(&mut self, at: usize, name: &str, ty: &Type<'s>, given: impl Fn(&Type<'s>) -> String) {
        if !is_bool(ty) {
            let given = given(ty);
            self.wrong(at, format!("found no matching overload for '{name}' applied to '({given})'"));
        }
    }
}

fn is_bool(ty: &Type<'_>) -> bool {
    matches!(ty, Type::Bool | Type::Dyn)
}

/// The type of an index that gives an optional; none when it is a plain one.
fn optional_index<'s>(name: &str, types: &[Type<'s>]) -> Option<Type<'s>> {
    let of = match types.first()? {
        Type::Optional(of) => (**of).clone(),
        other if name == "_[?_]" => other.clone(),
        _ => return None,
    };
    match of {
        Type::List(of) => Some(Type::optional((*of).clone())),
        Type::Map(_, value) => Some(Type::optional((*value).clone())),
        Type::Dyn => Some(Type::optional(Type::Dyn)),
        _ => None,
    }
}

/// `(int, string)`, or of a method `int.(string)`.
fn applied(types: &[Type<'_>], is_method: bool) -> String {
    let words = |types: &[Type<'_>]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
    match types.split_first() {
        Some((target, args)) if is_method => format!("{target}.({})", words(args)),
        _ => format!("({})", words(types)),
    }
}

fn literal<'s>(value: &Val<'static>) -> Type<'s> {
    match value {
        Val::Null => Type::Null,
        Val::Bool(_) => Type::Bool,
        Val::Int(_) => Type::Int,
        Val::Uint(_) => Type::Uint,
        Val::Double(_) => Type::Double,
        Val::Text(_) => Type::Text,
        Val::Bytes(_) => Type::Bytes,
        Val::Type(_) => Type::Name,
        _ => Type::Dyn,
    }
}
