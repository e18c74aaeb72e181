//! How often each probe of each container came to what, for `/metrics/probes`: the kubelet's names and labels.
//!
//! Apart from the process' other metrics, since its labels name pods: they go when their pod goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::desired::PodKey;
use crate::metrics::{PROBES, Page};

/// Those of all pods of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeCounts(Arc<Mutex<BTreeMap<String, PodCounts>>>);

/// Those of one pod, by container, type and result.
#[derive(Debug)]
struct PodCounts {
    pod: PodKey,
    counts: BTreeMap<(String, &'static str, &'static str), u64>,
}

/// Where the probes of one pod are counted.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: ProbeCounts,
    uid: String,
}

impl Tally {
    pub(crate) fn begin(counts: ProbeCounts, pod: PodKey, uid: String) -> Self {
        counts.lock().insert(uid.clone(), PodCounts { pod, counts: BTreeMap::new() });
        Self { counts, uid }
    }

    /// A probe that was under way when its pod was forgotten counts for nothing.
    pub(super) fn add(&self, container: &str, kind: &'static str, result: &'static str) {
        if let Some(pod) = self.counts.lock().get_mut(&self.uid) {
            *pod.counts.entry((container.to_owned(), kind, result)).or_default() += 1;
        }
    }

    pub(super) fn forget(&self) {
        self.counts.lock().remove(&self.uid);
    }
}

impl ProbeCounts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PodCounts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In Prometheus' text format.
    pub(crate) fn exposition(&self) -> String {
        let mut page = Page::default();
        let help = "Cumulative number of a liveness, readiness or startup probe for a container by result.";
        page.family(PROBES, "counter", help);
        for (uid, pod) in self.lock().iter() {
            let PodKey { namespace, name } = &pod.pod;
            for ((container, kind, result), count) in &pod.counts {
                let labels = format!(
                    "{{container=\"{container}\",namespace=\"{namespace}\",pod=\"{name}\",pod_uid=\"{uid}\",\
                     probe_type=\"{kind}\",result=\"{result}\"}}"
                );
                page.line(PROBES, &labels, &count.to_string(), "");
            }
        }
        page.0
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn counts_have_the_kubelets_labels_and_go_with_their_pod() {
        let counts = ProbeCounts::default();
        let tally = Tally::begin(counts.clone(), PodKey::new("ns", "p"), "u".to_owned());
        tally.add("c", "Readiness", "successful");
        tally.add("c", "Readiness", "successful");
        tally.add("c", "Liveness", "failed");
        expect![[r##"
            # HELP prober_probe_total Cumulative number of a liveness, readiness or startup probe for a container by result.
            # TYPE prober_probe_total counter
            prober_probe_total{container="c",namespace="ns",pod="p",pod_uid="u",probe_type="Liveness",result="failed"} 1
            prober_probe_total{container="c",namespace="ns",pod="p",pod_uid="u",probe_type="Readiness",result="successful"} 2
        "##]]
        .assert_eq(&counts.exposition());
        tally.forget();
        tally.add("c", "Liveness", "failed");
        assert_eq!(counts.exposition().lines().count(), 2);
    }
}
