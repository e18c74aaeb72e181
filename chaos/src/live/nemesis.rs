//! The faults of a live cluster: those that heal by themselves, and never of more than a minority.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::pause::Paused;
use crate::faults::Fault;
use crate::history::{self, Step};

/// How much longer than planned a process may stand still if nobody wakes it up.
const GRACE: Duration = Duration::from_secs(2);

/// Brings faults about, one after the other.
#[derive(Debug)]
pub(crate) struct LiveNemesis {
    pids: BTreeMap<String, u32>,
    members: usize,
    faults: u64,
}

impl LiveNemesis {
    /// `pids` are of members that run on this machine.
    pub(crate) const fn new(pids: BTreeMap<String, u32>, members: usize) -> Self {
        Self { pids, members, faults: 0 }
    }

    /// Breaks something, tells it, mends it when its time is over or we are to stop, and tells that, too.
    pub(crate) async fn strike(
        &mut self,
        fault: &Fault,
        lasts: Duration,
        stop: &CancellationToken,
        mut tell: impl FnMut(history::Fault),
    ) {
        self.faults += 1;
        let mut told = |step| {
            let (fault, kind, target) = (self.faults, fault.kind().to_owned(), fault.target());
            tell(history::Fault { fault, kind, target, step });
        };
        let members = match self.refuse(fault) {
            Ok(members) => members,
            Err(reason) => return told(Step::Skipped { reason }),
        };
        let mut paused = Vec::new();
        for (member, pid) in &members {
            match Paused::stop(*pid, lasts + GRACE).await {
                Ok(one) => paused.push(one),
                Err(error) => {
                    drop(paused);
                    return told(Step::Indeterminate { reason: format!("{member}: {error:#}") });
                }
            }
        }
        let names = || members.iter().map(|(member, _)| member.as_str()).collect::<Vec<_>>().join(", ");
        told(Step::Installed { evidence: format!("{} stands still, and wakes up by itself", names()) });
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(lasts) => {}
        }
        drop(paused);
        told(Step::Healed { evidence: format!("{} goes on", names()) });
    }

    /// Whom it strikes, or why it is not for a live cluster.
    fn refuse(&self, fault: &Fault) -> Result<Vec<(String, u32)>, String> {
        let Fault::Pause { members } = fault else {
            return Err(format!("a {} does not heal by itself", fault.kind()));
        };
        if members.len() * 2 >= self.members {
            return Err("it would take a majority of a live cluster".to_owned());
        }
        let found = members.iter().map(|member| match self.pids.get(member) {
            Some(pid) => Ok((member.clone(), *pid)),
            None => Err(format!("nobody said which process {member} is: --pid {member}=NUMBER")),
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(fault: &Fault) -> String {
        let pids = BTreeMap::from([("n1".to_owned(), 1)]);
        LiveNemesis::new(pids, 3).refuse(fault).unwrap_err()
    }

    fn pause(members: &[&str]) -> Fault {
        Fault::Pause { members: members.iter().map(|member| (*member).to_owned()).collect() }
    }

    #[test]
    fn only_what_heals_by_itself_and_leaves_a_majority_is_done() {
        assert_eq!(
            refusal(&Fault::Kill { members: vec!["n1".to_owned()] }),
            "a kill does not heal by itself"
        );
        assert_eq!(refusal(&Fault::Compact), "a compact does not heal by itself");
        assert_eq!(refusal(&pause(&["n1", "n2"])), "it would take a majority of a live cluster");
        assert!(refusal(&pause(&["n2"])).contains("--pid n2=NUMBER"));
    }

    #[tokio::test]
    async fn what_is_refused_is_told_as_skipped() {
        let mut nemesis = LiveNemesis::new(BTreeMap::new(), 3);
        let mut steps = Vec::new();
        let stop = CancellationToken::new();
        nemesis.strike(&Fault::Compact, Duration::from_secs(60), &stop, |step| steps.push(step.step)).await;
        assert!(matches!(steps[..], [Step::Skipped { .. }]), "{steps:?}");
    }
}
