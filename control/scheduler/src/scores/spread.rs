//! Pods of one controller go where the fewest of them are.

use super::{MAX, less_is_better};
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn score(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let Some(group) = &pod.group else { return vec![MAX; nodes.len()] };
    let counts = nodes.iter().map(|node| node.groups.get(group).copied().unwrap_or(0));
    let counts: Vec<i64> = counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX)).collect();
    less_is_better(&counts)
}
