//! The checks of the Pod Security Standards: each since some minor version, some other from a later one on.

use std::collections::BTreeSet;

use kinds::{meta, tree};
use serde_json::Value;

use super::policy::{Level, Rule, Version};

mod contexts;
mod hosts;

/// The minor version that this server speaks: a rule of a later one is judged as of this.
const NEWEST: u32 = 36;

/// A pod, or a template of pods.
pub(super) struct Subject<'a> {
    pod: &'a Value,
}

/// Why a pod may not run.
struct Violation {
    reason: &'static str,
    /// In the plural when there are several: `forbidden AppArmor profiles`.
    plural: bool,
    detail: String,
}

/// All that forbids a pod, in the order of the checks.
pub(super) struct Violations(Vec<Violation>);

type Check = fn(&Subject<'_>) -> Option<Violation>;

/// One check, named as upstream names it, as it is from each minor version on.
struct Listed {
    level: Level,
    since: &'static [(u32, Check)],
    /// The check of the level below that this one makes needless.
    instead_of: Option<&'static str>,
    id: &'static str,
}

const fn baseline(id: &'static str, since: &'static [(u32, Check)]) -> Listed {
    Listed { level: Level::Baseline, since, instead_of: None, id }
}

const fn restricted(
    id: &'static str,
    instead_of: Option<&'static str>,
    since: &'static [(u32, Check)],
) -> Listed {
    Listed { level: Level::Restricted, since, instead_of, id }
}

/// By level, then by name: so violations are told.
const ALL: [Listed; 19] = [
    baseline("appArmorProfile", &[(0, contexts::app_armor)]),
    baseline("capabilities_baseline", &[(0, contexts::added_capabilities)]),
    baseline("hostNamespaces", &[(0, hosts::namespaces)]),
    baseline("hostPathVolumes", &[(0, hosts::paths)]),
    baseline("hostPorts", &[(0, hosts::ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, hosts::probes)]),
    baseline("privileged", &[(0, contexts::privileged)]),
    baseline("procMount", &[(0, contexts::proc_mount), (35, |pod| outside(pod, contexts::proc_mount))]),
    baseline("seLinuxOptions", &[(0, contexts::se_linux_before_31), (31, contexts::se_linux)]),
    baseline(
        "seccompProfile_baseline",
        &[(0, contexts::seccomp_annotations), (19, contexts::seccomp_if_set)],
    ),
    baseline(
        "sysctls",
        &[
            (0, |pod| hosts::sysctls(pod, 0)),
            (27, |pod| hosts::sysctls(pod, 27)),
            (29, |pod| hosts::sysctls(pod, 29)),
            (32, |pod| hosts::sysctls(pod, 32)),
        ],
    ),
    baseline("windowsHostProcess", &[(0, contexts::windows_host_process)]),
    restricted(
        "allowPrivilegeEscalation",
        None,
        &[
            (8, contexts::privilege_escalation),
            (25, |pod| unless_windows(pod, contexts::privilege_escalation)),
        ],
    ),
    restricted(
        "capabilities_restricted",
        Some("capabilities_baseline"),
        &[(22, contexts::kept_capabilities), (25, |pod| unless_windows(pod, contexts::kept_capabilities))],
    ),
    restricted("procMount_restricted", Some("procMount"), &[(35, contexts::proc_mount)]),
    restricted("restrictedVolumes", Some("hostPathVolumes"), &[(0, hosts::volumes)]),
    restricted(
        "runAsNonRoot",
        None,
        &[(0, contexts::run_as_non_root), (35, |pod| outside(pod, contexts::run_as_non_root))],
    ),
    restricted(
        "runAsUser",
        None,
        &[(23, contexts::run_as_user), (35, |pod| outside(pod, contexts::run_as_user))],
    ),
    restricted(
        "seccompProfile_restricted",
        Some("seccompProfile_baseline"),
        &[(19, contexts::seccomp), (25, |pod| unless_windows(pod, contexts::seccomp))],
    ),
];

/// What of `pod` `rule` forbids.
pub(super) fn violations(rule: Rule, pod: &Subject<'_>) -> Option<Violations> {
    let minor = match rule.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => minor.min(NEWEST),
    };
    let current = |listed: &Listed| {
        let applies = listed.level <= rule.level;
        let known = listed.since.iter().rev().find(|(since, _)| applies && *since <= minor);
        known.map(|(_, check)| *check)
    };
    let replaced: Vec<&str> = ALL
        .iter()
        .filter(|listed| current(listed).is_some())
        .filter_map(|listed| listed.instead_of)
        .collect();
    let wanted = ALL.iter().filter(|listed| !replaced.contains(&listed.id)).filter_map(current);
    let found: Vec<Violation> = wanted.filter_map(|check| check(pod)).collect();
    (!found.is_empty()).then_some(Violations(found))
}

/// A pod in a user namespace of its own may do what others may not.
fn outside(pod: &Subject<'_>, check: Check) -> Option<Violation> {
    if *pod.spec("hostUsers") == Value::Bool(false) { None } else { check(pod) }
}

fn unless_windows(pod: &Subject<'_>, check: Check) -> Option<Violation> {
    if pod.spec("os.name") == "windows" { None } else { check(pod) }
}

impl<'a> Subject<'a> {
    pub(super) fn of(pod: &'a Value) -> Self {
        Self { pod }
    }

    /// Init containers, containers, ephemeral ones.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let pod = self.pod;
        let lists = ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"];
        lists.into_iter().flat_map(move |list| tree::items(pod, list))
    }

    fn spec(&self, path: &str) -> &'a Value {
        tree::get(self.pod, &format!("spec.{path}"))
    }

    fn volumes(&self) -> &'a [Value] {
        tree::items(self.pod, "spec.volumes")
    }

    /// The annotations that begin so, with their values.
    fn annotations(&self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let entries = meta::annotations(self.pod).into_iter().flatten();
        entries.filter_map(move |(key, value)| {
            Some((key.as_str(), value.as_str()?)).filter(|_| key.starts_with(prefix))
        })
    }

    /// The names of the containers of which `is_bad` is true.
    fn bad(&self, mut is_bad: impl FnMut(&Value) -> bool) -> Vec<&'a str> {
        let bad = self.containers().filter(|container| is_bad(container));
        bad.map(|container| tree::text(container, "name")).collect()
    }

    /// Whose security context `is_bad`: the pod's and some containers'.
    fn bad_setters(&self, mut is_bad: impl FnMut(&Value) -> bool) -> Option<String> {
        let pod = is_bad(self.spec("securityContext"));
        let bad = self.bad(|container| is_bad(tree::get(container, "securityContext")));
        setters(pod, &bad)
    }
}

impl Violations {
    /// The reasons, each with its details.
    pub(super) fn details(&self) -> String {
        let told = self.0.iter().map(|one| format!("{} ({})", one.reason(), one.detail));
        told.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn reasons(&self) -> String {
        self.0.iter().map(Violation::reason).collect::<Vec<_>>().join(", ")
    }
}

impl Violation {
    fn new(reason: &'static str, detail: String) -> Self {
        Self { reason, plural: false, detail }
    }

    fn reason(&self) -> String {
        format!("{}{}", self.reason, if self.plural { "s" } else { "" })
    }
}

/// `pod and containers "a", "b"`, if anybody.
fn setters(pod: bool, bad: &[&str]) -> Option<String> {
    match (pod, bad.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(bad)),
        (true, false) => Some(format!("pod and {}", containers(bad))),
    }
}

fn containers(names: &[&str]) -> String {
    format!("{} {}", counted("container", names.len()), quoted(names))
}

fn counted(word: &str, count: usize) -> String {
    format!("{word}{}", if count == 1 { "" } else { "s" })
}

fn uses(count: usize) -> &'static str {
    if count == 1 { "uses" } else { "use" }
}

fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    quoted.join(", ")
}

/// Notes a text that is not among those allowed; whether it is one.
fn note(bad: &mut BTreeSet<String>, text: &str, is_allowed: impl Fn(&str) -> bool) -> bool {
    let is_bad = !is_allowed(text);
    if is_bad {
        bad.insert(text.to_owned());
    }
    is_bad
}
