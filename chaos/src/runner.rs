//! One run of a scenario against servers on this machine: from an empty cluster to a verdict, in phases.
//!
//! 1. `warm-up`: clients begin; nothing is broken.
//! 2. `safety`: faults come and go as planned.
//! 3. `liveness`: all is mended but a minority, which stays broken; the rest must go on.
//! 4. `heal`: everything is mended, the clients go on for a while.
//! 5. `converge`: the clients are done; every member must have everything.
//! 6. `resolve`: what is of unknown outcome is asked again under its request id.
//! 7. `final`: everything is read from every member, and each tells its log and its hash.

mod collector;
mod drill;
mod finish;
mod live;
mod observer;
mod strikes;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base::{Clock, Entropy, Tasks};
use tokio_util::sync::CancellationToken;

use crate::check;
use crate::client::{ApiTarget, Client, Recorder, Target};
use crate::cluster::{Cluster, ClusterOptions, System};
use crate::history::{Answer, Begin, Event, History, Op, Outcome, Writer};
use crate::report::{Judged, Summary};
use crate::scenario::{Plan, Scenario, Terms, Work};
use crate::verdict::Verdict;
use crate::workloads::{self, Arena, PREFIX, Workload};
use collector::{Collector, Teller};
pub use live::run_live;
use observer::Observer;
use strikes::Strikes;

/// The revision of a store into which nothing was ever written. What the servers themselves write comes after it.
const EMPTY: u64 = 1;
/// Where the objects are, of a cluster that is all ours.
const NAMESPACE: &str = "default";
/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the rest must do without its minority.
const LIVENESS: Duration = Duration::from_secs(6);
/// How long the clients go on when everything is mended.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// How long workers may take to finish what they are at.
const FINISH_TIME_MAX: Duration = Duration::from_secs(20);
/// How often the preparations are tried: the first election may be under way.
const PREPARE_TRIES: usize = 5;

/// What a run needs of the machine.
pub struct Machine<'a> {
    pub clock: &'a dyn Clock,
    pub entropy: &'a dyn Entropy,
    /// The server's program.
    pub binary: PathBuf,
    pub system: System,
    /// Further flags of every Navarch server, after the scenario's.
    pub flags: Vec<String>,
    /// Where the folders of runs are.
    pub runs: PathBuf,
    /// What repeats the run.
    pub command: String,
    /// Is told once a second how it goes.
    pub watch: Arc<dyn Fn(&str) + Send + Sync>,
}

/// A run that was judged.
#[derive(Debug)]
pub struct Judgement {
    pub folder: PathBuf,
    pub summary: Summary,
}

/// Does what the plan says, and judges it. The calling thread must be in the harness's own namespaces.
///
/// # Errors
/// When there is not even a history to judge.
pub async fn run(scenario: &Scenario, plan: &Plan, machine: &Machine<'_>) -> Result<Judgement> {
    let folder = folder(plan, machine)?;
    let trouble = perform(scenario, plan, machine, &folder).await.err().map(|error| format!("{error:#}"));
    let summary = judge(&folder, trouble.as_deref())?;
    if summary.verdict == Verdict::Pass {
        finish::forget_disks(&folder.join("servers"));
    }
    Ok(Judgement { folder, summary })
}

/// A folder for the run, which is made.
fn folder(plan: &Plan, machine: &Machine<'_>) -> Result<PathBuf> {
    let moment = machine.clock.now().strftime("%Y%m%d-%H%M%S");
    let folder = machine.runs.join(format!("{moment}-{}-{}", plan.scenario, plan.seed));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Judges the history of a run's folder, and writes `result.json` and the reports there.
///
/// # Errors
/// When it has no history, or that is damaged.
pub fn judge(folder: &Path, trouble: Option<&str>) -> Result<Summary> {
    let path = folder.join("history.jsonl");
    let history = match (History::read(&path), trouble) {
        (Ok(history), _) => history,
        (Err(_), Some(trouble)) => anyhow::bail!("{trouble}"),
        (Err(error), None) => return Err(error).with_context(|| format!("cannot judge {}", path.display())),
    };
    let mut findings = check::all(&history);
    let mut coverage = Vec::new();
    if let Some(scenario) = Scenario::named(&history.begin().scenario) {
        (findings, coverage) = match Terms::of(history.begin()) {
            None => (scenario.claimed(findings), scenario.coverage(&history)),
            Some(terms) => (scenario.live_claimed(terms, findings), scenario.live_coverage(terms, &history)),
        };
    }
    let judged = Judged { history: &history, findings: &findings, coverage: &coverage, trouble };
    crate::report::write(&judged, folder).context("cannot write the report")
}

/// Everything but the judgement.
async fn perform(scenario: &Scenario, plan: &Plan, machine: &Machine<'_>, folder: &Path) -> Result<()> {
    let options = ClusterOptions {
        system: machine.system,
        servers: scenario.servers,
        disk: scenario.disk,
        hold_syncs: scenario.holds_syncs(),
        gate_logs: scenario.gates_logs(),
        own_memory: scenario.limits_memory(),
        fake_clocks: scenario.shifts_clocks(),
        seed: plan.seed,
        hollow_nodes: scenario.hollow_nodes,
        flags: match machine.system {
            System::Navarch => {
                scenario.flags.iter().map(|flag| (*flag).to_owned()).chain(machine.flags.clone()).collect()
            }
            System::Etcd => Vec::new(),
        },
        ..ClusterOptions::new(machine.binary.clone(), folder.join("servers"))
    };
    let mut cluster = Cluster::start(options).await.context("the cluster does not start")?;
    let stage = Stage::set(scenario, plan, machine, folder, &cluster).await?;
    let ended = stage.play(&mut cluster, plan).await;
    let written = stage.close(Some(&cluster)).await;
    ended.and(written)
}

/// A running cluster with everything around it that watches, works and records.
struct Stage {
    scenario: Scenario,
    /// What of the scenario's work is done.
    tasks: Vec<Work>,
    folder: PathBuf,
    arena: Arena,
    observer: Observer,
    collectors: Vec<Collector>,
    /// Of the workers.
    work: Tasks,
    /// Of those that only look, and are told revisions.
    looks: Tasks,
    /// Of those that keep the members' logs.
    hears: Tasks,
    /// Of the history's writer.
    records: Tasks,
}

/// What a stage is set around.
struct Setting {
    begin: Begin,
    tasks: Vec<Work>,
    targets: Vec<Target>,
    apis: Vec<ApiTarget>,
    namespace: String,
    /// The revision from which on the members' logs are kept.
    heard_from: u64,
}

impl Stage {
    async fn set(
        scenario: &Scenario,
        plan: &Plan,
        machine: &Machine<'_>,
        folder: &Path,
        cluster: &Cluster,
    ) -> Result<Self> {
        let targets = targets(cluster)?;
        let (version, _) = finish::first_look(&targets[0]).await?;
        let has_request_ids = machine.system == System::Navarch;
        let begin = begin(plan, machine, &targets, version, has_request_ids);
        let (tasks, apis) = (scenario.work.to_vec(), apis(machine.system, cluster)?);
        Self::around(
            scenario,
            machine,
            folder,
            Setting { begin, tasks, targets, apis, namespace: NAMESPACE.to_owned(), heard_from: EMPTY + 1 },
        )
    }

    fn around(scenario: &Scenario, machine: &Machine<'_>, folder: &Path, setting: Setting) -> Result<Self> {
        let Setting { begin, tasks, targets, apis, namespace, heard_from } = setting;
        let namespace: Arc<str> = namespace.into();
        let tellers: Vec<Teller> = if targets.is_empty() {
            apis.iter().map(|api| Teller::Api(api.clone(), Arc::clone(&namespace))).collect()
        } else {
            targets.iter().cloned().map(Teller::Member).collect()
        };
        let [work, looks, hears, records] = [(); 4].map(|()| Tasks::new(CancellationToken::new()));
        let history =
            Writer::create(&folder.join("history.jsonl"), &records).context("cannot begin a history")?;
        let (ids, seed) = (begin.has_request_ids.then(|| machine.entropy.uid()), begin.seed);
        history.record(0, Event::Begin(begin));
        let recorder = Recorder::new(history, ids);
        let arena = Arena {
            recorder: recorder.clone(),
            targets: targets.into(),
            apis: apis.into(),
            namespace,
            seed,
            deadline: DEADLINE,
            stop: work.stop().clone(),
        };
        let observer = Observer::start(&arena, machine.watch.clone(), &looks);
        let keep = |teller| Collector::start(&recorder, teller, heard_from, &hears);
        let collectors = tellers.into_iter().map(keep).collect();
        let (scenario, folder) = (*scenario, folder.to_owned());
        Ok(Self { scenario, tasks, folder, arena, observer, collectors, work, looks, hears, records })
    }

    fn phase(&self, name: &str) {
        self.arena.recorder.history.record(0, Event::Phase { name: name.to_owned() });
        self.observer.phase(name);
    }

    async fn play(&self, cluster: &mut Cluster, plan: &Plan) -> Result<()> {
        self.begin_work().await?;
        let mut strikes = Strikes::new(&self.arena.recorder, &self.observer);
        self.phase("safety");
        strikes.perform(cluster, plan).await;
        if !self.scenario.plagues.is_empty() {
            self.phase("liveness");
            strikes.leave_a_core(cluster, &self.scenario, plan.seed).await;
            tokio::time::sleep(LIVENESS).await;
        }
        self.phase("heal");
        strikes.heal_all(cluster).await;
        finish::keep_schedule(&self.folder, plan, strikes.schedule())?;
        self.end_work().await?;
        finish::finish(self).await?;
        drill::perform(self, cluster, plan.seed).await
    }

    async fn begin_work(&self) -> Result<()> {
        self.phase("warm-up");
        self.prepare().await?;
        for work in &self.tasks {
            let workload = Workload::named(work.workload).context("there is no such workload")?;
            (workload.start)(&self.arena, work.share(), &self.work);
        }
        tokio::time::sleep(WARM_UP).await;
        Ok(())
    }

    /// When all is mended, the clients go on for a while.
    async fn end_work(&self) -> Result<()> {
        tokio::time::sleep(AFTERWARDS).await;
        self.work.stop().cancel();
        self.work.clone().join(FINISH_TIME_MAX).await.context("a worker failed")
    }

    /// From here on nobody is told of revisions that no log will be heard to have: the system goes on writing.
    async fn end_looks(&self) -> Result<()> {
        self.looks.stop().cancel();
        self.looks.clone().join(FINISH_TIME_MAX).await.context("an observer failed")
    }

    /// An empty store, and what the workloads need there.
    async fn prepare(&self) -> Result<()> {
        let Some(target) = self.arena.targets.first().cloned() else {
            // A namespace is empty when it is made, and work for it prepares nothing.
            return Ok(());
        };
        let mut client = Client::new(self.arena.recorder.clone(), target.clone(), "prepare", DEADLINE);
        let found = client.call(Op::Range(workloads::prefix(PREFIX))).await;
        match &found {
            Outcome::Ok { answer: Answer::Range { count: 0, .. }, .. } => {}
            other => anyhow::bail!("the store is not empty, or does not answer: {other:?}"),
        }
        for work in &self.tasks {
            let workload = Workload::named(work.workload).context("there is no such workload")?;
            let mut client =
                Client::new(self.arena.recorder.clone(), target.clone(), workload.name, DEADLINE);
            for op in (workload.prepare)() {
                let mut is_done = false;
                for _ in 0..PREPARE_TRIES {
                    is_done = is_done || client.ask(op.clone()).await.is_some();
                }
                ensure!(is_done, "cannot prepare {}", workload.name);
            }
        }
        Ok(())
    }

    /// Ends what still runs, and the history. Says what the servers' logs say, where they are ours.
    async fn close(self, cluster: Option<&Cluster>) -> Result<()> {
        let recorder = self.arena.recorder.clone();
        self.work.stop().cancel();
        self.end_looks().await?;
        self.hears.stop().cancel();
        self.hears.join(FINISH_TIME_MAX).await.context("a log was not kept")?;
        cluster.map_or(Ok(()), |cluster| finish::read_server_logs(&recorder, cluster))?;
        recorder.history.sync().await.context("the history was not written")?;
        self.records.stop().cancel();
        self.records.join(FINISH_TIME_MAX).await.context("the history was not written")?;
        Ok(())
    }
}

fn begin(
    plan: &Plan,
    machine: &Machine<'_>,
    targets: &[Target],
    version: String,
    has_request_ids: bool,
) -> Begin {
    Begin {
        scenario: plan.scenario.clone(),
        seed: plan.seed,
        system: match machine.system {
            System::Navarch => "navarch".to_owned(),
            System::Etcd => "etcd".to_owned(),
        },
        version,
        members: targets.iter().map(|target| target.member.clone()).collect(),
        revision: EMPTY,
        has_request_ids,
        command: machine.command.clone(),
    }
}

/// Every member of the cluster.
fn targets(cluster: &Cluster) -> Result<Vec<Target>> {
    cluster.members().iter().map(|name| Ok(Target::at(name, cluster.endpoint(name)?.address()?))).collect()
}

/// Every member's API server.
fn apis(system: System, cluster: &Cluster) -> Result<Vec<ApiTarget>> {
    match system {
        System::Navarch => cluster.members().iter().map(|name| cluster.api(name)).collect(),
        System::Etcd => Ok(Vec::new()),
    }
}
