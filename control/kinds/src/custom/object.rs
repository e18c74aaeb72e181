//! What one version of a definition says about its objects, and what is done to an object by it.

use serde_json::Value;

use super::rules::{Rules, object_errors};
use super::{Structural, defaults, prune, schema_errors};
use crate::schema::{DecodeError, Schema, TypeId, decode_value};
use crate::{Field, FieldError, FieldErrors, Reason, tree};

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The part of a custom kind that built-in kinds have not.
pub struct Custom {
    pub schema: Structural,
    /// Those of the schema, compiled; none where it has none.
    pub(crate) rules: Option<Rules>,
    /// For server-side apply.
    pub graph: Schema,
    /// The object's type in `graph`.
    pub ty: TypeId,
    /// The JSONSchemaProps as the definition has them, for OpenAPI.
    pub published: Value,
    pub list_kind: String,
    /// `group/version` in which objects are stored.
    pub storage_api_version: String,
    /// Paths of the numbers of the scale, when there is one.
    pub scale: Option<(&'static str, &'static str)>,
    /// What clients of this version are told with each answer.
    pub deprecation: Option<String>,
}

impl Custom {
    /// Makes a parsed body an object of the kind: typed metadata, and no fields that the schema does not name. Gives
    /// back what went, as `unknown field "spec.x"`.
    ///
    /// # Errors
    /// The metadata is not what metadata is.
    pub fn settle(&self, object: &mut Value) -> Result<Vec<String>, DecodeError> {
        let schema = Schema::builtin();
        let mut unknown = Vec::new();
        if let Some(ty) = schema.type_of(METADATA) {
            let metadata = tree::get(object, "metadata").clone();
            let decoded = decode_value(&schema, ty, &metadata)?;
            let within = |complaint: &String| complaint.replacen('"', "\"metadata.", 1);
            unknown.extend(decoded.unknown.iter().map(within));
            tree::set(object, "metadata", decoded.value);
        }
        let gone = prune::prune(&self.schema, object);
        unknown.extend(gone.iter().map(|path| format!("unknown field {path:?}")));
        Ok(unknown)
    }

    /// Takes out what the schema does not name.
    pub fn prune(&self, object: &mut Value) {
        prune::prune(&self.schema, object);
    }

    /// Fills what the schema has a default for.
    pub fn apply_defaults(&self, object: &mut Value) {
        let metadata = object.get_mut("metadata").map(Value::take);
        defaults::apply(&self.schema, object);
        if let Some(metadata) = metadata {
            tree::set(object, "metadata", metadata);
        }
    }

    /// What was found wrong already, and all that the schema and its rules find.
    pub(crate) fn errors(&self, object: &Value, mut found: FieldErrors) -> FieldErrors {
        found.extend(self.schema_errors(object));
        self.judge(object, None, &mut found);
        found
    }

    /// What is wrong now and was not, in just these words, before: nobody has to mend what they did not touch.
    pub(crate) fn new_errors(&self, object: &Value, old: &Value) -> FieldErrors {
        let mut errors = self.schema_errors(object);
        if !errors.is_empty() {
            let known = self.schema_errors(old);
            let mut fresh = FieldErrors::new();
            fresh.extend(errors.into_iter().filter(|error| !known.iter().any(|known| known == error)));
            errors = fresh;
        }
        self.judge(object, Some(old), &mut errors);
        errors
    }

    fn schema_errors(&self, object: &Value) -> FieldErrors {
        let mut errors = schema_errors(&self.schema, object, "");
        for path in self.scale.iter().flat_map(|(spec, status)| [spec, status]) {
            let number = Field { value: tree::get(object, path), path: format!(".{path}") };
            if number.int().is_some_and(|number| number < 0) {
                errors.push(number.invalid("should be a non-negative integer"));
            }
        }
        errors
    }

    /// Rules are asked only about objects of a shape that they can rely on.
    fn judge(&self, object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let Some(rules) = &self.rules else { return };
        let is_shapeless = |reason: Reason| {
            use Reason::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(reason, NotSupported | Required | TooLong | TooMany | TypeInvalid)
        };
        if errors.iter().any(|error| is_shapeless(error.reason)) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            return errors.push(FieldError::invalid("<nil>", Value::Null, why));
        }
        errors.extend(object_errors(rules, &self.schema, object, old));
    }

    /// A stored object as this version serves it.
    pub fn as_served(&self, object: &mut Value, api_version: &str) {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), api_version.into());
        }
        self.prune(object);
        self.apply_defaults(object);
    }
}
