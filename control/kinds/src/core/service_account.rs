//! ServiceAccount: who a pod is.

use crate::{Column, Kind, NameRule, Serves, Strategy, Subresource, Verb, tree};

pub static SERVICE_ACCOUNT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    namespaced: true,
    definition: "io.k8s.api.core.v1.ServiceAccount",
    verbs: Verb::ALL,
    subresources: &[Subresource {
        name: "token",
        verbs: &[Verb::Create],
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        serves: Serves::Token,
    }],
    columns: &[
        Column::NAME,
        Column::new("Secrets", "Number of secrets that pods under this account may use.", |object, _| {
            tree::items(object, "secrets").len().into()
        }),
        Column::AGE,
    ],
    selectable: &[],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy::PLAIN,
};
