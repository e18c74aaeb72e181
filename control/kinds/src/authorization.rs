//! The kinds of the group authorization.k8s.io: questions about who may what. They are answered and never stored.

use serde_json::Value;

use crate::{Field, FieldError, FieldErrors, Kind, Review, Strategy, Verb, meta};

pub const GROUP: &str = "authorization.k8s.io";

pub static LOCAL_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    definition: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    namespaced: true,
    strategy: &Strategy { validate_create: validate_local, review: Some(Review::Access), ..Strategy::PLAIN },
    ..QUESTION
};

pub static SELF_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    definition: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    strategy: &Strategy {
        validate_create: validate_attributes,
        review: Some(Review::OwnAccess),
        ..Strategy::PLAIN
    },
    ..QUESTION
};

pub static SELF_SUBJECT_RULES_REVIEW: Kind = Kind {
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    definition: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    strategy: &Strategy { review: Some(Review::OwnRules), ..Strategy::PLAIN },
    ..QUESTION
};

pub static SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    definition: "io.k8s.api.authorization.v1.SubjectAccessReview",
    strategy: &Strategy {
        validate_create: validate_subject,
        review: Some(Review::Access),
        ..Strategy::PLAIN
    },
    ..QUESTION
};

const QUESTION: Kind = Kind { group: GROUP, namespaced: false, verbs: &[Verb::Create], ..Kind::PLAIN };

fn validate_attributes(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let (resource, path) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    match (resource.is_set(), path.is_set()) {
        (true, true) => {
            errors.push(path.invalid("cannot be specified in combination with resourceAttributes"));
        }
        (false, false) => errors.push(
            resource.invalid("exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        ),
        (true, false) | (false, true) => {}
    }
    errors
}

fn validate_subject(object: &Value) -> FieldErrors {
    let mut errors = validate_attributes(object);
    let spec = Field::of(object, "spec");
    if spec.get("user").text().is_empty() && spec.get("groups").list().is_empty() {
        errors.push(FieldError::invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    errors
}

fn validate_local(object: &Value) -> FieldErrors {
    let mut errors = validate_subject(object);
    let spec = Field::of(object, "spec");
    let (resource, path) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    if resource.is_set() && resource.get("namespace").text() != meta::namespace(object) {
        errors.push(resource.get("namespace").invalid("must match metadata.namespace"));
    }
    if path.is_set() {
        errors.push(path.invalid("disallowed on this kind of request"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(kind: &Kind, spec: Value, expected: Expect) {
        let object = json!({"metadata": {"namespace": "team"}, "spec": spec});
        let errors = (kind.strategy.validate_create)(&object);
        expected.assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
    }

    #[test]
    fn a_question_names_one_thing_and_somebody() {
        let both = json!({"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/x"}});
        check(&SELF_SUBJECT_ACCESS_REVIEW, json!({"resourceAttributes": {"verb": "get"}}), expect![""]);
        check(
            &SELF_SUBJECT_ACCESS_REVIEW,
            both.clone(),
            expect![[r#"
            spec.nonResourceAttributes: Invalid value: {"path":"/x"}: cannot be specified in combination with resourceAttributes
        "#]],
        );
        check(
            &SELF_SUBJECT_ACCESS_REVIEW,
            json!({}),
            expect![[r#"
            spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified
        "#]],
        );
        check(
            &SUBJECT_ACCESS_REVIEW,
            json!({"resourceAttributes": {"verb": "get"}}),
            expect![[r#"
            spec.user: Invalid value: "": at least one of user or group must be specified
        "#]],
        );
        check(&SUBJECT_ACCESS_REVIEW, json!({"groups": ["g"], "resourceAttributes": {}}), expect![""]);
        check(
            &LOCAL_SUBJECT_ACCESS_REVIEW,
            both,
            expect![[r#"
            spec.nonResourceAttributes: Invalid value: {"path":"/x"}: cannot be specified in combination with resourceAttributes
            spec.user: Invalid value: "": at least one of user or group must be specified
            spec.resourceAttributes.namespace: Invalid value: null: must match metadata.namespace
            spec.nonResourceAttributes: Invalid value: {"path":"/x"}: disallowed on this kind of request
        "#]],
        );
    }
}
