//! Brings the planned faults about and mends them, and keeps what was really done, for a replay.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::observer::Observer;
use crate::check::course;
use crate::client::Recorder;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::faults::{Fault, Nemesis};
use crate::history::{self, Event};
use crate::scenario::{Aim, Blow, Plan, Scenario, Strike, Stroke};

/// How often who cannot be mended is tried again.
const HEAL_TRIES: usize = 3;

pub(super) struct Strikes<'a> {
    recorder: &'a Recorder,
    observer: &'a Observer,
    nemesis: Nemesis,
    done: Vec<Strike>,
}

impl<'a> Strikes<'a> {
    pub(super) fn new(recorder: &'a Recorder, observer: &'a Observer) -> Self {
        Self { recorder, observer, nemesis: Nemesis::default(), done: Vec::new() }
    }

    /// All of the plan, to the end of its time. What lasts longer than planned because mending takes time delays what
    /// follows: two plagues that take turns do not meet.
    pub(super) async fn perform(&mut self, cluster: &mut Cluster, plan: &Plan) {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        // Fault numbers by the moment at which they end.
        let mut lasting: BTreeSet<(Instant, u64)> = BTreeSet::new();
        for strike in &plan.strikes {
            self.heal_due(cluster, &mut lasting, at(strike.at_ms)).await;
            tokio::time::sleep_until(at(strike.at_ms)).await;
            for fault in self.faults(cluster, &strike.stroke) {
                let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let stroke = Stroke::Exact { fault: fault.clone() };
                self.done.push(Strike { at_ms, lasts_ms: strike.lasts_ms, stroke });
                let number = self.install(cluster, &fault).await;
                lasting.insert((Instant::now() + Duration::from_millis(strike.lasts_ms), number));
            }
        }
        self.heal_due(cluster, &mut lasting, at(plan.safety_ms)).await;
        tokio::time::sleep_until(at(plan.safety_ms)).await;
    }

    /// Mends everything but a minority, which is broken for good: whoever is left must go on.
    pub(super) async fn leave_a_core(&mut self, cluster: &mut Cluster, scenario: &Scenario, seed: u64) {
        self.heal_all(cluster).await;
        let members = cluster.members();
        let dice = Dice::of(seed, "core", 0);
        let outside = Aim::Minority.choose(&members, None, dice.u64());
        let core: Vec<String> = members.iter().filter(|member| !outside.contains(member)).cloned().collect();
        if outside.is_empty() {
            return;
        }
        let blows: Vec<Blow> =
            scenario.plagues.iter().map(|plague| plague.blow).filter(|blow| blow.stays()).collect();
        let blow = dice.pick(&blows).copied().unwrap_or(Blow::Kill(Aim::Minority));
        for fault in blow.on(&outside, &core, dice.u64()) {
            self.install(cluster, &fault).await;
        }
        self.recorder.history.record(0, course::core(&core));
    }

    pub(super) async fn heal_all(&mut self, cluster: &mut Cluster) {
        for _ in 0..HEAL_TRIES {
            for step in self.nemesis.heal_all(cluster).await {
                self.told(step);
            }
            self.saw(cluster);
        }
    }

    /// What was done, exactly.
    pub(super) fn schedule(&self) -> Vec<Strike> {
        self.done.clone()
    }

    /// Mends what ends before `until`, each at its time.
    async fn heal_due(
        &mut self,
        cluster: &mut Cluster,
        lasting: &mut BTreeSet<(Instant, u64)>,
        until: Instant,
    ) {
        while let Some((ends, number)) = lasting.first().copied().filter(|(ends, _)| *ends <= until) {
            lasting.pop_first();
            tokio::time::sleep_until(ends).await;
            if let Some(step) = self.nemesis.heal(cluster, number).await {
                self.told(step);
            }
        }
    }

    async fn install(&mut self, cluster: &mut Cluster, fault: &Fault) -> u64 {
        let step = self.nemesis.install(cluster, fault).await;
        let number = step.fault;
        self.told(step);
        self.saw(cluster);
        number
    }

    fn saw(&self, cluster: &mut Cluster) {
        for sight in cluster.take_sights() {
            self.recorder.history.record(0, Event::Sight(sight));
        }
    }

    fn told(&self, step: history::Fault) {
        self.observer.fault(&step);
        self.recorder.history.record(0, Event::Fault(step));
    }

    fn faults(&self, cluster: &Cluster, stroke: &Stroke) -> Vec<Fault> {
        match stroke {
            Stroke::Exact { fault } => vec![fault.clone()],
            Stroke::Aimed { blow, throw } => {
                blow.faults(&cluster.members(), self.observer.leader().as_deref(), *throw)
            }
        }
    }
}
