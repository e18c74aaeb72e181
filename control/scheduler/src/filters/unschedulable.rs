//! A cordoned node takes no pods, except those that tolerate the cordon's taint.

use k8s_openapi::api::core::v1::Taint;

use super::Reason;
use crate::pod::{PodInfo, tolerates};
use crate::snapshot::NodeInfo;

pub(super) const TAINT: &str = "node.kubernetes.io/unschedulable";

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let is_cordoned = node.node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let taint = Taint { key: TAINT.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    if is_cordoned && !tolerates(&pod.pod, &taint) {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    Vec::new()
}
