//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules in CEL about requests, and changes to them.

use serde_json::Value;

use super::rules::{default_match, validate_conditions, validate_match};
use super::{FAILURE_POLICIES, GROUP, REINVOCATION_POLICIES};
use crate::{
    Column, Field, FieldError, FieldErrors, Generation, Kind, Strategy, Subresource, meta, names, tree,
};

pub static VALIDATING_ADMISSION_POLICY: Kind = Kind {
    group: GROUP,
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    definition: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    subresources: &[Subresource::status(GROUP, "ValidatingAdmissionPolicy")],
    columns: &[
        Column::NAME,
        Column::new("Validations", "How many rules there are.", |object, _| {
            tree::items(object, "spec.validations").len().into()
        })
        .integer(),
        PARAM_KIND,
        Column::AGE,
    ],
    strategy: &Strategy {
        defaults,
        validate_create: validate_validating,
        validate_update: |object, _| validate_validating(object),
        validate_status_update: |object, _| validate_status(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

pub static MUTATING_ADMISSION_POLICY: Kind = Kind {
    group: GROUP,
    kind: "MutatingAdmissionPolicy",
    plural: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    definition: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    columns: &[
        Column::NAME,
        Column::new("Mutations", "How many changes it makes.", |object, _| {
            tree::items(object, "spec.mutations").len().into()
        })
        .integer(),
        PARAM_KIND,
        Column::AGE,
    ],
    strategy: &Strategy {
        defaults,
        validate_create: validate_mutating,
        validate_update: |object, _| validate_mutating(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const PARAM_KIND: Column = Column::new("ParamKind", "The kind of its parameters.", |object, _| {
    let kind = tree::get(object, "spec.paramKind");
    match kind {
        Value::Null => "<unset>".into(),
        kind => format!("{}/{}", tree::text(kind, "apiVersion"), tree::text(kind, "kind")).into(),
    }
});
const NEITHER: &str = "validations or auditAnnotations must contain at least one item";
const AUDIT_ANNOTATIONS_MAX: usize = 20;
const AUDIT_EXPRESSION_BYTES_MAX: usize = 5 * 1024;
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// Words of CEL that name nothing.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

fn defaults(object: &mut Value) {
    tree::set_default(object, "spec.failurePolicy", "Fail");
    default_match(object, "spec.matchConstraints");
}

fn validate_validating(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = validate_shared(&spec);
    let (rules, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if rules.list().is_empty() && annotations.list().is_empty() {
        errors.push(rules.required(NEITHER));
        errors.push(annotations.required(NEITHER));
        return errors;
    }
    errors.extend(rules.items().flat_map(|rule| validate_rule(&rule)));
    if annotations.list().len() > AUDIT_ANNOTATIONS_MAX {
        let why = format!("must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations");
        errors.push(annotations.invalid(why));
    }
    let mut seen: Vec<&str> = Vec::new();
    for annotation in annotations.items() {
        let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
        let whole = format!("{}/{}", meta::name(object), key.text());
        let wrong = names::qualified(&whole).into_iter();
        errors.extend(wrong.map(|wrong| FieldError::invalid(&key.path, whole.as_str(), wrong)));
        if value.text().trim().is_empty() {
            errors.push(value.required("valueExpression is not specified"));
        } else if value.text().trim().len() > AUDIT_EXPRESSION_BYTES_MAX {
            let why = format!("must not exceed {AUDIT_EXPRESSION_BYTES_MAX} bytes in length");
            errors.push(value.required(&why));
        }
        if seen.contains(&key.text()) {
            errors.push(key.duplicate());
        }
        seen.push(key.text());
    }
    errors
}

fn validate_mutating(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = validate_shared(&spec);
    let mutations = spec.get("mutations");
    if mutations.list().is_empty() {
        errors.push(mutations.required("mutations must contain at least one item"));
    }
    errors.extend(mutations.items().flat_map(|mutation| validate_mutation(&mutation)));
    errors.extend(spec.get("reinvocationPolicy").one_of(REINVOCATION_POLICIES));
    errors
}

/// What both sorts of policies have.
fn validate_shared(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(spec.get("failurePolicy").one_of(FAILURE_POLICIES));
    if spec.get("paramKind").is_set() {
        errors.extend(validate_param_kind(&spec.get("paramKind")));
    }
    let constraints = spec.get("matchConstraints");
    match constraints.is_set() {
        false => errors.push(constraints.required("")),
        true => {
            errors.extend(validate_match(&constraints));
            let rules = constraints.get("resourceRules");
            if rules.list().is_empty() {
                errors.push(rules.required(""));
            }
        }
    }
    errors.extend(validate_conditions(&spec.get("matchConditions")));
    for variable in spec.get("variables").items() {
        let (name, expression) = (variable.get("name"), variable.get("expression"));
        if name.text().trim().is_empty() {
            errors.push(name.required("name is not specified"));
        } else if !names::is_c_identifier(name.text()) || RESERVED.contains(&name.text()) {
            errors.push(name.invalid("name is not a valid CEL identifier"));
        }
        if expression.text().trim().is_empty() {
            errors.push(expression.required("expression is not specified"));
        }
    }
    errors
}

fn validate_param_kind(of: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (version, kind) = (of.get("apiVersion"), of.get("kind"));
    let at_version = |part: &str, why: String| FieldError::invalid(&version.path, part, why);
    match version.text().split('/').collect::<Vec<_>>()[..] {
        [""] => errors.push(version.required("")),
        [only] => errors.extend(names::label_1035(only).map(|wrong| at_version(only, wrong))),
        [group, name] => {
            if !group.is_empty() {
                errors.extend(names::subdomain(group).map(|wrong| at_version(group, wrong)));
            }
            match name {
                "" => errors.push(version.invalid("version must be specified")),
                name => errors.extend(names::label_1035(name).map(|wrong| at_version(name, wrong))),
            }
        }
        _ => errors.push(version.invalid(format!("unexpected GroupVersion string: {}", version.text()))),
    }
    match kind.text() {
        "" => errors.push(kind.required("")),
        text => {
            errors.extend(names::label_1035(&text.to_lowercase()).map(|wrong| {
                kind.invalid(format!("may have mixed case, but should otherwise match: {wrong}"))
            }))
        }
    }
    errors
}

fn validate_rule(rule: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let [expression, message_expression, message] =
        ["expression", "messageExpression", "message"].map(|name| rule.get(name));
    let is_blank = |field: &Field<'_>| !field.text().is_empty() && field.text().trim().is_empty();
    if expression.text().trim().is_empty() {
        errors.push(expression.required("expression is not specified"));
    }
    if is_blank(&message_expression) {
        errors.push(message_expression.invalid("must be non-empty if specified"));
    }
    if is_blank(&message) {
        errors.push(message.invalid("message must be non-empty if specified"));
    } else if message.text().trim().contains(['\n', '\r']) {
        errors.push(message.invalid("message must not contain line breaks"));
    }
    errors.extend(rule.get("reason").one_of_if_set(REASONS));
    errors
}

fn validate_mutation(mutation: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let sort = mutation.get("patchType");
    let (own, other) = match sort.text() {
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        _ => {
            errors.extend(sort.one_of(&["ApplyConfiguration", "JSONPatch"]));
            return errors;
        }
    };
    let (own, superfluous) = (mutation.get(own), mutation.get(other));
    if !own.is_set() {
        errors.push(own.required(&format!("must be specified when patchType is {}", sort.text())));
    } else if own.get("expression").text().trim().is_empty() {
        errors.push(own.get("expression").required("expression is not specified"));
    }
    if superfluous.is_set() {
        let why = format!("must not be specified when patchType is {}", sort.text());
        errors.push(FieldError::invalid(&superfluous.path, format!("{{{other}}}"), why));
    }
    errors
}

fn validate_status(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let warnings = Field::of(object, "status").get("typeChecking").get("expressionWarnings");
    for warning in warnings.items() {
        for field in ["warning", "fieldRef"].map(|name| warning.get(name)) {
            if field.text().trim().is_empty() {
                errors.push(field.required(""));
            }
        }
    }
    errors
}
