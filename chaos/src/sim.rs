//! A whole cluster of the store in one thread, from one seed: the same code as in production, over a simulated network,
//! on simulated disks, in simulated time.
//!
//! First anything goes wrong anywhere; then a majority is well and must make progress, while what is outside of it stays
//! unwell; then all is healed, all members must come to the same state, and what they have is read and told. The same
//! seed gives the same run, down to the last packet: [`Report::trace`] is equal.

mod client;
mod cluster;
mod disk;
mod faults;
mod network;
mod plan;
mod record;
mod trace;
mod verdict;
mod world;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::check;
use crate::history::{Begin, Event, History, Line};
use crate::verdict::{Finding, Verdict};
use cluster::Cluster;
use faults::Faults;
pub use plan::{Kind, Plan};
pub use record::Counts;
use trace::Trace;
use verdict::Seen;
use world::{Phase, World};

/// A majority that was just left alone has to find a leader before it counts.
const SETTLE: Duration = Duration::from_secs(3);
/// How long members may take to come to the same state once all is healed.
const CONVERGE_MAX: Duration = Duration::from_secs(20);
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long all members must stay equal while nobody writes.
const EQUAL_FOR: Duration = Duration::from_millis(300);

/// What came of a run.
pub struct Report {
    pub plan: Arc<Plan>,
    pub lines: Vec<Line>,
    pub findings: Vec<Finding>,
    pub counts: Counts,
    pub simulated: Duration,
    /// The fingerprint of all that happened.
    pub trace: u64,
}

impl Report {
    /// A run of seconds does not exercise everything that the checkers know of: of what they say, only a violation
    /// counts, once they could judge anything at all.
    pub fn verdict(&self) -> Verdict {
        let own = |finding: &&Finding| finding.property.starts_with(verdict::OWN);
        let mut verdicts = self.findings.iter().filter(own).map(Finding::verdict);
        let seen = verdicts.clone().max().unwrap_or(Verdict::HarnessError);
        if verdicts.any(|verdict| verdict == Verdict::Fail) {
            return Verdict::Fail;
        }
        let told = self.findings.iter().filter(|finding| !own(finding)).map(Finding::verdict);
        match told.clone().any(|verdict| verdict == Verdict::Fail) {
            true => Verdict::Fail,
            false if told.clone().any(|verdict| verdict == Verdict::Pass) => seen,
            false => Verdict::Inconclusive.max(seen),
        }
    }
}

impl Report {
    /// Writes the history.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for line in &self.lines {
            serde_json::to_writer(&mut out, line)?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }
}

/// Since the simulation that runs in this thread began.
pub fn elapsed() -> Option<Duration> {
    turmoil::sim_elapsed()
}

/// Runs a plan. With `trace`, writes all that happens there, line by line.
///
/// # Errors
/// When the trace cannot be written.
pub fn run(plan: Plan, trace: Option<&Path>) -> anyhow::Result<Report> {
    let mut out = Trace::new();
    if let Some(path) = trace {
        out.write_to(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let plan = Arc::new(plan);
    let world = World::new(plan.seed, out);
    let mut seen = Seen::default();
    let ran = {
        let (plan, world, seen) = (plan.clone(), world.clone(), &mut seen);
        std::panic::catch_unwind(AssertUnwindSafe(move || Run::new(plan, world, seen).run()))
    };
    if ran.is_err() {
        seen.panicked = true;
    }
    seen.contradictions = world.record.contradictions();
    let lines = world.record.lines();
    for line in &lines {
        world.trace(format_args!("history"), &serde_json::to_vec(line)?);
    }
    let mut findings = verdict::judge(&plan, &lines, &seen);
    findings.extend(check_history(lines.clone()));
    Ok(Report {
        plan,
        lines,
        findings,
        counts: world.record.counts(),
        simulated: world.elapsed(),
        trace: world.trace_hash(),
    })
}

/// What all checkers say. A history that does not fit is our own fault.
fn check_history(lines: Vec<Line>) -> Vec<Finding> {
    match History::new(lines) {
        Ok(history) => check::all(&history),
        Err(error) => vec![Finding {
            property: "history".to_owned(),
            checked: 0,
            violations: Vec::new(),
            inconclusive: Some(error.to_string()),
        }],
    }
}

struct Run<'a> {
    plan: Arc<Plan>,
    world: Arc<World>,
    cluster: Cluster,
    faults: Faults,
    seen: &'a mut Seen,
}

impl<'a> Run<'a> {
    fn new(plan: Arc<Plan>, world: Arc<World>, seen: &'a mut Seen) -> Self {
        let cluster = Cluster::new(&plan, &world);
        let faults = Faults::new(&plan, &world);
        Self { plan, world, cluster, faults, seen }
    }

    fn run(mut self) {
        self.begin();
        self.phase("safety");
        self.go_on(self.plan.safety, |run| run.faults.step(&mut run.cluster));
        self.phase("liveness");
        let core = self.faults.leave_a_core(&mut self.cluster);
        self.seen.core = core.iter().map(|index| self.cluster.members[*index].name.clone()).collect();
        self.go_on(SETTLE, |_| {});
        self.seen.core_from_line = self.world.record.line_count();
        self.go_on(self.plan.liveness, |_| {});
        self.phase("healing");
        self.faults.heal(&mut self.cluster);
        self.world.phase.send_replace(Phase::Rest);
        self.seen.has_converged = self.converge();
        self.phase("final");
        self.world.phase.send_replace(Phase::Read);
        self.until(ANSWER_MAX, |run| {
            run.cluster.members.iter().all(|member| member.reads_answered().is_some())
        });
        let answered = self.cluster.members.iter().map(|member| member.reads_answered().unwrap_or(0));
        self.seen.reads_answered = answered.collect();
        self.world.phase.send_replace(Phase::Tell);
        self.seen.have_told =
            self.until(ANSWER_MAX, |run| run.cluster.members.iter().all(|member| member.has_told()));
    }

    fn begin(&self) {
        let members = self.cluster.members.iter().map(|member| member.name.clone()).collect();
        self.world.record.tell(Event::Begin(Begin {
            scenario: "simulation".to_owned(),
            seed: self.plan.seed,
            system: "sim".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            members,
            revision: 1,
            has_request_ids: true,
            command: format!("make sim SEED={}", self.plan.seed),
        }));
        self.world.record.tell(Event::Note { text: self.plan.to_string() });
    }

    fn phase(&self, name: &str) {
        self.world.record.tell(Event::Phase { name: name.to_owned() });
    }

    fn tick(&mut self) {
        for (index, why) in self.cluster.step() {
            self.seen.ends.push(format!("{}: {why}", self.cluster.members[index].name));
            self.faults.ended(&self.cluster, index, &why);
        }
    }

    fn go_on(&mut self, time: Duration, mut each: impl FnMut(&mut Self)) {
        let until = self.world.elapsed() + time;
        while self.world.elapsed() < until {
            self.tick();
            each(self);
        }
    }

    /// Whether it came to hold in time.
    fn until(&mut self, most: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let until = self.world.elapsed() + most;
        while !holds(self) {
            if self.world.elapsed() >= until {
                return false;
            }
            self.tick();
            // A node that ended by itself meanwhile is started again, as anywhere.
            self.faults.restart_the_ended(&mut self.cluster);
        }
        true
    }

    /// All members have the same newest revision with the same hash, and stay so.
    fn converge(&mut self) -> bool {
        let until = self.world.elapsed() + CONVERGE_MAX;
        let mut equal_since = None;
        while self.world.elapsed() < until {
            self.tick();
            self.faults.restart_the_ended(&mut self.cluster);
            let states: Vec<_> = self.cluster.members.iter().map(|member| member.state()).collect();
            let equal = states.iter().all(|state| state.is_some() && *state == states[0]);
            let is_led = self.cluster.leader().is_some();
            equal_since =
                if equal && is_led { equal_since.or(Some((states[0], self.world.elapsed()))) } else { None };
            if let Some((state, since)) = equal_since {
                if state != states[0] {
                    equal_since = None;
                } else if self.world.elapsed() >= since + EQUAL_FOR {
                    return true;
                }
            }
        }
        self.seen.states = self.cluster.members.iter().map(|member| member.describe()).collect();
        false
    }
}

#[cfg(test)]
mod tests;
