//! Label selectors as objects carry them (`meta/v1` LabelSelector), matched against labels.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether `labels` satisfy every part of `selector`; an empty selector matches all.
///
/// An operator that Kubernetes does not know matches nothing: the API server lets none through.
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = selector.match_labels.iter().flatten().all(|(key, wanted)| value(key) == Some(wanted));
    equal
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let wanted = requirement.values.as_deref().unwrap_or_default();
            let value = value(&requirement.key);
            match requirement.operator.as_str() {
                "In" => value.is_some_and(|value| wanted.contains(value)),
                "NotIn" => value.is_none_or(|value| !wanted.contains(value)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &str) -> bool {
        let selector = serde_json::from_str(selector).expect("a selector");
        let labels: BTreeMap<String, String> =
            labels.split(',').filter_map(|l| l.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        selects(&selector, Some(&labels))
    }

    #[test]
    fn all_parts_must_hold() {
        let selector = r#"{"matchLabels":{"app":"web"},"matchExpressions":[
            {"key":"tier","operator":"NotIn","values":["db"]},{"key":"old","operator":"DoesNotExist"}]}"#;
        assert!(check(selector, "app=web"));
        assert!(check(selector, "app=web,tier=front"));
        assert!(!check(selector, "app=web,tier=db"));
        assert!(!check(selector, "app=web,old=1"));
        assert!(!check(selector, "tier=front"));
        assert!(check("{}", "a=b"));
    }
}
