//! What was used between two samples. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;

use super::machine::Machine;
use super::{PodName, Sample};
use crate::runtime::ContainerUsage;

/// The newest sample, and rates since the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// `None` before there were two samples.
    pub(super) window: Option<Window>,
    pub(super) machine: Machine,
    pub(super) node_cpu_nano_cores: u64,
    /// In the order of namespaces and names.
    pub(super) pods: Vec<PodMeasured>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) end: Timestamp,
    pub(super) length: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct PodMeasured {
    pub(super) pod: Arc<PodName>,
    pub(super) containers: Vec<ContainerMeasured>,
    /// Whether all of its containers that run now ran before, too.
    pub(super) is_complete: bool,
}

#[derive(Clone, Debug)]
pub(super) struct ContainerMeasured {
    /// The runtime's.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) started_at: Timestamp,
    pub(super) cpu_nano_cores: u64,
    pub(super) usage: ContainerUsage,
}

pub(super) fn between(before: &Sample, now: &Sample) -> Measured {
    let length = now.instant.saturating_duration_since(before.instant);
    let mut pods: BTreeMap<Arc<PodName>, PodMeasured> = BTreeMap::new();
    for (id, running) in &now.containers {
        let fresh = || PodMeasured { pod: running.pod.clone(), containers: Vec::new(), is_complete: true };
        let pod = pods.entry(running.pod.clone()).or_insert_with(fresh);
        let earlier = before.containers.get(id).map(|earlier| earlier.usage.cpu_nanos);
        let rate = earlier.and_then(|earlier| rate(earlier, running.usage.cpu_nanos, length));
        let Some(cpu_nano_cores) = rate else {
            pod.is_complete = false;
            continue;
        };
        pod.containers.push(ContainerMeasured {
            id: id.clone(),
            name: running.name.clone(),
            started_at: running.started_at,
            cpu_nano_cores,
            usage: running.usage,
        });
    }
    for pod in pods.values_mut() {
        pod.containers.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let node = rate(before.machine.cpu_nanos, now.machine.cpu_nanos, length);
    Measured {
        window: node.map(|_| Window { end: now.at, length }),
        machine: now.machine,
        node_cpu_nano_cores: node.unwrap_or_default(),
        pods: pods.into_values().collect(),
    }
}

/// Nanoseconds per second; `None` of a counter that has gone back, and of no time.
fn rate(before: u64, now: u64, within: Duration) -> Option<u64> {
    let used = u128::from(now.checked_sub(before)?);
    let rate = (used * 1_000_000_000).checked_div(within.as_nanos())?;
    u64::try_from(rate).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_per_second_and_never_negative() {
        assert_eq!(rate(1_000, 5_000_001_000, Duration::from_secs(10)), Some(500_000_000));
        assert_eq!(rate(0, 3, Duration::from_millis(1500)), Some(2));
        assert_eq!(rate(7, 7, Duration::from_secs(1)), Some(0));
        assert_eq!(rate(8, 7, Duration::from_secs(1)), None);
        assert_eq!(rate(7, 8, Duration::ZERO), None);
        assert_eq!(rate(0, u64::MAX, Duration::from_nanos(1)), None);
    }
}
