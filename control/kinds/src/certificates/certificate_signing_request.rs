//! CertificateSigningRequest: who wants which certificate from whom, and whether they get it.
//!
//! Who asks is noted by the server and never changed. The request is what it was made as; its status is written in two
//! views: `approval` holds the verdict, `status` all else, the certificate among it.

use serde_json::{Value, json};

use super::{GROUP, validate};
use crate::kind::selectable;
use crate::{Column, Kind, NameRule, Serves, Strategy, Subresource, Verb, View, columns, duration, tree};

pub static CERTIFICATE_SIGNING_REQUEST: Kind = Kind {
    group: GROUP,
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    definition: "io.k8s.api.certificates.v1.CertificateSigningRequest",
    subresources: &[
        Subresource {
            name: "approval",
            verbs: Verb::VIEW,
            group: GROUP,
            version: "v1",
            kind: "CertificateSigningRequest",
            serves: Serves::View(&View {
                prepare: prepare_approval,
                validate: validate::validate_approval,
                part: CONDITIONS,
                admitted: false,
            }),
        },
        Subresource::status(GROUP, "CertificateSigningRequest"),
    ],
    columns: &[
        Column::NAME,
        Column::new("Age", "Time since the object was created.", |object, cx| {
            columns::age(object, cx).into()
        }),
        Column::new("SignerName", "Who is to sign it.", |object, _| {
            columns::none_if_empty(tree::text(object, "spec.signerName").to_owned()).into()
        }),
        Column::new("Requestor", "Who asks.", |object, _| tree::text(object, "spec.username").into()),
        Column::new("RequestedDuration", "How long it is to be valid.", |object, _| {
            match tree::int(object, "spec.expirationSeconds") {
                Some(seconds) => duration::human(seconds).into(),
                None => "<none>".into(),
            }
        }),
        Column::new("Condition", "The verdict, and whether it is issued.", |object, _| {
            condition(object).into()
        }),
    ],
    selectable: selectable!["spec.signerName"],
    name_rule: NameRule::PathSegment,
    strategy: &Strategy {
        prepare_create: |object| {
            for noted in NOTED {
                tree::remove(object, noted);
            }
        },
        note_maker: Some(note_maker),
        prepare_update: |object, old| tree::copy(object, "spec", old),
        validate_create: |object| validate::validate(object, None),
        validate_update: validate::validate_update,
        validate_status_update: validate::validate_status,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const CONDITIONS: &str = "status.conditions";
const NOTED: &[&str] = &["spec.username", "spec.uid", "spec.groups", "spec.extra"];
/// The verdict, which only `approval` changes.
pub(super) const VERDICTS: &[&str] = &["Approved", "Denied"];

fn note_maker(object: &mut Value, maker: &Value) {
    for (noted, field) in NOTED.iter().zip(["username", "uid", "groups", "extra"]) {
        tree::copy_to(object, noted, tree::get(maker, field));
    }
}

fn condition(object: &Value) -> String {
    let has = |kind: &str| {
        tree::items(object, CONDITIONS).iter().any(|condition| tree::text(condition, "type") == kind)
    };
    let verdict = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if tree::text(object, "status.certificate").is_empty() { "" } else { ",Issued" };
    format!("{verdict}{failed}{issued}")
}

fn prepare_approval(object: &mut Value, old: &Value, now: &str) {
    let before = |kind: &str, status: &str| {
        let conditions = tree::items(old, CONDITIONS).iter();
        let mut same = conditions.filter(|condition| {
            tree::text(condition, "type") == kind && tree::text(condition, "status") == status
        });
        same.next().map(|condition| tree::text(condition, "lastTransitionTime").to_owned())
    };
    for condition in tree::items_mut(object, CONDITIONS) {
        tree::set_default(condition, "lastUpdateTime", now);
        let since = before(tree::text(condition, "type"), tree::text(condition, "status"));
        tree::set_default(condition, "lastTransitionTime", json!(since.as_deref().unwrap_or(now)));
    }
}
