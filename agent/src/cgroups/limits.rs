//! From requests and limits to cgroup values: quality of service, shares, quota, memory, OOM score. Pure.
//!
//! The formulas are the kubelet's (cm/helpers_linux.go, qos/policy.go); version 2's weight follows KEP-2254.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use proto::cri::LinuxContainerResources;

const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
const PERIOD_US: i64 = 100_000;
const QUOTA_US_MIN: i64 = 1000;
const PAGE_BYTES: i64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    pub(crate) const ALL: [Self; 3] = [Self::Guaranteed, Self::Burstable, Self::BestEffort];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// What to set on one cgroup; `None` is left as the kernel made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) cpu_shares: i64,
    pub(crate) cpu_quota_us: Option<i64>,
    pub(crate) memory_bytes: Option<i64>,
}

impl QosClass {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

impl Limits {
    pub(super) fn smallest() -> Self {
        Self { cpu_shares: SHARES_MIN, cpu_quota_us: None, memory_bytes: None }
    }

    /// Of a container; what it is not limited in is left alone.
    pub(super) fn of(resources: &LinuxContainerResources) -> Self {
        let some = |value: i64| Some(value).filter(|value| *value > 0);
        Self {
            cpu_shares: resources.cpu_shares,
            cpu_quota_us: some(resources.cpu_quota),
            memory_bytes: some(resources.memory_limit_in_bytes),
        }
    }

    /// File names and what to write into them.
    pub(super) fn files(&self, version: Version) -> Vec<(&'static str, String)> {
        let mut files = Vec::new();
        match version {
            Version::V1 => {
                files.push(("cpu.shares", self.cpu_shares.to_string()));
                if let Some(quota) = self.cpu_quota_us {
                    files.push(("cpu.cfs_period_us", PERIOD_US.to_string()));
                    files.push(("cpu.cfs_quota_us", quota.to_string()));
                }
                if let Some(bytes) = self.memory_bytes {
                    files.push(("memory.limit_in_bytes", bytes.to_string()));
                }
            }
            Version::V2 => {
                files.push(("cpu.weight", cpu_weight(self.cpu_shares).to_string()));
                if let Some(quota) = self.cpu_quota_us {
                    files.push(("cpu.max", format!("{quota} {PERIOD_US}")));
                }
                if let Some(bytes) = self.memory_bytes {
                    files.push(("memory.max", bytes.to_string()));
                }
            }
        }
        files
    }
}

/// Over cpu and memory of all containers, init containers included.
pub(crate) fn qos_class(pod: &Pod) -> QosClass {
    let mut any = false;
    let mut guaranteed = true;
    for container in containers(pod) {
        for resource in ["cpu", "memory"] {
            let request = amount(container.resources.as_ref(), Side::Request, resource);
            let limit = amount(container.resources.as_ref(), Side::Limit, resource);
            any |= request.or(limit).is_some_and(|amount| amount > 0);
            guaranteed &= limit.is_some_and(|limit| limit > 0 && request.is_none_or(|r| r == limit));
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// The pod's own cgroup: the sum of its containers, or its largest init container.
pub(crate) fn pod_limits(pod: &Pod) -> Limits {
    let spec = pod.spec.as_ref();
    let mains: Vec<&Container> = spec.map(|spec| spec.containers.iter().collect()).unwrap_or_default();
    let inits: Vec<&Container> =
        spec.and_then(|spec| spec.init_containers.as_ref()).map(|c| c.iter().collect()).unwrap_or_default();
    let total = |side: Side, resource: &str| -> i64 {
        let of = |c: &&Container| {
            // A limit without a request counts as the request.
            let own = amount(c.resources.as_ref(), side, resource);
            own.or_else(|| amount(c.resources.as_ref(), Side::Limit, resource)).unwrap_or(0)
        };
        let sum: i64 = mains.iter().map(of).sum();
        inits.iter().map(of).max().unwrap_or(0).max(sum)
    };
    let all_limited = |resource: &str| {
        mains
            .iter()
            .chain(&inits)
            .all(|c| amount(c.resources.as_ref(), Side::Limit, resource).is_some_and(|l| l > 0))
            && !mains.is_empty()
    };
    Limits {
        cpu_shares: cpu_shares(total(Side::Request, "cpu")),
        cpu_quota_us: all_limited("cpu").then(|| cpu_quota_us(total(Side::Limit, "cpu"))),
        memory_bytes: all_limited("memory").then(|| total(Side::Limit, "memory")),
    }
}

/// One container's own values. A limit without a request counts as the request.
pub(crate) fn container_resources(
    pod: &Pod,
    container: &Container,
    memory_capacity: i64,
) -> LinuxContainerResources {
    let resources = container.resources.as_ref();
    let cpu_limit = amount(resources, Side::Limit, "cpu").unwrap_or(0);
    let cpu_request = amount(resources, Side::Request, "cpu").unwrap_or(cpu_limit);
    LinuxContainerResources {
        cpu_shares: cpu_shares(cpu_request),
        cpu_period: if cpu_limit > 0 { PERIOD_US } else { 0 },
        cpu_quota: if cpu_limit > 0 { cpu_quota_us(cpu_limit) } else { 0 },
        memory_limit_in_bytes: amount(resources, Side::Limit, "memory").unwrap_or(0),
        oom_score_adj: oom_score_adj(
            qos_class(pod),
            amount(resources, Side::Request, "memory").unwrap_or(0),
            memory_capacity,
        ),
        ..LinuxContainerResources::default()
    }
}

/// The number in a cgroup's file, to compare by: nothing is more than no limit, and the kernel keeps whole pages.
pub(super) fn in_file(file: &str, text: &str) -> i64 {
    let number = match text.split_whitespace().next() {
        Some("max" | "-1") | None => i64::MAX,
        Some(number) => number.parse().unwrap_or(i64::MAX),
    };
    if file.starts_with("memory") { number / PAGE_BYTES * PAGE_BYTES } else { number }
}

/// cgroup v1 shares of so many thousandths of a processor.
fn cpu_shares(millis: i64) -> i64 {
    if millis <= 0 { SHARES_MIN } else { (millis * 1024 / 1000).clamp(SHARES_MIN, SHARES_MAX) }
}

/// The kernel kills the highest first: best-effort, then whoever asked for little.
fn oom_score_adj(class: QosClass, memory_request: i64, memory_capacity: i64) -> i64 {
    match class {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let share = i128::from(memory_request) * 1000 / i128::from(memory_capacity.max(1));
            1000 - i64::try_from(share).unwrap_or(1000).clamp(1, 997)
        }
    }
}

fn cpu_quota_us(millis: i64) -> i64 {
    (millis * PERIOD_US / 1000).max(QUOTA_US_MIN)
}

fn cpu_weight(shares: i64) -> i64 {
    1 + (shares - SHARES_MIN) * 9999 / (SHARES_MAX - SHARES_MIN)
}

#[derive(Clone, Copy)]
enum Side {
    Request,
    Limit,
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
}

/// Thousandths of a processor, or bytes.
fn amount(resources: Option<&ResourceRequirements>, side: Side, resource: &str) -> Option<i64> {
    let resources = resources?;
    let map: &BTreeMap<String, Quantity> = match side {
        Side::Request => resources.requests.as_ref()?,
        Side::Limit => resources.limits.as_ref()?,
    };
    let thousandths = thousandths(&map.get(resource)?.0)?;
    let amount = if resource == "cpu" { thousandths } else { (thousandths + 999) / 1000 };
    i64::try_from(amount).ok()
}

/// A quantity times 1000, rounded up. Admission has checked the syntax; nonsense is no limit.
pub(crate) fn thousandths(text: &str) -> Option<i128> {
    let digits =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (numerator, denominator): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (1_000_000, 1),
        "M" => (10i128.pow(9), 1),
        "G" => (10i128.pow(12), 1),
        "T" => (10i128.pow(15), 1),
        "P" => (10i128.pow(18), 1),
        "E" => (10i128.pow(21), 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        "Ei" => (1000 << 60, 1),
        exponent => (1000 * 10i128.checked_pow(exponent.strip_prefix(['e', 'E'])?.parse().ok()?)?, 1),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = scale * denominator;
    let product = value.checked_mul(numerator)?;
    Some((product + divisor - 1) / divisor)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn pod(containers: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": containers}}))
            .unwrap()
    }

    fn check(containers: &serde_json::Value, expected: Expect) {
        let pod = pod(containers);
        let first = container_resources(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30);
        let limits = pod_limits(&pod);
        expected.assert_eq(&format!(
            "{} pod v1 {:?}\npod v2 {:?}\ncontainer shares={} quota={} memory={} oom={}",
            qos_class(&pod).name(),
            limits.files(Version::V1),
            limits.files(Version::V2),
            first.cpu_shares,
            first.cpu_quota,
            first.memory_limit_in_bytes,
            first.oom_score_adj,
        ));
    }

    #[test]
    fn nothing_asked_is_best_effort() {
        check(
            &json!([{"name": "a"}]),
            expect![[r#"
                BestEffort pod v1 [("cpu.shares", "2")]
                pod v2 [("cpu.weight", "1")]
                container shares=2 quota=0 memory=0 oom=1000"#]],
        );
    }

    #[test]
    fn limits_alone_are_guaranteed() {
        check(
            &json!([{"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}]),
            expect![[r#"
                Guaranteed pod v1 [("cpu.shares", "512"), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000"), ("memory.limit_in_bytes", "67108864")]
                pod v2 [("cpu.weight", "20"), ("cpu.max", "50000 100000"), ("memory.max", "67108864")]
                container shares=512 quota=50000 memory=67108864 oom=-997"#]],
        );
    }

    #[test]
    fn one_container_without_a_limit_leaves_the_pod_unlimited() {
        check(
            &json!([
                {"name": "a", "resources": {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"cpu": "2"}}},
                {"name": "b"},
            ]),
            expect![[r#"
                Burstable pod v1 [("cpu.shares", "1024")]
                pod v2 [("cpu.weight", "39")]
                container shares=1024 quota=200000 memory=0 oom=750"#]],
        );
    }

    #[test]
    fn what_the_kernel_shows_is_compared_as_it_means_it() {
        assert_eq!(in_file("memory.max", "1000001"), in_file("memory.max", "999424\n"));
        assert_eq!(in_file("cpu.max", "20000 100000\n"), 20000);
        assert!(in_file("cpu.cfs_quota_us", "-1\n") > in_file("cpu.cfs_quota_us", "50000"));
        assert!(in_file("cpu.max", "max 100000") > in_file("cpu.max", "50000 100000"));
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let bytes = |text: &str| thousandths(text).map(|t| (t + 999) / 1000);
        assert_eq!(bytes("1.5Gi"), Some(1_610_612_736));
        assert_eq!(bytes("1e3"), Some(1000));
        assert_eq!(thousandths("250m"), Some(250));
        assert_eq!(thousandths("0.1"), Some(100));
        assert_eq!(thousandths("100n"), Some(1));
        assert_eq!(thousandths("many"), None);
    }
}
