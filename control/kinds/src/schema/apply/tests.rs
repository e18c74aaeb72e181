//! Server-side apply on built-in types: a world of one Deployment, to which managers apply and which they update.

mod managing;
mod merging;
mod properties;
mod sets;

use expect_test::Expect;
use serde_json::{Value, json};

use super::managers::Operation;
use super::*;
use crate::schema::{Schema, TypeId};
use crate::tree;

pub(super) fn deployment() -> TypeId {
    Schema::builtin().type_of("io.k8s.api.apps.v1.Deployment").expect("known definition")
}

/// One object, or none yet, and the seconds that passed.
#[derive(Default)]
pub(super) struct World {
    pub(super) object: Option<Value>,
    seconds: u32,
}

impl World {
    fn writer(&mut self, manager: &str) -> Writer {
        self.seconds += 1;
        Writer {
            manager: manager.to_owned(),
            api_version: "apps/v1".to_owned(),
            subresource: String::new(),
            now: format!("2026-11-21T00:{:02}:{:02}Z", self.seconds / 60, self.seconds % 60),
            ignored: FieldSet::of_names(&[&["status"]]),
            kind: None,
        }
    }

    pub(super) fn try_apply(
        &mut self,
        manager: &str,
        config: &Value,
        how: OnConflict,
    ) -> Result<(), Conflicts> {
        let config = typed(config);
        let writer = self.writer(manager);
        let schema = Schema::builtin();
        let new = apply(&schema, deployment(), self.object.as_ref(), &config, (&writer, how))?;
        // As after every patch: nulls and what is zero go.
        let decoded = crate::schema::decode_value(&schema, deployment(), &new).expect("of the type");
        self.object = Some(decoded.value);
        Ok(())
    }

    pub(super) fn apply(&mut self, manager: &str, config: Value) -> &mut Self {
        let outcome = self.try_apply(manager, &config, OnConflict::Refuse);
        outcome.unwrap_or_else(|conflicts| panic!("{manager}: {conflicts}"));
        self
    }

    pub(super) fn force(&mut self, manager: &str, config: Value) -> &mut Self {
        self.try_apply(manager, &config, OnConflict::Force).expect("force meets no conflict");
        self
    }

    pub(super) fn refuse(&mut self, manager: &str, config: Value, expected: Expect) -> &mut Self {
        let outcome = self.try_apply(manager, &config, OnConflict::Refuse);
        expected.assert_eq(&outcome.expect_err("a conflict").to_string());
        self
    }

    /// The whole object becomes `object`, as by a PUT of someone who knows no managed fields.
    pub(super) fn update(&mut self, manager: &str, object: Value) -> &mut Self {
        let writer = self.writer(manager);
        let mut new = typed(&object);
        track(&Schema::builtin(), deployment(), self.object.as_ref(), &mut new, &writer);
        self.object = Some(new);
        self
    }

    /// `change` is laid over the object as a JSON merge patch.
    pub(super) fn patch(&mut self, manager: &str, change: Value) -> &mut Self {
        let mut new = self.object.clone().expect("an object");
        crate::schema::merge::merge_patch(&mut new, &change);
        self.update(manager, new)
    }

    pub(super) fn managers(&self) -> Managers {
        let managed = self.object.as_ref().map(|object| tree::get(object, "metadata.managedFields"));
        Managers::decode(managed.unwrap_or(&Value::Null)).expect("good managed fields")
    }

    /// The object without its type, then a line for each manager.
    pub(super) fn check(&mut self, expected: Expect) -> &mut Self {
        let mut object = self.object.clone().unwrap_or_default();
        crate::meta::remove(&mut object, "managedFields");
        for field in ["apiVersion", "kind"] {
            tree::remove(&mut object, field);
        }
        if object.get("metadata") == Some(&json!({})) {
            tree::remove(&mut object, "metadata");
        }
        let mut lines = vec![object.to_string()];
        let encoded = self.managers().encode().unwrap_or_default();
        for entry in encoded.as_array().into_iter().flatten() {
            let fields = FieldSet::from_fields_v1(&entry["fieldsV1"]).expect("good fields").to_string();
            let operation = match entry["operation"] == "Apply" {
                true => Operation::Apply,
                false => Operation::Update,
            };
            lines.push(format!(
                "{} {operation:?} {}",
                tree::text(entry, "manager"),
                fields.replace('\n', " ")
            ));
        }
        expected.assert_eq(&lines.join("\n"));
        self
    }
}

fn typed(object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!("apps/v1");
    object["kind"] = json!("Deployment");
    object
}

/// A Deployment whose pods have these containers.
pub(super) fn containers(containers: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}
