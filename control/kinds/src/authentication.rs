//! The kinds of the group authentication.k8s.io: questions about who somebody is. They are answered and never stored.

use crate::{Kind, Review, Strategy, Verb};

pub const GROUP: &str = "authentication.k8s.io";

pub static SELF_SUBJECT_REVIEW: Kind = Kind {
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    definition: "io.k8s.api.authentication.v1.SelfSubjectReview",
    strategy: &Strategy { review: Some(Review::OwnIdentity), ..Strategy::PLAIN },
    ..QUESTION
};

pub static TOKEN_REVIEW: Kind = Kind {
    kind: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    definition: "io.k8s.api.authentication.v1.TokenReview",
    strategy: &Strategy { review: Some(Review::Token), ..Strategy::PLAIN },
    ..QUESTION
};

const QUESTION: Kind = Kind { group: GROUP, namespaced: false, verbs: &[Verb::Create], ..Kind::PLAIN };
