//! What security contexts may say: privileges, capabilities, users, profiles.

use std::collections::BTreeSet;

use kinds::tree;
use serde_json::Value;

use super::{Subject, Violation, containers, counted, note, quoted};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const PROFILES: [&str; 2] = ["RuntimeDefault", "Localhost"];

fn text_at<'a>(object: &'a Value, path: &str) -> Option<&'a str> {
    tree::get(object, path).as_str()
}

fn texts<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a str> {
    tree::items(object, path).iter().filter_map(Value::as_str)
}

pub(super) fn privileged(pod: &Subject<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| tree::flag(container, "securityContext.privileged"));
    (!bad.is_empty()).then(|| {
        let detail = format!("{} must not set securityContext.privileged=true", containers(&bad));
        Violation::new("privileged", detail)
    })
}

pub(super) fn privilege_escalation(pod: &Subject<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| *tree::get(container, "securityContext.allowPrivilegeEscalation") != false);
    (!bad.is_empty()).then(|| {
        let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
        Violation::new("allowPrivilegeEscalation != false", detail)
    })
}

/// Capabilities beyond those that containers have anyway.
pub(super) fn added_capabilities(pod: &Subject<'_>) -> Option<Violation> {
    const USUAL: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let (bad, unusual) = adding(pod, &USUAL);
    (!bad.is_empty()).then(|| Violation::new("non-default capabilities", not_added(&bad, &unusual)))
}

/// All must be dropped, and only the binding of low ports may be added.
pub(super) fn kept_capabilities(pod: &Subject<'_>) -> Option<Violation> {
    let keeping = pod.bad(|container| {
        !texts(container, "securityContext.capabilities.drop").any(|dropped| dropped == "ALL")
    });
    let (bad, forbidden) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details
            .push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !bad.is_empty() {
        details.push(not_added(&bad, &forbidden));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

/// Who adds capabilities other than `allowed`, and which.
fn adding<'a>(pod: &Subject<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<String>) {
    let mut others = BTreeSet::new();
    let bad = pod.bad(|container| {
        let mut is_bad = false;
        for added in texts(container, "securityContext.capabilities.add") {
            is_bad |= note(&mut others, added, |added| allowed.contains(&added));
        }
        is_bad
    });
    (bad, others)
}

fn not_added(bad: &[&str], capabilities: &BTreeSet<String>) -> String {
    format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(bad),
        quoted(capabilities)
    )
}

pub(super) fn proc_mount(pod: &Subject<'_>) -> Option<Violation> {
    let mut mounts = BTreeSet::new();
    let bad = pod.bad(|container| {
        let mount = text_at(container, "securityContext.procMount");
        mount.is_some_and(|mount| note(&mut mounts, mount, |mount| mount == "Default"))
    });
    (!bad.is_empty()).then(|| {
        let detail =
            format!("{} must not set securityContext.procMount to {}", containers(&bad), quoted(&mounts));
        Violation::new("procMount", detail)
    })
}

pub(super) fn windows_host_process(pod: &Subject<'_>) -> Option<Violation> {
    let setters = pod.bad_setters(|context| tree::flag(context, "windowsOptions.hostProcess"))?;
    let detail = format!("{setters} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation::new("hostProcess", detail))
}

pub(super) fn app_armor(pod: &Subject<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let by_field = pod.bad_setters(|context| bad_profile(context, "appArmorProfile", &mut values));
    let is_allowed =
        |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations = pod.annotations(APP_ARMOR).filter(|(_, value)| !is_allowed(value));
    let annotations: BTreeSet<String> = annotations.map(|(key, value)| format!("{key}={value:?}")).collect();
    let by_annotation = (!annotations.is_empty()).then(|| counted("annotation", annotations.len()));
    let setters: Vec<String> = by_field.into_iter().chain(by_annotation).collect();
    let values: Vec<&String> = values.iter().chain(&annotations).collect();
    (!setters.is_empty()).then(|| Violation {
        reason: "forbidden AppArmor profile",
        plural: values.len() != 1,
        detail: format!(
            "{} must not set AppArmor profile type to {}",
            setters.join(" and "),
            quoted(&values)
        ),
    })
}

/// Whether the context sets a profile of a type that is not allowed, which is noted.
fn bad_profile(context: &Value, profile: &str, values: &mut BTreeSet<String>) -> bool {
    let set = tree::get(context, profile);
    set.is_object() && note(values, tree::text(set, "type"), |kind| PROFILES.contains(&kind))
}

/// Before 1.19 seccomp profiles were annotations.
pub(super) fn seccomp_annotations(pod: &Subject<'_>) -> Option<Violation> {
    let is_allowed = |value: &str| {
        ["runtime/default", "docker/default"].contains(&value) || value.starts_with("localhost/")
    };
    let names: Vec<&str> = pod.containers().map(|container| tree::text(container, "name")).collect();
    let of_pod = pod.annotations(SECCOMP_OF_POD).filter(|(key, _)| *key == SECCOMP_OF_POD);
    let of_containers = pod
        .annotations(SECCOMP_OF_CONTAINER)
        .filter(|(key, _)| key.strip_prefix(SECCOMP_OF_CONTAINER).is_some_and(|name| names.contains(&name)));
    let bad = of_pod.chain(of_containers).filter(|(_, value)| !is_allowed(value));
    let bad: BTreeSet<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    (!bad.is_empty()).then(|| {
        let list = bad.iter().cloned().collect::<Vec<_>>().join(", ");
        Violation::new("seccompProfile", format!("forbidden {} {list}", counted("annotation", bad.len())))
    })
}

pub(super) fn seccomp_if_set(pod: &Subject<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let setters = pod.bad_setters(|context| bad_profile(context, "seccompProfile", &mut values))?;
    let values = quoted(&values);
    let detail = format!("{setters} must not set securityContext.seccompProfile.type to {values}");
    Some(Violation::new("seccompProfile", detail))
}

pub(super) fn seccomp(pod: &Subject<'_>) -> Option<Violation> {
    if let Some(violation) = seccomp_if_set(pod) {
        return Some(violation);
    }
    if pod.spec("securityContext.seccompProfile").is_object() {
        return None;
    }
    let silent = pod.bad(|container| !tree::get(container, "securityContext.seccompProfile").is_object());
    (!silent.is_empty()).then(|| {
        let detail = format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&silent)
        );
        Violation::new("seccompProfile", detail)
    })
}

pub(super) fn se_linux_before_31(pod: &Subject<'_>) -> Option<Violation> {
    se_linux_of(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

pub(super) fn se_linux(pod: &Subject<'_>) -> Option<Violation> {
    se_linux_of(pod, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn se_linux_of(pod: &Subject<'_>, types_allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let setters = pod.bad_setters(|context| {
        let set = |name: &str| tree::text(context, &format!("seLinuxOptions.{name}"));
        let is_bad = note(&mut types, set("type"), |kind| types_allowed.contains(&kind));
        let (sets_user, sets_role) = (!set("user").is_empty(), !set("role").is_empty());
        user |= sets_user;
        role |= sets_role;
        is_bad || sets_user || sets_role
    })?;
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", counted("type", types.len()), quoted(&types)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    let detail = format!("{setters} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    Some(Violation::new("seLinuxOptions", detail))
}

pub(super) fn run_as_non_root(pod: &Subject<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if let Some(setters) = pod.bad_setters(|context| *tree::get(context, "runAsNonRoot") == false) {
        let detail = format!("{setters} must not set securityContext.runAsNonRoot=false");
        return Some(Violation::new(REASON, detail));
    }
    if *pod.spec("securityContext.runAsNonRoot") == true {
        return None;
    }
    let silent = pod.bad(|container| tree::get(container, "securityContext.runAsNonRoot").is_null());
    (!silent.is_empty()).then(|| {
        let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent));
        Violation::new(REASON, detail)
    })
}

pub(super) fn run_as_user(pod: &Subject<'_>) -> Option<Violation> {
    let setters = pod.bad_setters(|context| tree::int(context, "runAsUser") == Some(0))?;
    Some(Violation::new("runAsUser=0", format!("{setters} must not set runAsUser=0")))
}
