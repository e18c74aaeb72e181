//! Asks every member again and again how it is, knows who leads, and tells once a second how the run goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Tasks;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Counts};
use crate::history::{Answer, Fault, Header, Op, Step};
use crate::workloads::Arena;

const ASK_EVERY: Duration = Duration::from_millis(250);
const ASK_TIME_MAX: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is known of the cluster right now; clones share it.
#[derive(Clone)]
pub(super) struct Observer {
    view: Arc<Mutex<View>>,
    /// Whether there is anybody to be asked.
    asks: bool,
}

#[derive(Default)]
struct View {
    phase: String,
    /// By member: the latest term in which it said that it leads.
    led: BTreeMap<String, u64>,
    faults: BTreeMap<u64, String>,
}

impl Observer {
    pub(super) fn start(arena: &Arena, tell: Arc<dyn Fn(&str) + Send + Sync>, tasks: &Tasks) -> Self {
        let observer = Self { view: Arc::default(), asks: !arena.targets.is_empty() };
        for target in arena.targets.iter() {
            let client = Client::new(arena.recorder.clone(), target.clone(), "observer", ASK_TIME_MAX);
            let (asking, stop) = (observer.clone(), tasks.stop().clone());
            tasks.spawn_infallible(format!("observer of {}", target.member), async move {
                asking.ask(client, &stop).await;
            });
        }
        let (telling, recorder, stop) = (observer.clone(), arena.recorder.clone(), tasks.stop().clone());
        tasks.spawn_infallible("status line", async move {
            let began = Instant::now();
            let mut before = recorder.counts();
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(TELL_EVERY) => {}
                }
                let now = recorder.counts();
                tell(&telling.line(began.elapsed(), before, now));
                before = now;
            }
        });
        observer
    }

    /// Who led last, as far as anybody said.
    pub(super) fn leader(&self) -> Option<String> {
        self.latest().map(|(member, _)| member)
    }

    fn latest(&self) -> Option<(String, u64)> {
        let view = self.view();
        view.led.iter().max_by_key(|(_, term)| **term).map(|(member, term)| (member.clone(), *term))
    }

    pub(super) fn phase(&self, name: &str) {
        self.view().phase = name.to_owned();
    }

    /// What is not known to be broken is not shown as such.
    pub(super) fn fault(&self, told: &Fault) {
        match told.step {
            Step::Installed { .. } => {
                let what = format!("{} {}", told.kind, told.target.join(" "));
                self.view().faults.insert(told.fault, what);
            }
            Step::Healed { .. } => {
                self.view().faults.remove(&told.fault);
            }
            Step::Skipped { .. } | Step::Indeterminate { .. } => {}
        }
    }

    async fn ask(&self, mut client: Client, stop: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
            if let Some((header, answer)) = client.ask(Op::Status).await {
                self.learn(client.member(), header, &answer);
            }
        }
    }

    fn learn(&self, member: &str, header: Header, answer: &Answer) {
        if let Answer::Status { leader, .. } = answer
            && *leader == header.member
            && header.member != 0
        {
            self.view().led.insert(member.to_owned(), header.term);
        }
    }

    /// `t+37s safety | leader n2 term 9 | 412 ok/s 3 unknown | kill n2`
    fn line(&self, elapsed: Duration, before: Counts, now: Counts) -> String {
        let leader = match self.latest() {
            Some((member, term)) => format!(" | leader {member} term {term}"),
            None if self.asks => " | no leader".to_owned(),
            None => String::new(),
        };
        let view = self.view();
        let faults: Vec<&str> = view.faults.values().map(String::as_str).collect();
        let faults = if faults.is_empty() { "no fault".to_owned() } else { faults.join(", ") };
        let (ok, unknown) = (now.ok - before.ok, now.unknown);
        let phase = &view.phase;
        format!("t+{}s {phase}{leader} | {ok} ok/s, {unknown} unknown | {faults}", elapsed.as_secs())
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_led_in_the_latest_term_leads() {
        let observer = Observer { view: Arc::default(), asks: true };
        assert_eq!(observer.leader(), None);
        let says = |member: &str, id, leader, term| {
            let header = Header { cluster: 1, member: id, revision: 5, term };
            observer.learn(member, header, &Answer::Status { leader, is_learner: false });
        };
        says("n1", 1, 1, 3);
        says("n2", 2, 2, 4);
        says("n3", 3, 2, 4);
        assert_eq!(observer.leader().as_deref(), Some("n2"));
        observer.phase("safety");
        let fault = |fault, step| {
            observer.fault(&Fault { fault, kind: "kill".to_owned(), target: vec!["n2".to_owned()], step });
        };
        fault(7, Step::Installed { evidence: String::new() });
        fault(8, Step::Indeterminate { reason: String::new() });
        let line = || {
            let (before, now) =
                (Counts { ok: 10, refused: 0, unknown: 1 }, Counts { ok: 50, refused: 9, unknown: 3 });
            observer.line(Duration::from_secs(12), before, now)
        };
        assert_eq!(line(), "t+12s safety | leader n2 term 4 | 40 ok/s, 3 unknown | kill n2");
        fault(7, Step::Healed { evidence: String::new() });
        assert_eq!(line(), "t+12s safety | leader n2 term 4 | 40 ok/s, 3 unknown | no fault");
    }
}
