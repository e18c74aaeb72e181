//! Rules against an object: worded, ordered and budgeted as Kubernetes does it.

use serde_json::Value;

use super::{Compiled, Rule, Rules};
use crate::cel::{Failure, Meter, Place, Program, Val, view};
use crate::custom::Structural;
use crate::custom::structural::Additional;
use crate::custom::validate::shown;
use crate::schema::ListKind;
use crate::{FieldError, FieldErrors, Reason};

/// Steps of one run of one rule.
const RULE_STEPS_MAX: u64 = 1_000_000;
/// Steps of all rules for one object.
const OBJECT_STEPS_MAX: u64 = 10_000_000;
/// Bytes of a computed message.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// What is judged, and by what.
pub(in crate::custom) struct Judged<'a> {
    pub schema: &'a Structural,
    pub value: &'a Value,
    /// What was there before, if that can be told.
    pub old: Option<&'a Value>,
    pub path: String,
    pub is_root: bool,
}

/// All that the rules find wrong.
pub(in crate::custom) fn judge(rules: &Rules, judged: Judged<'_>) -> FieldErrors {
    let mut judge = Judge { errors: FieldErrors::new(), budget: Meter::of(OBJECT_STEPS_MAX), is_over: false };
    judge.value(rules, &judged, None);
    judge.errors
}

struct Judge {
    errors: FieldErrors,
    budget: Meter,
    /// Nothing more is run.
    is_over: bool,
}

/// The nearest value above that has a counterpart before.
type Above<'a> = Option<(&'a Value, &'a Value)>;

impl Judge {
    fn value<'a>(&mut self, rules: &Rules, at: &Judged<'a>, above: Above<'a>) {
        // Rules are about values; what may be absent or null is for the schema around it to say.
        if at.value.is_null() || self.is_over {
            return;
        }
        self.own(rules, at, above);
        let above = at.old.map(|old| (at.value, old)).or(above);
        match at.value {
            Value::Array(items) => {
                let Some((of, schema)) = rules.items.as_deref().zip(at.schema.items.as_deref()) else {
                    return;
                };
                for (index, value) in items.iter().enumerate() {
                    let old = at.old.and_then(|old| counterpart(at.schema, value, old));
                    let path = format!("{}[{index}]", at.path);
                    let below = Judged { schema, value, old, path, is_root: schema.embedded };
                    self.value(of, &below, above);
                }
            }
            Value::Object(fields) => {
                for (key, value) in fields {
                    let Some((of, schema, is_named)) = below(rules, at.schema, key) else { continue };
                    let old = at.old.and_then(|old| old.get(key)).filter(|old| !old.is_null());
                    let path = match (is_named, at.path.is_empty()) {
                        (false, _) => format!("{}[{key}]", at.path),
                        (true, true) => key.clone(),
                        (true, false) => format!("{}.{key}", at.path),
                    };
                    let below = Judged { schema, value, old, path, is_root: schema.embedded };
                    self.value(of, &below, above);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn own<'a>(&mut self, rules: &Rules, at: &Judged<'a>, above: Above<'a>) {
        if rules.own.is_empty() {
            return;
        }
        let place = if at.is_root { Place::Whole(at.schema) } else { Place::Of(at.schema) };
        for compiled in &rules.own {
            if self.is_over {
                return;
            }
            if self.budget.left() == 0 {
                return self.out_of_budget(at);
            }
            let is_optional = compiled.rule.optional_old_self == Some(true);
            if compiled.reads_old() && at.old.is_none() && !is_optional {
                continue;
            }
            let seen = view(at.value, place);
            let old = at.old.map(|old| view(old, place)).transpose();
            let variables = match (seen, old) {
                (Ok(seen), Ok(Some(old))) if is_optional => vec![seen, Val::some(old)],
                (Ok(seen), Ok(None)) if is_optional => vec![seen, Val::Optional(None)],
                (Ok(seen), Ok(old)) => vec![seen, old.unwrap_or(Val::Null)],
                (Err(failure), _) | (_, Err(failure)) => {
                    let detail = format!("{failure} evaluating rule: {}", compiled.rule.name());
                    self.errors.push(typed(at, detail));
                    continue;
                }
            };
            self.run(compiled, at, variables, above);
        }
    }

    fn run<'a>(&mut self, compiled: &Compiled, at: &Judged<'a>, variables: Vec<Val<'a>>, above: Above<'a>) {
        let name = compiled.rule.name();
        let program = match &compiled.program {
            Ok(program) => program,
            Err(error) => return self.errors.push(typed(at, format!("rule compile error: {error}"))),
        };
        let outcome = self.metered(program, variables.clone());
        match outcome {
            Ok(Val::Bool(true)) => return,
            Ok(_) => {}
            Err(Failure::Budget) if self.budget.left() == 0 => return self.out_of_budget(at),
            Err(failure @ Failure::Budget) => {
                self.is_over = true;
                let why = "no further validation rules will be run due to call cost exceeds limit for rule";
                return self.errors.push(typed(at, format!("'{failure}': {why}: {name}")));
            }
            Err(failure @ Failure::NoOverload) => {
                let why =
                    "call arguments did not match a supported operator, function or macro signature for rule";
                return self.errors.push(typed(at, format!("'{failure}': {why}: {name}")));
            }
            Err(failure) => return self.errors.push(typed(at, format!("{failure} evaluating rule: {name}"))),
        }
        let path = match &compiled.path {
            Ok(below) if !below.is_empty() => crate::custom::validate::join(&at.path, below),
            _ => shown(&at.path).to_owned(),
        };
        let error = match self.message(compiled, variables) {
            Ok(message) => refused(&compiled.rule, at, path, message),
            Err(detail) => {
                self.is_over = true;
                FieldError::invalid(path, ty(at.schema), detail)
            }
        };
        // What was as wrong before and is not touched stays as it is; it would not if the rule looked at the change.
        let is_untouched = match (at.old, above) {
            (Some(old), _) => old == at.value,
            (None, Some((new, old))) => new == old,
            (None, None) => false,
        };
        if compiled.reads_old() || !is_untouched {
            self.errors.push(error);
        }
    }

    /// Runs within what one rule may take and what is left for all.
    fn metered<'a>(&mut self, program: &Program, variables: Vec<Val<'a>>) -> Result<Val<'a>, Failure> {
        let given = self.budget.left().min(RULE_STEPS_MAX);
        let mut meter = Meter::of(given);
        let outcome = program.run(variables, &mut meter);
        self.budget.charge(given - meter.left());
        outcome
    }

    fn out_of_budget(&mut self, at: &Judged<'_>) {
        self.is_over = true;
        let why =
            "validation failed due to running out of cost budget, no further validation rules will be run";
        self.errors.push(typed(at, why.to_owned()));
    }

    /// What is said of a rule that failed; an error when that takes too much.
    fn message(&mut self, compiled: &Compiled, variables: Vec<Val<'_>>) -> Result<String, String> {
        let plain = || match compiled.rule.message.trim() {
            "" => format!("failed rule: {}", compiled.rule.name()),
            message => message.to_owned(),
        };
        let Some(Ok(program)) = &compiled.message else { return Ok(plain()) };
        match self.metered(program, variables) {
            Ok(Val::Text(text)) => {
                let text = text.trim();
                let is_good = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
                Ok(if is_good { text.to_owned() } else { plain() })
            }
            Err(Failure::Budget) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                compiled.rule.message_expression
            )),
            // A message that cannot be computed is no reason to say nothing.
            Ok(_) | Err(_) => Ok(plain()),
        }
    }
}

/// The rules and the schema of what is under a key, and whether the schema names the key.
fn below<'r, 'a>(
    rules: &'r Rules,
    schema: &'a Structural,
    key: &str,
) -> Option<(&'r Rules, &'a Structural, bool)> {
    if let Some(of) = schema.properties.get(key) {
        return Some((rules.properties.get(key)?, of, true));
    }
    match &schema.additional {
        Some(Additional::Of(of)) => Some((rules.additional.as_deref()?, of, false)),
        Some(Additional::Anything) | None => None,
    }
}

/// The item of a list that is the same one as `item`: known by its keys in a list that is a map, never in another.
fn counterpart<'a>(list: &Structural, item: &Value, old: &'a Value) -> Option<&'a Value> {
    let Some(ListKind::Map { keys }) = &list.list else { return None };
    let default = |key: &str| list.items.as_deref()?.properties.get(key)?.default.as_ref();
    let key_of = |item: &Value, key: &str| item.get(key).or_else(|| default(key)).cloned();
    old.as_array()?.iter().find(|other| keys.iter().all(|key| key_of(item, key) == key_of(other, key)))
}

fn ty(schema: &Structural) -> &str {
    &schema.ty
}

/// Of a rule that has no outcome, the type of the value stands for it.
fn typed(at: &Judged<'_>, detail: String) -> FieldError {
    FieldError::invalid(shown(&at.path), ty(at.schema), detail)
}

/// Of a rule that failed.
fn refused(rule: &Rule, at: &Judged<'_>, path: String, detail: String) -> FieldError {
    let is_large = matches!(at.schema.ty.as_str(), "object" | "array");
    let mut error = match rule.reason.as_str() {
        "FieldValueForbidden" => FieldError::forbidden(path, detail),
        "FieldValueRequired" => FieldError::required(path, &detail),
        "FieldValueDuplicate" => FieldError::duplicate(path, at.value.clone()),
        _ => FieldError::invalid(path, at.value.clone(), detail),
    };
    if is_large && matches!(error.reason, Reason::Invalid | Reason::Duplicate) {
        error = error.without_value_shown();
    }
    error
}
