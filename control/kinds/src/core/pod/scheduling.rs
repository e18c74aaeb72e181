//! Where a pod may run: tolerations, affinity, spreading.

use crate::{Field, FieldError, FieldErrors, names};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const NODE_OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

pub(super) fn validate(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let affinity = spec.get("affinity");
    errors.extend(validate_node_affinity(&affinity.get("nodeAffinity")));
    for kind in ["podAffinity", "podAntiAffinity"] {
        errors.extend(validate_pod_affinity(&affinity.get(kind)));
    }
    for toleration in spec.get("tolerations").items() {
        errors.extend(validate_toleration(&toleration));
    }
    for gate in spec.get("readinessGates").items() {
        let name = gate.get("conditionType");
        errors.extend(names::qualified(name.text()).into_iter().map(|wrong| name.invalid(wrong)));
    }
    for constraint in spec.get("topologySpreadConstraints").items() {
        errors.extend(validate_spread(&constraint));
    }
    errors
}

fn validate_toleration(toleration: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (key, operator, value, effect) = (
        toleration.get("key"),
        toleration.get("operator"),
        toleration.get("value"),
        toleration.get("effect"),
    );
    if !key.text().is_empty() {
        errors.extend(names::qualified(key.text()).into_iter().map(|wrong| key.invalid(wrong)));
    }
    if key.text().is_empty() && operator.text() != "Exists" {
        errors.push(FieldError::invalid(
            &operator.path,
            operator.text(),
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ));
    }
    if toleration.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
        errors.push(FieldError::invalid(
            &effect.path,
            effect.text(),
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ));
    }
    match operator.text() {
        "" | "Equal" => {
            let wrong = names::label_value(value.text());
            if !wrong.is_empty() {
                errors.push(FieldError::invalid(&operator.path, value.text(), wrong.join(";")));
            }
        }
        "Exists" if !value.text().is_empty() => errors.push(FieldError::invalid(
            &operator.path,
            toleration.value.clone(),
            "value must be empty when `operator` is 'Exists'",
        )),
        "Exists" => {}
        _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
    }
    if !effect.text().is_empty() && !EFFECTS.contains(&effect.text()) {
        errors.push(effect.not_supported(EFFECTS));
    }
    errors
}

fn validate_node_affinity(affinity: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() {
        let terms = required.get("nodeSelectorTerms");
        if terms.list().is_empty() {
            errors.push(terms.required("must have at least one node selector term"));
        }
        terms.items().for_each(|term| errors.extend(validate_node_term(&term)));
    }
    for preferred in affinity.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        errors.extend(validate_weight(&preferred.get("weight")));
        errors.extend(validate_node_term(&preferred.get("preference")));
    }
    errors
}

fn validate_node_term(term: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for list in ["matchExpressions", "matchFields"] {
        for expression in term.get(list).items() {
            errors.extend(validate_node_expression(&expression));
        }
    }
    errors
}

fn validate_node_expression(expression: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (key, operator, values) =
        (expression.get("key"), expression.get("operator"), expression.get("values"));
    match operator.text() {
        "In" | "NotIn" if values.list().is_empty() => {
            errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.list().is_empty() => {
            errors
                .push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "Gt" | "Lt" if values.list().len() != 1 => {
            errors.push(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"));
        }
        known if NODE_OPERATORS.contains(&known) => {}
        _ => errors.push(operator.invalid("not a valid selector operator")),
    }
    errors.extend(names::qualified(key.text()).into_iter().map(|wrong| key.invalid(wrong)));
    errors
}

fn validate_weight(weight: &Field<'_>) -> Option<FieldError> {
    let value = weight.int().unwrap_or_default();
    (!(1..=100).contains(&value))
        .then(|| FieldError::invalid(&weight.path, value, "must be in the range 1-100"))
}

fn validate_pod_affinity(affinity: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
        errors.extend(validate_pod_term(&term));
    }
    for preferred in affinity.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        errors.extend(validate_weight(&preferred.get("weight")));
        errors.extend(validate_pod_term(&preferred.get("podAffinityTerm")));
    }
    errors
}

fn validate_pod_term(term: &Field<'_>) -> FieldErrors {
    let mut errors = crate::apps::validate_selector(&term.get("labelSelector"));
    for namespace in term.get("namespaces").items() {
        errors.extend(names::label(namespace.text()).map(|wrong| namespace.invalid(wrong)));
    }
    let key = term.get("topologyKey");
    match key.text() {
        "" => errors.push(key.required("can not be empty")),
        text => errors.extend(names::qualified(text).into_iter().map(|wrong| key.invalid(wrong))),
    }
    errors
}

fn validate_spread(constraint: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (skew, key) = (constraint.get("maxSkew"), constraint.get("topologyKey"));
    if skew.int().unwrap_or_default() <= 0 {
        errors.push(skew.invalid("must be greater than zero"));
    }
    match key.text() {
        "" => errors.push(key.required("can not be empty")),
        text => errors.extend(names::qualified(text).into_iter().map(|wrong| key.invalid(wrong))),
    }
    errors.extend(constraint.get("whenUnsatisfiable").one_of(&["DoNotSchedule", "ScheduleAnyway"]));
    errors.extend(crate::apps::validate_selector(&constraint.get("labelSelector")));
    errors
}
