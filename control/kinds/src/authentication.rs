//! The kinds of the group authentication.k8s.io: questions about who somebody is. They are answered and never stored.

use crate::{Kind, Review, Strategy, Verb};

pub const GROUP: &str = "authentication.k8s.io";

pub static SELF_SUBJECT_REVIEW: Kind = Kind {
    group: GROUP,
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    definition: "io.k8s.api.authentication.v1.SelfSubjectReview",
    namespaced: false,
    verbs: &[Verb::Create],
    strategy: &Strategy { review: Some(Review::OwnIdentity), ..Strategy::PLAIN },
    ..Kind::PLAIN
};
