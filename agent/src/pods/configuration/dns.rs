//! A pod's resolv.conf, from its policy, its own wishes and the node's. Pure.
//!
//! There is no cluster DNS yet, so `ClusterFirst` is what `Default` is.

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};
use proto::cri::DnsConfig;

/// `None`: the runtime copies the node's own.
pub(super) fn config(pod: &Pod, resolv_conf: &str) -> Option<DnsConfig> {
    let spec = pod.spec.as_ref()?;
    let by_itself = spec.dns_policy.as_deref() == Some("None");
    let wishes = spec.dns_config.as_ref();
    if wishes.is_none() && !by_itself {
        return None;
    }
    let mut config = if by_itself { DnsConfig::default() } else { parse(resolv_conf) };
    if let Some(wishes) = wishes {
        merge(&mut config, wishes);
    }
    Some(config)
}

fn parse(resolv_conf: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => config.servers.extend(words.take(1)),
            Some("search") => config.searches = words.collect(),
            Some("options") => config.options = words.collect(),
            _ => {}
        }
    }
    config
}

/// Servers and domains are added; an option replaces the one of its name.
fn merge(config: &mut DnsConfig, wishes: &PodDNSConfig) {
    add(&mut config.servers, wishes.nameservers.as_deref());
    add(&mut config.searches, wishes.searches.as_deref());
    for option in wishes.options.iter().flatten() {
        let Some(name) = option.name.as_deref() else { continue };
        let is_other = |known: &String| known.split(':').next() != Some(name);
        config.options.retain(is_other);
        let value = option.value.as_ref().filter(|value| !value.is_empty());
        config.options.push(value.map_or(name.to_owned(), |value| format!("{name}:{value}")));
    }
}

fn add(all: &mut Vec<String>, more: Option<&[String]>) {
    for one in more.unwrap_or_default() {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OF_NODE: &str = "# made\nnameserver 9.9.9.9\nsearch lan home\noptions ndots:2 rotate\n";

    fn check(spec: Value, expected: Option<(&str, &str, &str)>) {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        let shown = config(&pod, OF_NODE)
            .map(|config| (config.servers.join(" "), config.searches.join(" "), config.options.join(" ")));
        let shown = shown.as_ref().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()));
        assert_eq!(shown, expected, "{spec}");
    }

    #[test]
    fn wishes_are_added_to_what_the_policy_gives() {
        let wishes = json!({
            "nameservers": ["1.1.1.1", "9.9.9.9"], "searches": ["home", "x.org"],
            "options": [{"name": "ndots", "value": "5"}, {"name": "edns0"}],
        });
        check(json!({"dnsPolicy": "ClusterFirst"}), None);
        check(
            json!({"dnsPolicy": "Default", "dnsConfig": wishes}),
            Some(("9.9.9.9 1.1.1.1", "lan home x.org", "rotate ndots:5 edns0")),
        );
        check(
            json!({"dnsPolicy": "None", "dnsConfig": wishes}),
            Some(("1.1.1.1 9.9.9.9", "home x.org", "ndots:5 edns0")),
        );
    }
}
