//! Validation rules in a definition: that they are written in full, that they compile, and that `oldSelf` is used only
//! where the value before can be told.

use crate::custom::{Additional, Rule, Structural};
use crate::{Field, FieldErrors};

/// Sorted, as errors list them.
const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const RULES: &str = "x-kubernetes-validations";

/// What is wrong with the texts of the rules of one schema.
pub(super) fn validate_texts(at: &Field<'_>, errors: &mut FieldErrors) {
    for rule in at.get(RULES).items() {
        let (text, message) = (rule.get("rule"), rule.get("message"));
        let is_blank = |field: &Field<'_>| !field.text().is_empty() && field.text().trim().is_empty();
        if text.text().trim().is_empty() {
            errors.push(text.required("rule is not specified"));
        } else if is_blank(&message) {
            errors.push(message.invalid("must be non-empty if specified"));
        } else if message.text().trim().contains('\n') {
            errors.push(message.invalid("must not contain line breaks"));
        } else if text.text().trim().contains('\n') && message.text().is_empty() {
            errors.push(message.required("message must be specified if rule contains line breaks"));
        }
        let expression = rule.get("messageExpression");
        if is_blank(&expression) {
            errors.push(expression.required("messageExpression must be non-empty if specified"));
        }
        let reason = rule.get("reason");
        if reason.is_set() && !REASONS.contains(&reason.text()) {
            errors.push(reason.not_supported(REASONS));
        }
        let path = rule.get("fieldPath");
        if is_blank(&path) {
            errors.push(path.invalid("must be non-empty if specified"));
        }
        if path.text().contains('\n') {
            errors.push(path.invalid("must not contain line breaks"));
        }
    }
}

/// What is wrong with the rules of a schema that is structural, and of all below it.
pub(super) fn validate(at: &Field<'_>, errors: &mut FieldErrors) {
    let schema = Structural::parse(at.value);
    Walk { errors }.schema(at, &schema, true, None);
}

struct Walk<'e> {
    errors: &'e mut FieldErrors,
}

impl Walk<'_> {
    /// `forbids_old`: the part of the schema within which a value before cannot be told from others.
    fn schema(&mut self, at: &Field<'_>, schema: &Structural, is_root: bool, forbids_old: Option<&str>) {
        for (rule, field) in schema.rules.iter().zip(at.get(RULES).items()) {
            self.rule(rule, &field, schema, is_root, forbids_old);
        }
        for (name, field) in at.get("properties").entries() {
            let is_whole = is_root && matches!(name, "apiVersion" | "kind" | "metadata");
            if let Some(of) = schema.properties.get(name).filter(|_| !is_whole) {
                self.schema(&field, of, false, forbids_old);
            }
        }
        if let Some(of) = &schema.items {
            let is_keyed = matches!(schema.list, Some(crate::schema::ListKind::Map { .. }));
            let items = at.get("items");
            let path = items.path.clone();
            self.schema(&items, of, false, forbids_old.or((!is_keyed).then_some(&path)));
        }
        if let Some(Additional::Of(of)) = &schema.additional {
            self.schema(&at.get("additionalProperties"), of, false, forbids_old);
        }
    }

    fn rule(
        &mut self,
        rule: &Rule,
        at: &Field<'_>,
        schema: &Structural,
        is_root: bool,
        forbids_old: Option<&str>,
    ) {
        let compiled = rule.compile(schema, is_root);
        let shown =
            |field: &Field<'_>, detail: &str| crate::FieldError::invalid(&field.path, rule.shown(), detail);
        if compiled.path.is_err() {
            self.errors.push(at.get("fieldPath").invalid("must be a valid path"));
        }
        if let Err(error) = &compiled.program {
            self.errors.push(shown(&at.get("rule"), error));
        }
        if let Some(Err(error)) = &compiled.message {
            self.errors.push(shown(&at.get("messageExpression"), error));
        }
        match (compiled.reads_old(), forbids_old) {
            (true, Some(path)) => self.errors.push(at.get("rule").invalid(format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {path}"
            ))),
            (true, None) => {}
            (false, _) if rule.optional_old_self.is_some() && compiled.program.is_ok() => {
                let field = at.get("optionalOldSelf");
                self.errors.push(field.invalid("may not be set if oldSelf is not used in rule"));
            }
            (false, _) => {}
        }
    }
}
