//! The node's conditions: Ready and the pressures, with the time of their last change.

use std::time::Duration;

use base::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::RuntimeHealth;
use crate::network::NetworkHealth;
use crate::reclaim::{Crossed, Signal};

const READY: &str = "Ready";

/// The last observation.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    list: Vec<NodeCondition>,
    /// When each pressure was last there.
    pressed: [Option<Timestamp>; 3],
    /// For how long a pressure is still told after it has passed, lest pods come back at once.
    transition: Duration,
}

#[derive(Clone)]
struct Finding {
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

impl Conditions {
    pub(super) fn lasting(transition: Duration) -> Self {
        Self { transition, ..Self::default() }
    }

    /// Takes in what is so now. A condition's transition time moves only when its status does.
    pub(super) fn observe(
        &mut self,
        now: Timestamp,
        crossed: &[Crossed],
        runtime: &RuntimeHealth,
        network: &NetworkHealth,
    ) {
        let told = std::array::from_fn(|which| self.is_told(which, pressed(crossed)[which], now));
        let mut findings = pressures(told).to_vec();
        findings.push(readiness(runtime, network));
        let list = findings.into_iter().map(|finding| {
            let status = if finding.status { "True" } else { "False" };
            let before = self.list.iter().find(|before| before.type_ == finding.kind);
            let since = before.filter(|before| before.status == status);
            NodeCondition {
                type_: finding.kind.to_owned(),
                status: status.to_owned(),
                reason: Some(finding.reason.to_owned()),
                message: Some(finding.message),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: since
                    .and_then(|since| since.last_transition_time.clone())
                    .or(Some(Time(now))),
            }
        });
        self.list = list.collect();
    }

    fn is_told(&mut self, which: usize, is_now: bool, now: Timestamp) -> bool {
        if is_now {
            self.pressed[which] = Some(now);
        }
        self.pressed[which].is_some_and(|last| {
            is_now || Duration::try_from(now.duration_since(last)).unwrap_or_default() < self.transition
        })
    }

    /// The types of those that say what the node is short of.
    pub(super) fn pressures(&self) -> Vec<String> {
        let holds = |it: &&NodeCondition| it.status == "True" && it.type_ != READY;
        self.list.iter().filter(holds).map(|it| it.type_.clone()).collect()
    }

    pub(super) fn list(&self) -> Vec<NodeCondition> {
        self.list.clone()
    }
}

/// Whether each of the three pressures is there now.
fn pressed(crossed: &[Crossed]) -> [bool; 3] {
    let is = |signals: &[Signal]| crossed.iter().any(|crossed| signals.contains(&crossed.signal));
    [is(&[Signal::Memory]), is(&[Signal::Storage, Signal::Inodes]), is(&[Signal::Pids])]
}

fn pressures([memory, disk, pids]: [bool; 3]) -> [Finding; 3] {
    [
        pressure(
            "MemoryPressure",
            memory,
            ["KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"],
            "memory",
        ),
        pressure("DiskPressure", disk, ["KubeletHasDiskPressure", "KubeletHasNoDiskPressure"], "disk"),
        pressure("PIDPressure", pids, ["KubeletHasInsufficientPID", "KubeletHasSufficientPID"], "PID"),
    ]
}

fn pressure(kind: &'static str, status: bool, reasons: [&'static str; 2], what: &str) -> Finding {
    let message = match (status, what) {
        (true, "disk") => "kubelet has disk pressure".to_owned(),
        (false, "disk") => "kubelet has no disk pressure".to_owned(),
        (true, _) => format!("kubelet has insufficient {what} available"),
        (false, _) => format!("kubelet has sufficient {what} available"),
    };
    Finding { kind, status, reason: if status { reasons[0] } else { reasons[1] }, message }
}

/// Reasons and words as Kubernetes' own agent has them, since tools look for them.
fn readiness(runtime: &RuntimeHealth, network: &NetworkHealth) -> Finding {
    let mut problems: Vec<String> = runtime.problem.iter().cloned().collect();
    if let NetworkHealth::NotReady(problem) = network {
        problems.push(format!("container runtime network not ready: {problem}"));
    }
    let status = problems.is_empty();
    Finding {
        kind: READY,
        status,
        reason: if status { "KubeletReady" } else { "KubeletNotReady" },
        message: if status { "kubelet is posting ready status".into() } else { problems.join(", ") },
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::node::facts::Usage;
    use crate::reclaim::Thresholds;

    fn usage() -> Usage {
        Usage {
            memory_bytes: 8 << 30,
            memory_free_bytes: 4 << 30,
            storage_bytes: 100_000,
            storage_free_bytes: 50_000,
            inodes: 1000,
            inodes_free: 500,
            pids: 100,
            pids_max: 32768,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "expect! makes values")]
    fn check(usage: &Usage, runtime: Option<&str>, network: &NetworkHealth, expected: Expect) {
        let runtime = RuntimeHealth { problem: runtime.map(Into::into), ..RuntimeHealth::default() };
        let mut conditions = Conditions::default();
        let crossed = Thresholds::default().crossed(usage);
        conditions.observe(Timestamp::UNIX_EPOCH, &crossed, &runtime, network);
        let lines = conditions.list().into_iter().map(|condition| {
            let text = |text: Option<String>| text.unwrap_or_default();
            format!(
                "{}={} {}: {}",
                condition.type_,
                condition.status,
                text(condition.reason),
                text(condition.message)
            )
        });
        expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_healthy_node() {
        check(
            &usage(),
            None,
            &NetworkHealth::Ready,
            expect![[r"
                MemoryPressure=False KubeletHasSufficientMemory: kubelet has sufficient memory available
                DiskPressure=False KubeletHasNoDiskPressure: kubelet has no disk pressure
                PIDPressure=False KubeletHasSufficientPID: kubelet has sufficient PID available
                Ready=True KubeletReady: kubelet is posting ready status"]],
        );
    }

    #[test]
    fn a_node_in_trouble() {
        let usage = Usage { memory_free_bytes: 1 << 20, inodes_free: 10, pids: 32760, ..usage() };
        check(
            &usage,
            Some("containerd is restarting"),
            &NetworkHealth::NotReady("no pod network yet".into()),
            expect![[r"
                MemoryPressure=True KubeletHasInsufficientMemory: kubelet has insufficient memory available
                DiskPressure=True KubeletHasDiskPressure: kubelet has disk pressure
                PIDPressure=True KubeletHasInsufficientPID: kubelet has insufficient PID available
                Ready=False KubeletNotReady: containerd is restarting, container runtime network not ready: no pod network yet"]],
        );
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Conditions::default();
        let at = |second| Timestamp::from_second(second).expect("a time");
        let transition = |conditions: &Conditions| {
            let list = conditions.list();
            let ready = list.iter().find(|condition| condition.type_ == "Ready").expect("Ready");
            let time = |time: &Option<Time>| time.as_ref().expect("a time").0.as_second();
            (time(&ready.last_transition_time), time(&ready.last_heartbeat_time))
        };
        let runtime = RuntimeHealth::default();
        let not_ready = NetworkHealth::NotReady("starting".into());
        conditions.observe(at(10), &[], &runtime, &not_ready);
        conditions.observe(at(20), &[], &runtime, &not_ready);
        assert_eq!(transition(&conditions), (10, 20));
        conditions.observe(at(30), &[], &runtime, &NetworkHealth::Ready);
        assert_eq!(transition(&conditions), (30, 30));
    }

    #[test]
    fn a_pressure_is_told_for_a_while_after_it_has_passed() {
        let mut conditions = Conditions::lasting(Duration::from_secs(300));
        let crossed = Thresholds::default().crossed(&Usage { memory_free_bytes: 1 << 20, ..usage() });
        let mut at = |second, crossed: &[Crossed]| {
            let now = Timestamp::from_second(second).expect("a time");
            conditions.observe(now, crossed, &RuntimeHealth::default(), &NetworkHealth::Ready);
            conditions.list()[0].status.clone()
        };
        let told = [at(0, &[]), at(10, &crossed), at(20, &[]), at(309, &[]), at(310, &[])];
        assert_eq!(told, ["False", "True", "True", "True", "False"]);
    }
}
