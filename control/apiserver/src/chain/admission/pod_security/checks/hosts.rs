//! What a pod may share with its node: namespaces, paths, ports, addresses, volumes, kernel settings.

use std::collections::BTreeSet;

use kinds::tree;

use super::{Subject, Violation, containers, counted, note, quoted, uses};

pub(super) fn namespaces(pod: &Subject<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| *pod.spec(field) == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}

pub(super) fn paths(pod: &Subject<'_>) -> Option<Violation> {
    let from_host =
        pod.volumes().iter().filter(|volume| volume.get("hostPath").is_some_and(|path| !path.is_null()));
    let names: Vec<&str> = from_host.map(|volume| tree::text(volume, "name")).collect();
    (!names.is_empty()).then(|| {
        Violation::new("hostPath volumes", format!("{} {}", counted("volume", names.len()), quoted(&names)))
    })
}

pub(super) fn ports(pod: &Subject<'_>) -> Option<Violation> {
    let mut taken = BTreeSet::new();
    let bad = pod.bad(|container| {
        let ports = tree::items(container, "ports").iter().filter_map(|port| tree::int(port, "hostPort"));
        let ports: Vec<String> = ports.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let is_bad = !ports.is_empty();
        taken.extend(ports);
        is_bad
    });
    let list = taken.iter().cloned().collect::<Vec<_>>().join(", ");
    (!bad.is_empty()).then(|| {
        let (who, what) = (containers(&bad), counted("hostPort", taken.len()));
        Violation::new("hostPort", format!("{who} {} {what} {list}", uses(bad.len())))
    })
}

/// Probes and hooks that ask another host.
pub(super) fn probes(pod: &Subject<'_>) -> Option<Violation> {
    const ASKING: [&str; 5] =
        ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"];
    let mut hosts = BTreeSet::new();
    let mut bad = pod.bad(|container| {
        let mut asks = false;
        for path in ASKING {
            for way in ["httpGet", "tcpSocket"] {
                let host = tree::text(container, &format!("{path}.{way}.host"));
                asks |= note(&mut hosts, host, str::is_empty);
            }
        }
        asks
    });
    bad.sort_unstable();
    bad.dedup();
    (!bad.is_empty()).then(|| {
        let what = format!("{} {}", counted("probe or lifecycle host", hosts.len()), quoted(&hosts));
        Violation::new("probe or lifecycle host", format!("{} {} {what}", containers(&bad), uses(bad.len())))
    })
}

/// Volumes that come neither from the API nor from a claim.
pub(super) fn volumes(pod: &Subject<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    for volume in pod.volumes() {
        let sources = volume.as_object().into_iter().flatten();
        let mut sources = sources.filter(|(key, source)| *key != "name" && !source.is_null());
        let source = sources.next().map_or("unknown", |(key, _)| key);
        if !ALLOWED.contains(&source) {
            names.push(tree::text(volume, "name"));
            types.insert(source);
        }
    }
    (!names.is_empty()).then(|| {
        let (volumes, kind) =
            (counted("volume", names.len()), counted("restricted volume type", types.len()));
        let (list, of) = (quoted(&names), quoted(&types));
        Violation::new(
            "restricted volume types",
            format!("{volumes} {list} {} {kind} {of}", uses(names.len())),
        )
    })
}

/// Kernel settings that are not known to be safe, by the minor version that took each for safe first.
pub(super) fn sysctls(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    const SAFE: [(u32, &str); 12] = [
        (0, "kernel.shm_rmid_forced"),
        (0, "net.ipv4.ip_local_port_range"),
        (0, "net.ipv4.tcp_syncookies"),
        (0, "net.ipv4.ping_group_range"),
        (0, "net.ipv4.ip_unprivileged_port_start"),
        (27, "net.ipv4.ip_local_reserved_ports"),
        (29, "net.ipv4.tcp_keepalive_time"),
        (29, "net.ipv4.tcp_fin_timeout"),
        (29, "net.ipv4.tcp_keepalive_intvl"),
        (29, "net.ipv4.tcp_keepalive_probes"),
        (32, "net.ipv4.tcp_rmem"),
        (32, "net.ipv4.tcp_wmem"),
    ];
    let is_safe = |name: &str| SAFE.iter().any(|(since, safe)| *since <= minor && *safe == name);
    let set =
        tree::items(pod.spec("securityContext"), "sysctls").iter().map(|sysctl| tree::text(sysctl, "name"));
    let bad: Vec<&str> = set.filter(|name| !is_safe(name)).collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}
