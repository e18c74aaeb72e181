//! `fieldsV1`: a set of fields as JSON, in client-go's encoding and order.

use serde_json::{Map, Value};

use super::{Element, FieldSet};

const SELF: &str = ".";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    #[error("{0:?} is no path element")]
    Element(String),
    #[error("managed fields must be objects")]
    NotAnObject,
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    ApiVersion,
    #[error("missing or invalid fieldsType in managed fields entry {0}")]
    FieldsType(usize),
}

impl FieldSet {
    pub fn to_fields_v1(&self) -> Value {
        Value::Object(self.object(false))
    }

    fn object(&self, with_self: bool) -> Map<String, Value> {
        let mut object = Map::new();
        if with_self && !self.is_empty() {
            object.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
        for (element, node) in self.nodes() {
            object.insert(element.encode(), Value::Object(node.below.object(node.member)));
        }
        object
    }

    /// # Errors
    /// Something in it is no path element.
    pub fn from_fields_v1(fields: &Value) -> Result<FieldSet, FieldsError> {
        match fields {
            Value::Object(fields) => FieldSet::from_object(fields),
            Value::Null => Ok(FieldSet::default()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(FieldsError::NotAnObject)
            }
        }
    }

    fn from_object(fields: &Map<String, Value>) -> Result<FieldSet, FieldsError> {
        let mut set = FieldSet::default();
        for (key, value) in fields.iter().filter(|(key, _)| *key != SELF) {
            let below = FieldSet::from_fields_v1(value)?;
            let Some(element) = Element::decode(key)? else { continue };
            let member = below.is_empty() || value.get(SELF).is_some();
            set.put(element, member, below);
        }
        Ok(set)
    }
}
