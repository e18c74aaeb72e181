//! Validation rules of a schema (`x-kubernetes-validations`), compiled beside it.
//!
//! A definition is refused when one of its rules does not compile, so what is compiled for objects has no errors left;
//! a rule that has one all the same (a definition stored by an older server) refuses every object, and says so.

mod judge;
mod path;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Structural;
use super::structural::Additional;
use crate::cel::{Place, Program, Type, type_of};
use crate::{FieldErrors, tree};

use judge::{Judged, judge};

/// Where in the variables of a rule its two are.
const SELF: &str = "self";
const OLD_SELF: &str = "oldSelf";
const OLD_SELF_POSITION: usize = 1;

/// A rule as a definition has it.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: String,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

impl Rule {
    pub(crate) fn parse(rule: &Value) -> Self {
        let text = |name: &str| tree::text(rule, name).to_owned();
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
        }
    }

    /// As errors show it.
    pub(crate) fn shown(&self) -> Value {
        let reason = Some(&self.reason).filter(|reason| !reason.is_empty());
        json!({
            "Rule": self.rule,
            "Message": self.message,
            "MessageExpression": self.message_expression,
            "Reason": reason,
            "FieldPath": self.field_path,
            "OptionalOldSelf": self.optional_old_self,
        })
    }

    /// What errors call it.
    fn name(&self) -> &str {
        match self.message.trim() {
            "" => self.rule.trim(),
            message => message,
        }
    }

    /// Of the values of `schema`; the root of an object is a place of its own.
    pub(crate) fn compile(&self, schema: &Structural, is_root: bool) -> Compiled {
        let place = if is_root || schema.embedded { Place::Whole(schema) } else { Place::Of(schema) };
        let mut compiled = Compiled {
            rule: self.clone(),
            program: Err("failed to retrieve type information for x-kubernetes-validations".to_owned()),
            message: None,
            path: path::normalized(&self.field_path, schema),
        };
        let Some(ty) = type_of(place) else { return compiled };
        let old = match self.optional_old_self {
            Some(true) => Type::optional(ty.clone()),
            _ => ty.clone(),
        };
        let variables = [(SELF, ty), (OLD_SELF, old)];
        compiled.program = match Program::compile(&self.rule, &variables) {
            Ok((program, Type::Bool)) => Ok(program),
            Ok(_) => Err("cel expression must evaluate to a bool".to_owned()),
            Err(error) => Err(format!("compilation failed: {error}")),
        };
        if !self.message_expression.trim().is_empty() {
            compiled.message = Some(match Program::compile(&self.message_expression, &variables) {
                Ok((program, Type::Text)) => Ok(program),
                Ok(_) => Err("messageExpression must evaluate to a string".to_owned()),
                Err(error) => Err(format!("messageExpression compilation failed: {error}")),
            });
        }
        compiled
    }
}

/// A rule that can be run, or why it cannot.
#[derive(Debug)]
pub(crate) struct Compiled {
    rule: Rule,
    pub program: Result<Program, String>,
    /// What is said when the rule fails, if that is to be computed.
    pub message: Option<Result<Program, String>>,
    /// Below the value that the rule is about; an error when the schema has no such path.
    pub path: Result<String, String>,
}

impl Compiled {
    pub(crate) fn reads_old(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.reads(OLD_SELF_POSITION))
    }
}

/// The rules of a schema and of all below it.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    own: Vec<Compiled>,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    additional: Option<Box<Rules>>,
}

impl Rules {
    /// None where no rule is.
    pub(crate) fn compile(schema: &Structural, is_root: bool) -> Option<Self> {
        let below = |schema: &Structural| Self::compile(schema, schema.embedded);
        let properties = schema.properties.iter();
        let rules = Self {
            own: schema.rules.iter().map(|rule| rule.compile(schema, is_root)).collect(),
            properties: properties.filter_map(|(name, of)| Some((name.clone(), below(of)?))).collect(),
            items: schema.items.as_deref().and_then(below).map(Box::new),
            additional: match &schema.additional {
                Some(Additional::Of(of)) => below(of).map(Box::new),
                Some(Additional::Anything) | None => None,
            },
        };
        let is_empty = rules.own.is_empty()
            && rules.properties.is_empty()
            && rules.items.is_none()
            && rules.additional.is_none();
        (!is_empty).then_some(rules)
    }
}

/// What the rules say of a whole object, and of what became of an old one.
pub(super) fn object_errors(
    rules: &Rules,
    schema: &Structural,
    object: &Value,
    old: Option<&Value>,
) -> FieldErrors {
    judge(rules, Judged { schema, value: object, old, path: String::new(), is_root: true })
}

/// What the rules of `schema` say of a value of it, which stands at `path`.
pub(crate) fn rule_errors(schema: &Structural, value: &Value, path: &str) -> FieldErrors {
    let judged = Judged { schema, value, old: None, path: path.to_owned(), is_root: schema.embedded };
    Rules::compile(schema, schema.embedded).map(|rules| judge(&rules, judged)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
