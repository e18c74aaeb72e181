//! The nodes of a simulation: real ones, each on a disk and a clock of its own, that die and come back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{SeededEntropy, Tasks};
use store::{
    Cluster as Founders, Disk, Entrance, Health, History, InitialMember, MemoryDisk, NodeConfig, Role,
    Status, Store,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use super::client::{self, Seat};
use super::control::{self, Site};
use super::disk::{self, Death, Mood, Whims};
use super::membership;
use super::network::{Network, Outbound};
use super::plan::Plan;
use super::world::{Phase, WallClock, World, lock};
use crate::dice::Dice;
use crate::history::{Change, Event};

/// The step of the simulated time.
pub(super) const TICK: Duration = Duration::from_millis(1);
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How soon an operator hears of damage.
const OPERATOR_WAITS: Duration = Duration::from_millis(800);

/// All nodes, and the hosts that they live on.
pub(super) struct Cluster {
    sim: Sim<'static>,
    world: Arc<World>,
    /// First the founders, then the spares.
    pub(super) members: Vec<Arc<Member>>,
    founders: usize,
    dice: Dice,
}

/// One node, over all of its lives.
pub(super) struct Member {
    pub(super) name: String,
    number: u64,
    disk: Mutex<MemoryDisk>,
    pub(super) whims: Arc<Whims>,
    pub(super) clock: Arc<WallClock>,
    world: Arc<World>,
    plan: Arc<Plan>,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    number: u64,
    /// None while it starts, or is dead.
    running: Option<Running>,
    /// Why it has ended by itself.
    ended: Option<String>,
    reads_answered: Option<usize>,
    has_told: bool,
}

struct Running {
    store: Store,
    status: watch::Receiver<Status>,
}

impl Cluster {
    /// All nodes, about to start.
    pub(super) fn new(plan: &Arc<Plan>, world: &Arc<World>) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(plan.seed)
            .epoch(std::time::UNIX_EPOCH)
            .tick_duration(TICK)
            .simulation_duration(Duration::MAX)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(plan.latency_max)
            .udp_capacity(1 << 16)
            .enable_random_order()
            .build();
        let mood = if plan.disks_lie { Mood::Lying } else { Mood::Healthy };
        let founders = (1..=plan.nodes).map(|number| format!("n{number}"));
        let members: Vec<Arc<Member>> = (1..)
            .zip(founders.chain(plan.spares()))
            .map(|(number, name)| {
                let whims = Arc::new(Whims::new(Dice::of(plan.seed, "disk", number), mood));
                Arc::new(Member {
                    name,
                    number,
                    disk: Mutex::new(MemoryDisk::simulated(whims.clone(), plan.segment_bytes)),
                    whims,
                    clock: Arc::new(WallClock::new(world.clone())),
                    world: world.clone(),
                    plan: plan.clone(),
                    life: Mutex::default(),
                })
            })
            .collect();
        for member in &members {
            let member = member.clone();
            sim.host(member.name.clone(), move || member.clone().live());
        }
        let founders = members.len() - plan.spares().len();
        Self { sim, world: world.clone(), members, founders, dice: Dice::of(plan.seed, "deaths", 0) }
    }

    /// Moves time on by a tick. What ended by itself is dead afterwards, and why is returned.
    ///
    /// # Panics
    /// When a task of a node does.
    pub(super) fn step(&mut self) -> Vec<(usize, String)> {
        self.sim.step().expect("no host fails by itself");
        self.world.set_elapsed(self.sim.elapsed());
        let mut ended = Vec::new();
        for index in 0..self.members.len() {
            let why = lock(&self.members[index].life).ended.take();
            if let Some(why) = why {
                self.kill(index, Death::Killed);
                ended.push((index, why));
            }
        }
        ended
    }

    /// Those that have clients, and that are members at the beginning and at the end.
    pub(super) fn founders(&self) -> &[Arc<Member>] {
        &self.members[..self.founders]
    }

    /// Returns what the death has cost.
    pub(super) fn kill(&mut self, index: usize, death: Death) -> String {
        let member = self.members[index].clone();
        let number = lock(&member.life).number;
        *lock(&member.life) = Life { number, ..Life::default() };
        self.sim.crash(member.name.clone());
        self.world.record.crashed(&member.name);
        let cost = disk::bury(&member.disk(), death, &self.dice);
        self.world.trace(format_args!("{} dies, {death:?}: {cost}", member.name), &[]);
        cost
    }

    pub(super) fn start(&mut self, index: usize) {
        self.world.trace(format_args!("{} starts", self.members[index].name), &[]);
        self.sim.bounce(self.members[index].name.clone());
    }

    /// Whether anything of the node runs, be it only its start.
    pub(super) fn is_up(&mut self, index: usize) -> bool {
        let name = self.members[index].name.clone();
        let membership = &self.world.membership;
        let waits = membership.is_spare(&name) && !membership.is_invited(&name);
        !waits && self.sim.is_host_running(name)
    }

    /// Which founders run and have started.
    pub(super) fn up(&self) -> Vec<bool> {
        self.founders().iter().map(|member| lock(&member.life).running.is_some()).collect()
    }

    /// Whoever leads in the newest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let led = self.members.iter().enumerate().filter_map(|(index, member)| {
            let status = member.status()?;
            (status.role == Role::Leader).then_some((status.term, index))
        });
        led.max().map(|(_, index)| index)
    }

    /// Whether a majority of the founders, and whoever else of them runs, knows this one as a voter in its present
    /// incarnation, and in no other.
    pub(super) fn has_its_place(&self, index: usize) -> bool {
        let one = &self.members[index];
        let Some(status) = one.status().filter(|status| status.health == Health::Sound) else { return false };
        let knows_it = |other: Status| {
            let mut of_name = other.members.iter().filter(|member| member.name == one.name);
            let is_voter =
                of_name.next().is_some_and(|member| member.id == status.node_id && !member.is_learner);
            is_voter && of_name.next().is_none()
        };
        let known: Vec<bool> =
            self.founders().iter().filter_map(|founder| founder.status()).map(knows_it).collect();
        known.len() > self.founders / 2 && known.into_iter().all(|knows| knows)
    }

    pub(super) fn cut(&self, from: usize, to: usize) {
        self.sim.partition_oneway(self.members[from].name.as_str(), self.members[to].name.as_str());
    }

    pub(super) fn mend(&self, from: usize, to: usize) {
        self.sim.repair_oneway(self.members[from].name.as_str(), self.members[to].name.as_str());
    }

    pub(super) fn delay(&self, one: usize, other: usize, most: Duration) {
        let (one, other) = (self.members[one].name.as_str(), self.members[other].name.as_str());
        self.sim.set_link_max_message_latency(one, other, most);
    }
}

impl Member {
    pub(super) fn disk(&self) -> MemoryDisk {
        lock(&self.disk).clone()
    }

    /// Puts an empty disk in the place of the one that it has. It must be dead.
    pub(super) fn change_disk(&self) {
        *lock(&self.disk) = MemoryDisk::simulated(self.whims.clone(), self.plan.segment_bytes);
    }

    /// Of a node that runs.
    pub(super) fn status(&self) -> Option<Status> {
        lock(&self.life).running.as_ref().map(|running| running.status.borrow().clone())
    }

    /// The newest revision and the hash of all up to it, of a node that runs and serves.
    pub(super) fn state(&self) -> Option<(i64, u32)> {
        let life = lock(&self.life);
        let running = life.running.as_ref()?;
        let is_sound = running.status.borrow().health == Health::Sound;
        let (revision, hash) = running.store.hash();
        is_sound.then_some((revision.get(), hash))
    }

    /// How it is, for people.
    pub(super) fn describe(&self) -> String {
        let life = lock(&self.life);
        let Some(running) = &life.running else { return format!("{} does not run", self.name) };
        let status = running.status.borrow();
        let (revision, hash) = running.store.hash();
        format!(
            "{} {:?} in term {}, follows {:?}, revision {revision}, hash {hash:08x}, {:?}",
            self.name, status.role, status.term, status.leader, status.health
        )
    }

    /// How many reads at the end were answered, once all were asked.
    pub(super) fn reads_answered(&self) -> Option<usize> {
        lock(&self.life).reads_answered
    }

    pub(super) fn has_told(&self) -> bool {
        lock(&self.life).has_told
    }

    /// A life: turmoil ends it by dropping everything that it consists of.
    async fn live(self: Arc<Self>) -> turmoil::Result {
        let number = {
            let mut life = lock(&self.life);
            life.number += 1;
            life.number
        };
        let why = match self.run(number).await {
            Ok(()) => "it has stopped".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        self.world.trace(format_args!("{} has ended: {why}", self.name), &[]);
        // The last handle closes the node's socket, which belongs to this host.
        let handle = lock(&self.life).running.take();
        drop(handle);
        lock(&self.life).ended = Some(why);
        // Whoever steps the simulation buries it.
        std::future::pending().await
    }

    async fn run(self: &Arc<Self>, life: u64) -> anyhow::Result<()> {
        let seed = Dice::of(self.plan.seed, &self.name, life).u64();
        let tasks = Tasks::new(CancellationToken::new());
        let (network, left) = Network::bind(self.world.clone(), self.name.clone(), life).await?;
        let peers = Arc::new(Outbound(network.clone()));
        let entropy = Arc::new(SeededEntropy::new(seed));
        if self.is_spare() {
            self.world.membership.invitation(&self.name).await;
        }
        let entrance = Entrance::open(self.config(), self.clock.clone(), entropy.clone())?;
        let door = (entrance.badge(), entrance.service());
        tasks.spawn_infallible("network", network.serve(left, door, tasks.stop().clone()));
        let node = entrance.enter(peers, &tasks).await?;
        let seat = Seat::new(self.world.clone(), self.name.clone(), node.store.clone());
        lock(&self.life).running = Some(Running { store: node.store, status: seat.status.clone() });
        tasks.spawn_infallible("operator", operate(seat.clone()));
        tasks.spawn_infallible("witness", witness(seat.clone()));
        if !self.is_spare() {
            client::start(&seat, self.plan.crowd, seed, &tasks);
            if self.plan.has_control_plane {
                let (clock, number) = (self.clock.clone(), self.number);
                let site = Site { seat: seat.clone(), clock, entropy, seed, number, life };
                control::start(&site, &tasks)?;
            }
            let dice = Dice::of(seed, "membership", 0);
            tasks.spawn_infallible("membership", membership::serve(seat.clone(), dice));
            tasks.spawn_infallible("end", self.clone().end(seat));
        }
        Ok(tasks.join(STOP_GRACE).await?)
    }

    /// What is asked of a node once the clients rest.
    async fn end(self: Arc<Self>, seat: Seat) {
        self.world.wait_for(Phase::Read).await;
        let answered = client::read_at_the_end(seat.clone()).await;
        lock(&self.life).reads_answered = Some(answered);
        self.world.wait_for(Phase::Tell).await;
        self.tell(&seat.store).await;
        lock(&self.life).has_told = true;
    }

    /// Writes what the node has into the history.
    async fn tell(&self, store: &Store) {
        client::hear_again(&self.world, &self.name, store).await;
        for (revision, changes) in self.world.record.log(&self.name) {
            self.tell_revision(revision, changes);
        }
        if let Ok(hash) = store.hash_key_space(None).await {
            let number = |revision: base::Revision| u64::try_from(revision.get()).unwrap_or(0);
            self.world.record.tell(Event::Hash {
                member: self.name.clone(),
                revision: number(hash.at),
                compacted: number(hash.compacted),
                hash: u64::from(hash.hash),
            });
        }
    }

    fn tell_revision(&self, revision: u64, changes: Vec<Change>) {
        let member = self.name.clone();
        self.world.record.tell(Event::Revision { member, revision, changes });
    }

    pub(super) fn is_spare(&self) -> bool {
        self.world.membership.is_spare(&self.name)
    }

    /// Whether it knows of no members but the founders.
    pub(super) fn knows_no_spare(&self) -> bool {
        let Some(status) = self.status() else { return false };
        status.members.iter().all(|member| !self.world.membership.is_spare(&member.name))
    }

    fn config(&self) -> NodeConfig {
        let member = |name: String| InitialMember {
            peer_url: format!("https://{name}"),
            name,
            client_urls: Vec::new(),
        };
        let founders: Vec<InitialMember> =
            (1..=self.plan.nodes).map(|number| member(format!("n{number}"))).collect();
        let token = "simulation".to_owned();
        let founding = NodeConfig::founding(
            self.name.clone(),
            std::path::PathBuf::new(),
            token.clone(),
            founders.clone(),
        );
        let cluster = if self.is_spare() {
            let through = founders.into_iter().map(|founder| founder.peer_url).collect();
            Founders::Join { token, through, me: member(self.name.clone()) }
        } else {
            founding.cluster
        };
        NodeConfig {
            disk: Disk::Memory(self.disk()),
            cluster,
            timings: self.plan.timings,
            watch_ring_bytes: self.plan.watch_ring_bytes,
            // Clocks jump by days; what is forgotten is what clients ask to forget.
            history: History::ALL,
            snapshot_every_entries: self.plan.snapshot_every_entries,
            ..founding
        }
    }
}

/// Sees whenever the node leads.
async fn witness(seat: Seat) {
    let mut status = seat.status.clone();
    loop {
        {
            let status = status.borrow_and_update();
            if status.role == Role::Leader {
                let vote = (status.term, status.node_id.get());
                lock(&seat.world.leaders).note(seat.world.elapsed(), vote, &seat.member);
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Does what a node leaves to its operator: has it rebuilt when it says that its data are damaged.
async fn operate(seat: Seat) {
    let mut status = seat.status.clone();
    loop {
        let is_damaged = |status: &Status| matches!(status.health, Health::Quarantined { .. });
        if status.wait_for(is_damaged).await.is_err() {
            return;
        }
        tokio::time::sleep(OPERATOR_WAITS).await;
        // It may be well by now: what an operator hears is old, and a member that is rebuilt serves nobody meanwhile.
        if !is_damaged(&status.borrow_and_update()) {
            continue;
        }
        let rebuilt = seat.store.rebuild().await;
        seat.world.trace(format_args!("{} is rebuilt: {rebuilt:?}", seat.member), &[]);
    }
}
