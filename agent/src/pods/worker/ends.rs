//! What ends a pod although its containers would go on: its deadline, eviction, and that this node rejects it.

use std::time::Duration;

use base::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::Worker;
use crate::pods::status::{Ended, is_terminal};
use crate::pods::{About, configuration};

const REASON: &str = "DeadlineExceeded";
const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

impl Worker {
    /// Notes that the pod is over when it is.
    pub(super) async fn check_end(&mut self, pod: &Pod) {
        let has_ended = self.told.as_ref().and_then(|told| told.phase.as_deref()).is_some_and(is_terminal);
        if has_ended || self.ended.is_some() {
            return;
        }
        let evicted = self.evictions.borrow().clone();
        if let Some(ended) = evicted {
            self.node.warning(pod, About::Pod, &ended.reason, ended.cause().to_owned()).await;
            self.ended = Some(ended);
        } else if let Some(ended) = self.told.as_ref().and_then(Ended::told_before) {
            // The agent that evicted it was killed before nothing of the pod ran any more.
            self.ended = Some(ended);
        } else if let Err(refused) = configuration::check_admission(pod) {
            self.node.warning(pod, About::Pod, refused.reason, refused.to_string()).await;
            self.ended = Some(Ended::rejected(&refused));
        } else if self.until_deadline(pod) == Some(Duration::ZERO) {
            self.node.normal(pod, About::Pod, REASON, MESSAGE.to_owned()).await;
            let (reason, message) = (REASON.to_owned(), MESSAGE.to_owned());
            self.ended = Some(Ended { reason, message, disrupted: false, grace: None });
        }
    }

    /// `None` for a pod without a deadline, and before it was first seen here.
    pub(super) fn until_deadline(&self, pod: &Pod) -> Option<Duration> {
        left(pod, self.told.as_ref()?, self.node.clock.now())
    }
}

fn left(pod: &Pod, told: &PodStatus, now: Timestamp) -> Option<Duration> {
    let seconds = u64::try_from(pod.spec.as_ref()?.active_deadline_seconds?).ok()?;
    let begin = told.start_time.as_ref()?.0;
    let active = Duration::try_from(now.duration_since(begin)).unwrap_or_default();
    Some(Duration::from_secs(seconds).saturating_sub(active))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn time_runs_from_the_pods_start_on_this_node() {
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {}, "spec": {"containers": [], "activeDeadlineSeconds": 10}}),
        )
        .unwrap();
        let told: PodStatus = serde_json::from_value(json!({"startTime": "1970-01-01T00:01:40Z"})).unwrap();
        let left = |second| left(&pod, &told, Timestamp::from_second(second).unwrap()).map(|d| d.as_secs());
        assert_eq!([left(90), left(104), left(110), left(500)], [Some(10), Some(6), Some(0), Some(0)]);
        assert_eq!(super::left(&pod, &PodStatus::default(), Timestamp::UNIX_EPOCH), None);
        assert_eq!(super::left(&Pod::default(), &told, Timestamp::UNIX_EPOCH), None);
    }
}
