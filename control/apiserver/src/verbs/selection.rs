//! Which objects a list, a watch or a collection delete means: label and field selectors.

use kinds::Kind;
use kinds::selector::{FieldSelector, LabelSelector, SelectorError};
use serde_json::Value;

use crate::object::Stored;
use crate::query::ListOptions;
use crate::server::Call;
use crate::status::Status;

/// Parsed selectors of one kind.
pub(crate) struct Selection {
    kind: &'static Kind,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(crate) fn parse(call: &Call<'_>, options: &ListOptions) -> Result<Self, Status> {
        let refused = |error: SelectorError| Status::bad_request(error.to_string());
        let labels = LabelSelector::parse(&options.label_selector).map_err(refused)?;
        // A watch of one named object is a watch with a selector.
        let fields = match call.path.name.as_deref() {
            Some(name) if options.field_selector.is_empty() => format!("metadata.name={name}"),
            Some(name) => format!("{},metadata.name={name}", options.field_selector),
            None => options.field_selector.clone(),
        };
        let fields = FieldSelector::parse(&fields).map_err(refused)?;
        fields.check(call.kind).map_err(refused)?;
        Ok(Self { kind: call.kind, labels, fields })
    }

    pub(crate) fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// Whether everything is meant, so that nothing needs to be parsed.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.matches_object(object) && self.fields.matches(self.kind, object)
    }

    pub(crate) fn matches_stored(&self, object: &Stored) -> Result<bool, Status> {
        if self.is_everything() {
            return Ok(true);
        }
        Ok(self.matches(&object.parse()?))
    }

    /// The shortest key prefix that holds everything meant.
    pub(crate) fn prefix(&self, call: &Call<'_>) -> String {
        let scope = call.scope();
        match self.fields.name() {
            Some(name) if !call.kind.namespaced || scope.namespace.is_some() => scope.key(name),
            _ => match self.fields.exact("metadata.namespace") {
                Some(namespace) if call.kind.namespaced && scope.namespace.is_none() => {
                    format!("{}{namespace}/", scope.prefix())
                }
                _ => scope.prefix(),
            },
        }
    }
}
