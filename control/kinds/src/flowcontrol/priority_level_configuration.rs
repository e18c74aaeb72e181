//! PriorityLevelConfiguration: how many requests of a level run at once, and how the others wait.

use serde_json::Value;

use super::{EXEMPT, GROUP, validate_conditions};
use crate::{Column, Field, FieldErrors, Generation, Kind, Strategy, Subresource, meta, tree};

pub static PRIORITY_LEVEL_CONFIGURATION: Kind = Kind {
    group: GROUP,
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    definition: "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
    subresources: &[Subresource::status(GROUP, "PriorityLevelConfiguration")],
    columns: &[
        Column::NAME,
        Column::new("Type", "Whether it is limited.", |object, _| tree::text(object, "spec.type").into()),
        Column::new("NominalConcurrencyShares", "Its share of what runs at once.", |object, _| {
            number(object, "spec.limited.nominalConcurrencyShares")
        }),
        Column::new("Queues", "How many queues.", |object, _| {
            number(object, "spec.limited.limitResponse.queuing.queues")
        }),
        Column::new("HandSize", "Among how many queues a flow is dealt.", |object, _| {
            number(object, "spec.limited.limitResponse.queuing.handSize")
        }),
        Column::new("QueueLengthLimit", "How many wait in a queue.", |object, _| {
            number(object, "spec.limited.limitResponse.queuing.queueLengthLimit")
        }),
        Column::AGE,
    ],
    strategy: &Strategy {
        defaults,
        validate_create: validate,
        validate_update: |object, _| validate(object),
        validate_status_update: |object, _| validate_conditions(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const QUEUES_MAX: i64 = 10_000_000;
/// Of the hash by which flows are dealt to queues.
const HASH_BITS: i64 = 60;
const QUEUING: [(&str, i64); 3] = [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)];

fn number(object: &Value, path: &str) -> Value {
    tree::int(object, path).map_or_else(|| "<none>".into(), Value::from)
}

fn defaults(object: &mut Value) {
    if let Some(limited) = tree::get_mut(object, "spec.limited") {
        tree::set_default(limited, "nominalConcurrencyShares", 30);
        tree::set_default(limited, "lendablePercent", 0);
        if let Some(queuing) = tree::get_mut(limited, "limitResponse.queuing") {
            for (field, default) in QUEUING {
                if tree::int(queuing, field).unwrap_or_default() == 0 {
                    tree::set(queuing, field, default);
                }
            }
        }
    }
    if let Some(exempt) = tree::get_mut(object, "spec.exempt") {
        tree::set_default(exempt, "nominalConcurrencyShares", 0);
        tree::set_default(exempt, "lendablePercent", 0);
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let (sort, limited, exempt) = (spec.get("type"), spec.get("limited"), spec.get("exempt"));
    if (meta::name(object) == EXEMPT) != (sort.text() == "Exempt") {
        errors.push(sort.invalid("type must be 'Exempt' if and only if name is 'exempt'"));
    }
    match sort.text() {
        "Exempt" => {
            if limited.is_set() {
                errors.push(limited.forbidden("must be nil if the type is not Limited"));
            }
            errors.extend(exempt.get("nominalConcurrencyShares").not_negative());
            errors.extend(validate_percent(&exempt.get("lendablePercent")));
        }
        "Limited" => {
            if exempt.is_set() {
                errors.push(exempt.forbidden("must be nil if the type is Limited"));
            }
            match limited.is_set() {
                true => errors.extend(validate_limited(&limited)),
                false => errors.push(limited.required("must not be empty when type is Limited")),
            }
        }
        _ => errors.push(sort.not_supported(&["Exempt", "Limited"])),
    }
    errors.extend(validate_conditions(object));
    errors
}

fn validate_limited(limited: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let shares = limited.get("nominalConcurrencyShares");
    if shares.int().unwrap_or_default() < 0 {
        errors.push(shares.invalid("must be a non-negative integer"));
    }
    let response = limited.get("limitResponse");
    let (sort, queuing) = (response.get("type"), response.get("queuing"));
    match (sort.text(), queuing.is_set()) {
        ("Reject", true) => {
            errors.push(queuing.forbidden("must be nil if limited.limitResponse.type is not Limited"));
        }
        ("Queue", false) => {
            errors.push(queuing.required("must not be empty if limited.limitResponse.type is Limited"));
        }
        ("Reject", false) => {}
        ("Queue", true) => errors.extend(validate_queuing(&queuing)),
        _ => errors.push(sort.not_supported(&["Queue", "Reject"])),
    }
    errors.extend(validate_percent(&limited.get("lendablePercent")));
    errors.extend(limited.get("borrowingLimitPercent").int().filter(|percent| *percent < 0).map(|_| {
        limited.get("borrowingLimitPercent").invalid("if specified, must be a non-negative integer")
    }));
    errors
}

fn validate_percent(percent: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if percent.int().is_some_and(|percent| !(0..=100).contains(&percent)) {
        errors.push(percent.invalid("must be between 0 and 100, inclusive"));
    }
    errors
}

fn validate_queuing(queuing: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let [length, queues, hand] = ["queueLengthLimit", "queues", "handSize"].map(|name| queuing.get(name));
    let count = |field: &Field<'_>| field.int().unwrap_or_default();
    if count(&length) <= 0 {
        errors.push(length.invalid("must be positive"));
    }
    match count(&queues) {
        ..=0 => errors.push(queues.invalid("must be positive")),
        1..=QUEUES_MAX => {}
        _ => errors.push(queues.invalid(format!("must not be greater than {QUEUES_MAX}"))),
    }
    match (count(&hand), count(&queues)) {
        (..=0, _) => errors.push(hand.invalid("must be positive")),
        (hand_size, deck) if hand_size > deck => {
            errors.push(hand.invalid(format!("should not be greater than queues ({deck})")));
        }
        (hand_size, deck) if entropy_bits(deck, hand_size) > HASH_BITS => {
            errors.push(hand.invalid(format!(
                "required entropy bits of deckSize {deck} and handSize {hand_size} should not be greater than {HASH_BITS}"
            )));
        }
        _ => {}
    }
    errors
}

/// How many bits it takes to deal a hand from a deck, rounded up as Kubernetes does.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small and positive")]
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}
