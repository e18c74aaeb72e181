//! What a kind is: its names, verbs, subresources, columns and selectable fields, as data.

use serde_json::Value;

use crate::custom::{Custom, JsonPath};
use crate::names;
use crate::selector::SelectorError;
use crate::{CellContext, Column, Conversion, FieldErrors, Strategy, meta, tree};

/// Selectable fields: texts at a path, then those that are read another way.
macro_rules! selectable {
    ($($path:literal),* $(; $($label:literal => $read:expr),* $(,)?)?) => {
        &[
            $(($path, crate::Read::By(|object| crate::tree::text(object, $path).to_owned())),)*
            $($(($label, crate::Read::By($read)),)*)?
        ]
    };
}
pub(crate) use selectable;

/// One API kind. A kind is one static, listed in [`crate::ALL`].
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// The kind's name in the schema: `io.k8s.api.core.v1.Pod`.
    pub definition: &'static str,
    pub verbs: &'static [Verb],
    pub subresources: &'static [Subresource],
    pub columns: &'static [Column],
    /// Beyond `metadata.name` and `metadata.namespace`.
    pub selectable: &'static [Selectable],
    pub name_rule: NameRule,
    pub strategy: &'static Strategy,
    /// What the definition of a custom kind says; none for kinds of this program.
    pub custom: Option<&'static Custom>,
    /// Of another version than the stored one: whose objects these are, and how they become it.
    pub conversion: Option<&'static Conversion>,
}

/// A selectable field: its label, and how it is read from an object.
pub type Selectable = (&'static str, Read);

/// How a text is read from an object.
#[derive(Clone, Copy)]
pub enum Read {
    By(fn(&Value) -> String),
    /// The first value at a path.
    At(&'static JsonPath),
}

impl Read {
    /// Empty when there is nothing.
    pub fn of(self, object: &Value) -> String {
        match self {
            Self::By(read) => read(object),
            Self::At(path) => match path.first(object) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            },
        }
    }
}

/// What may be done to a resource, in the words of discovery and authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];
    /// Namespaces, of which nobody deletes many at once.
    pub const NO_COLLECTION_DELETE: &'static [Self] =
        &[Self::Create, Self::Delete, Self::Get, Self::List, Self::Patch, Self::Update, Self::Watch];
    /// What subresources that are a view of the object take.
    pub const VIEW: &'static [Self] = &[Self::Get, Self::Patch, Self::Update];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// `<plural>/<name>`: what it answers with, and what serves it.
pub struct Subresource {
    pub name: &'static str,
    pub verbs: &'static [Verb],
    /// Group, version and kind of its bodies. Discovery leaves group and version out when they are the parent's.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub serves: Serves,
}

/// Which generic handler serves a subresource.
pub enum Serves {
    /// The whole object, of which only status (and metadata) may change.
    Status,
    /// An autoscaling/v1 Scale.
    Scale(Scale),
    /// The whole object, of which only what the view says may change.
    View(&'static View),
    /// The whole object, of which only the spec's finalizers may change.
    Finalize,
    /// POST of a Binding.
    Binding,
    /// POST of an Eviction.
    Eviction,
    /// The container's log, from its node.
    Log,
    /// POST of a TokenRequest.
    Token,
    /// A connection to the node, on which another protocol is spoken.
    Connect(Connect),
    /// HTTP, passed on to what is meant.
    Proxy(Proxied),
}

/// What answers HTTP that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// A port of the pod.
    Pod,
    /// A port of one of the service's pods that are ready.
    Service,
    /// The node itself, or a port of it.
    Node,
}

/// What a connection to a pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// A process in a container.
    Exec,
    /// The streams of a container's own process.
    Attach,
    /// Ports of the pod.
    PortForward,
}

/// A part of an object that is written on its own, beside the status.
#[derive(Debug)]
pub struct View {
    /// Before a PUT or PATCH of it: `(new, old, now)`; the rest of the object becomes old. `now` is RFC 3339.
    pub prepare: fn(&mut Value, &Value, &str),
    /// `(new, old)`
    pub validate: fn(&Value, &Value) -> FieldErrors,
    /// Dotted path of the only part that it may change.
    pub part: &'static str,
    /// Whether a write of it gets defaults and passes admission, as one of the object does.
    pub admitted: bool,
}

/// Where a Scale finds its numbers.
pub struct Scale {
    /// Dotted path of the wanted number.
    pub spec_replicas: &'static str,
    /// Dotted path of the present number.
    pub status_replicas: &'static str,
    /// The label selector as text.
    pub selector: Read,
}

impl Scale {
    /// Of what has a label selector and counts replicas in spec and status.
    pub const REPLICAS: Self = Self {
        spec_replicas: "spec.replicas",
        status_replicas: "status.replicas",
        selector: Read::By(selector_text),
    };
}

impl Subresource {
    /// `status` of the kind `kind` in `group`.
    pub const fn status(group: &'static str, kind: &'static str) -> Self {
        Self { name: "status", verbs: Verb::VIEW, group, version: "v1", kind, serves: Serves::Status }
    }

    /// The same in another version.
    pub const fn at(self, version: &'static str) -> Self {
        let Self { name, verbs, group, kind, serves, .. } = self;
        Self { name, verbs, group, version, kind, serves }
    }

    /// `proxy`, whose options are of the kind `kind`.
    pub const fn proxy(kind: &'static str, proxied: Proxied) -> Self {
        const METHODS: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
        Self { name: "proxy", verbs: METHODS, group: "", version: "v1", kind, serves: Serves::Proxy(proxied) }
    }

    pub const fn scale(scale: Scale) -> Self {
        Self {
            name: "scale",
            verbs: Verb::VIEW,
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            serves: Serves::Scale(scale),
        }
    }
}

/// What names of objects of a kind look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Anything that can be a part of a path.
    PathSegment,
    /// RFC 1123, dots allowed.
    Subdomain,
    /// RFC 1123, no dots.
    Label,
    /// RFC 1035: a label that starts with a letter.
    Label1035,
}

impl NameRule {
    /// What is wrong with `name`, nothing when it is good.
    pub fn check(self, name: &str) -> Option<String> {
        match self {
            Self::PathSegment => names::path_segment(name),
            Self::Subdomain => names::subdomain(name),
            Self::Label => names::label(name),
            Self::Label1035 => names::label_1035(name),
        }
    }

    /// The same for the front of a name that is still to be completed: it may end in dashes.
    pub fn check_prefix(self, prefix: &str) -> Option<String> {
        self.check(&match prefix.strip_suffix('-') {
            Some(front) => format!("{front}a"),
            None => prefix.to_owned(),
        })
    }
}

impl Kind {
    /// What most kinds have in common; each names what is its own.
    pub const PLAIN: Self = Self {
        group: "",
        version: "v1",
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        definition: "",
        verbs: Verb::ALL,
        subresources: &[],
        columns: &[Column::NAME, Column::AGE],
        selectable: &[],
        name_rule: NameRule::Subdomain,
        strategy: &Strategy::PLAIN,
        custom: None,
        conversion: None,
    };

    /// The selectable fields of what keeps a number of pods.
    pub(crate) const BY_REPLICAS: &[Selectable] = selectable![; "status.replicas" => |object| {
        tree::int(object, "status.replicas").unwrap_or_default().to_string()
    }];

    /// `v1` or `apps/v1`, as objects write it.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `pods` or `deployments.apps`, as messages write it.
    pub fn resource(&self) -> String {
        qualified(self.plural, self.group)
    }

    /// `Pod` or `Deployment.apps`, as messages write it.
    pub fn qualified_kind(&self) -> String {
        qualified(self.kind, self.group)
    }

    /// The kind as which its objects lie in the store: itself, unless it is another version of one.
    pub fn stored(&'static self) -> &'static Self {
        self.conversion.map_or(self, |conversion| conversion.of)
    }

    pub fn list_kind(&self) -> String {
        self.custom.map_or_else(|| format!("{}List", self.kind), |custom| custom.list_kind.clone())
    }

    /// What each column shows of `object`. The columns are those of the stored version, and so is what they look at.
    pub fn cells(&self, object: &Value, cx: &CellContext) -> Vec<Value> {
        let cells = |object: &Value| self.columns.iter().map(|column| column.cell_of(object, cx)).collect();
        self.conversion.map_or_else(|| cells(object), |conversion| cells(&conversion.stored(object)))
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// The value of a selectable field of `object`.
    ///
    /// # Errors
    /// The kind has no such selectable field; the text is the `Status` message.
    pub fn field(&self, object: &Value, label: &str) -> Result<String, SelectorError> {
        match label {
            "metadata.name" => Ok(meta::name(object).to_owned()),
            "metadata.namespace" => Ok(meta::namespace(object).to_owned()),
            _ => match self.selectable.iter().find(|(name, _)| *name == label) {
                Some((_, read)) => Ok(read.of(object)),
                None => Err(self.unknown_field(label)),
            },
        }
    }

    /// Whether `label` can be asked for in a field selector.
    ///
    /// # Errors
    /// It cannot; the text is the `Status` message.
    pub fn check_field(&self, label: &str) -> Result<(), SelectorError> {
        let generic = matches!(label, "metadata.name" | "metadata.namespace");
        match generic || self.selectable.iter().any(|(name, _)| *name == label) {
            true => Ok(()),
            false => Err(self.unknown_field(label)),
        }
    }

    fn unknown_field(&self, label: &str) -> SelectorError {
        match self.selectable.is_empty() {
            true => SelectorError::UnknownField(label.to_owned()),
            false => SelectorError::UnsupportedField(label.to_owned()),
        }
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// The label selector at `spec.selector` as text: what a Scale's status carries.
pub(crate) fn selector_text(object: &Value) -> String {
    crate::selector::LabelSelector::from_value(tree::get(object, "spec.selector"))
        .map(|selector| selector.to_string())
        .unwrap_or_default()
}

/// A label selector as a cell shows it.
pub(crate) fn selector_cell(selector: &Value) -> Value {
    let text = crate::selector::LabelSelector::from_value(selector).map(|selector| selector.to_string());
    crate::columns::none_if_empty(text.unwrap_or_default()).into()
}
