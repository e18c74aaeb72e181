//! What a pod is called: its host name, its name in the cluster's domain, and what `/etc/hosts` says. Pure.

use k8s_openapi::api::core::v1::{HostAlias, Pod};

/// The domain of a cluster; there is no setting for it yet.
const CLUSTER_DOMAIN: &str = "cluster.local";
/// A label's limit (RFC 1123), to which a pod's name is cut.
const LABEL_MAX: usize = 63;
/// The kernel's limit for a host name.
const HOST_NAME_MAX: usize = 64;

const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

/// Empty with the node's network, whose host name is the node's.
pub(crate) fn host_name(pod: &Pod) -> String {
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.host_network != Some(true)) else {
        return String::new();
    };
    match domain(pod) {
        Some(domain) if spec.set_hostname_as_fqdn == Some(true) => format!("{}.{domain}", short_name(pod)),
        Some(_) | None => short_name(pod),
    }
}

/// The kubelet's words for a name that is too long for the kernel.
pub(crate) fn check_host_name(pod: &Pod) -> Result<(), String> {
    let name = host_name(pod);
    if name.len() > HOST_NAME_MAX {
        return Err(format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long ({HOST_NAME_MAX} characters is the max, {} characters requested)",
            name.len()
        ));
    }
    Ok(())
}

/// What the pod's `/etc/hosts` says; the runtime would copy the node's, which lacks the pod. With the node's
/// network it is the node's own, `of_node`.
pub(crate) fn hosts_file(pod: &Pod, pod_ip: &str, of_node: &str) -> String {
    let spec = pod.spec.as_ref();
    let aliases = aliases(spec.and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default());
    if spec.is_some_and(|spec| spec.host_network == Some(true)) {
        return format!("# Kubernetes-managed hosts file (host network).\n{of_node}{aliases}");
    }
    let name = short_name(pod);
    let own = match domain(pod) {
        _ if pod_ip.is_empty() => String::new(),
        Some(domain) => format!("{pod_ip}\t{name}.{domain}\t{name}\n"),
        None => format!("{pod_ip}\t{name}\n"),
    };
    format!("# Kubernetes-managed hosts file.\n{LOCAL}{own}{aliases}")
}

fn short_name(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    if let Some(name) = overridden(pod) {
        return name.to_owned();
    }
    let own = spec.and_then(|spec| spec.hostname.as_deref()).filter(|name| !name.is_empty());
    let name = own.or(pod.metadata.name.as_deref()).unwrap_or_default();
    name[..name.len().min(LABEL_MAX)].trim_end_matches(['-', '.']).to_owned()
}

fn overridden(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.hostname_override.as_deref().filter(|name| !name.is_empty())
}

/// Where DNS will find the pod, if it is part of a domain.
fn domain(pod: &Pod) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|name| !name.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    overridden(pod).is_none().then(|| format!("{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}"))
}

fn aliases(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line = |alias: &HostAlias| {
        format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t"))
    };
    let lines: String = aliases.iter().map(line).collect();
    format!("\n# Entries added by HostAliases.\n{lines}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(mut spec: Value) -> Pod {
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "shop"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn a_pod_is_called_as_it_says() {
        let long = "x".repeat(62) + "-y";
        for (spec, name) in [
            (json!({}), "web-1"),
            (json!({"hostname": "h"}), "h"),
            (json!({"hostname": long}), &long[..62]),
            (json!({"hostname": "h", "subdomain": "d"}), "h"),
            (json!({"subdomain": "d", "setHostnameAsFQDN": true}), "web-1.d.shop.svc.cluster.local"),
            (json!({"setHostnameAsFQDN": true}), "web-1"),
            (json!({"hostname": "h", "subdomain": "d", "hostnameOverride": "o.x"}), "o.x"),
            (json!({"hostname": "h", "hostNetwork": true}), ""),
        ] {
            assert_eq!(host_name(&pod(spec.clone())), name, "{spec}");
        }
        let spec = json!({"hostname": "h".repeat(40), "subdomain": "d", "setHostnameAsFQDN": true});
        let refused = check_host_name(&pod(spec)).unwrap_err();
        assert!(
            refused.ends_with("is too long (64 characters is the max, 65 characters requested)"),
            "{refused}"
        );
        assert_eq!(check_host_name(&pod(json!({}))), Ok(()));
    }

    #[test]
    fn a_pod_finds_itself_and_its_aliases_in_hosts() {
        let aliases = json!([{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]);
        let text = hosts_file(&pod(json!({"hostAliases": aliases})), "10.1.0.2", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{text}");
        assert!(
            text.ends_with("10.1.0.2\tweb-1\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"),
            "{text}"
        );
        let text = hosts_file(&pod(json!({"subdomain": "d"})), "10.1.0.2", "");
        assert!(text.ends_with("10.1.0.2\tweb-1.d.shop.svc.cluster.local\tweb-1\n"), "{text}");
        let text = hosts_file(
            &pod(json!({"hostNetwork": true, "hostAliases": aliases})),
            "10.0.0.1",
            "1.1.1.1\tn\n",
        );
        assert_eq!(
            text,
            "# Kubernetes-managed hosts file (host network).\n1.1.1.1\tn\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
        );
    }
}
