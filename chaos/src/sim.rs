//! A whole cluster of the store in one thread, from one seed: the same code as in production, over a simulated network,
//! on simulated disks, in simulated time.
//!
//! Every fifth seed or so has the control plane on top of it (`control`).
//!
//! First anything goes wrong anywhere; then members that were added meanwhile are removed, a majority is left well and
//! must make progress, while what is outside of it stays unwell; then all is healed, all members must come to the same
//! state, and what they have is read and told. The same seed gives the same run, down to the last packet:
//! [`Report::trace`] is equal.

mod client;
mod cluster;
mod control;
mod course;
mod disk;
mod faults;
mod membership;
mod network;
mod plan;
mod record;
mod trace;
pub mod traps;
mod verdict;
mod world;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::check::{self, kubernetes};
use crate::history::{Begin, Event, History, Line};
use crate::verdict::{Finding, Verdict};
use cluster::Cluster;
use course::Reach;
use disk::Death;
use faults::Faults;
use membership::What;
pub use plan::{Kind, Plan};
pub use record::Counts;
use trace::Trace;
use verdict::Seen;
use world::{Phase, World};

/// A majority that was just left alone has to find a leader before it counts.
const SETTLE: Duration = Duration::from_secs(2);
/// How long founders whose data were damaged may take to have a place again.
const PLACE_MAX: Duration = Duration::from_secs(20);
/// How long the founders may take to be among themselves again, and how often one of them is asked to see to it.
const REMOVE_MAX: Duration = Duration::from_secs(20);
const REMOVE_EVERY: Duration = Duration::from_millis(400);
const QUIET_FOR: Duration = Duration::from_millis(800);
/// How long members may take to come to the same state once all is healed.
const CONVERGE_MAX: Duration = Duration::from_secs(20);
/// How often it is seen who is within reach of a leader.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Who was for this share of the time without a pause must have finished a write.
const SERVED_SHARE: f64 = 0.7;
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long everything may take to be as users have asked for, and for how long it must stay so.
const SETTLE_MAX: Duration = Duration::from_secs(60);
const SETTLED_FOR: Duration = Duration::from_secs(1);
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
    let world = World::new(plan.seed, plan.spares(), out);
    let mut seen = Seen::default();
    let listens = plan.has_control_plane.then(|| world.clone());
    let ran = {
        let (plan, world, seen) = (plan.clone(), world.clone(), &mut seen);
        let run = move || Run::new(plan, world, seen).run();
        std::panic::catch_unwind(AssertUnwindSafe(|| match listens {
            Some(world) => control::listening(&world, run),
            None => run(),
        }))
    };
    if ran.is_err() {
        seen.panicked = true;
    }
    seen.contradictions = world.record.contradictions();
    seen.request_panics = world::lock(&world.panics).clone();
    (seen.leaders, seen.usurpers) = {
        let leaders = world::lock(&world.leaders);
        (leaders.count(), leaders.out_of_order(plan.votes_under_way_max()))
    };
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
        self.send_spares_away();
        self.phase("liveness");
        let core = self.faults.leave_a_core(&mut self.cluster);
        self.go_on(SETTLE, |run| run.faults.restart_the_ended(&mut run.cluster));
        self.live(&core);
        self.phase("healing");
        self.faults.heal(&mut self.cluster);
        if self.plan.has_control_plane {
            self.settle();
        }
        self.world.phase.send_replace(Phase::Rest);
        self.seen.has_converged = self.converge();
        self.phase("final");
        self.world.phase.send_replace(Phase::Read);
        self.until(ANSWER_MAX, |run| {
            run.cluster.founders().iter().all(|member| member.reads_answered().is_some())
        });
        let answered = self.cluster.founders().iter().map(|member| member.reads_answered().unwrap_or(0));
        self.seen.reads_answered = answered.collect();
        self.world.phase.send_replace(Phase::Tell);
        self.seen.have_told =
            self.until(ANSWER_MAX, |run| run.cluster.founders().iter().all(|member| member.has_told()));
    }

    /// All is healed, spares are gone for good, and each that has become a member is removed. Not before each founder has
    /// its place: a spare may be needed to give it one.
    fn send_spares_away(&mut self) {
        if self.plan.spares().is_empty() {
            return;
        }
        self.phase("removal");
        self.faults.heal(&mut self.cluster);
        let founders = 0..self.cluster.founders().len();
        self.seen.is_homeless =
            !self.until(PLACE_MAX, |run| founders.clone().all(|founder| run.cluster.has_its_place(founder)));
        for spare in self.cluster.founders().len()..self.cluster.members.len() {
            self.cluster.kill(spare, Death::Killed);
        }
        let world = self.world.clone();
        let mut ask_at = world.elapsed();
        let mut asked = 0;
        // What a spare has asked for before it went may still be given to it.
        let mut quiet_since = None;
        self.seen.is_crowded = !self.until(REMOVE_MAX, |run| {
            let (now, founders) = (world.elapsed(), run.cluster.founders());
            if now >= ask_at {
                ask_at = now + REMOVE_EVERY;
                asked += 1;
                world.membership.wish(&founders[asked % founders.len()].name, What::Clear);
            }
            let is_quiet = founders.iter().all(|founder| founder.knows_no_spare());
            quiet_since = quiet_since.or(Some(now)).filter(|_| is_quiet);
            quiet_since.is_some_and(|since| now >= since + QUIET_FOR)
        });
    }

    /// Users ask for nothing new, and what they have asked for must come to be, and stay.
    fn settle(&mut self) {
        self.phase(kubernetes::SETTLE);
        self.world.phase.send_replace(Phase::Settle);
        let world = self.world.clone();
        let mut since = None;
        let has_settled = self.until(SETTLE_MAX, |_| {
            let is_settled = world::lock(&world.lacking).as_ref().is_some_and(Vec::is_empty);
            since = is_settled.then(|| since.unwrap_or(world.elapsed()));
            since.is_some_and(|since| world.elapsed() >= since + SETTLED_FOR)
        });
        if !has_settled {
            let lacking = world::lock(&world.lacking).clone();
            self.seen.lacking = lacking.unwrap_or_else(|| vec!["it cannot be seen what there is".to_owned()]);
        }
    }

    /// Sees whether the core makes progress, and who of it must.
    fn live(&mut self, core: &[usize]) {
        self.seen.core_from_line = self.world.record.line_count();
        let mut reach = Reach::default();
        let mut next = self.world.elapsed();
        self.go_on(self.plan.liveness, |run| {
            run.faults.restart_the_ended(&mut run.cluster);
            if run.world.elapsed() >= next {
                next += LOOK_EVERY;
                reach.note(run.world.elapsed(), &run.served());
            }
        });
        let name = |member: &usize| self.cluster.members[*member].name.clone();
        self.seen.core = core.iter().map(name).collect();
        let served = reach.steadily(self.plan.liveness.mul_f64(SERVED_SHARE));
        self.seen.served = served.iter().filter(|member| core.contains(member)).map(name).collect();
    }

    /// Who is within reach of a leader that has a majority.
    fn served(&self) -> Vec<usize> {
        let founders = self.cluster.founders().len();
        let Some(leader) = self.cluster.leader().filter(|leader| *leader < founders) else {
            return Vec::new();
        };
        course::served(leader, &self.cluster.up(), |from, to| self.faults.is_whole(from, to))
    }

    fn begin(&self) {
        let members = self.cluster.founders().iter().map(|member| member.name.clone()).collect();
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
            self.faults.ended(&self.cluster, index, &why);
            self.seen.ends.push((self.cluster.members[index].name.clone(), why));
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
    fn until(&mut self, most: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
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
            let states: Vec<_> = self.cluster.founders().iter().map(|member| member.state()).collect();
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
