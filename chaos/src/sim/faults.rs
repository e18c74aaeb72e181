//! What goes wrong, when and for how long; never more than what the store promises to outlive.
//!
//! Power may go everywhere at once: what was acknowledged is on a majority's disks. But data are damaged on a minority
//! only, and a node with damaged data counts until it is whole again.

mod links;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use store::Health;

use super::cluster::Cluster;
use super::disk::{self, Death, Mood};
use super::membership::What;
use super::plan::{Kind, Plan};
use super::world::World;
use crate::dice::Dice;
use crate::history::{Fault, Step};
use links::Links;

/// A fault lasts so long at most.
const LASTS_MAX: Duration = Duration::from_millis(3000);
const LASTS_MIN: Duration = Duration::from_millis(20);
/// A delayed packet takes so long at most.
const DELAY_MAX: Duration = Duration::from_millis(400);
const LONG_DELAY_MAX: Duration = Duration::from_secs(4);
const LOSS_PERCENT_MAX: u64 = 40;
const SYNC_MAX: Duration = Duration::from_millis(500);
const CLOCK_WRONG_MAX_MS: u64 = 48 * 3600 * 1000;
const ROTTEN_ROWS_MAX: u64 = 4;
const ROTTEN_BITS_MAX: u64 = 3;
/// Below every reserve.
const LITTLE_ROOM: (u64, u64) = (1000, 1_000_000_000);

/// How a spare ends that is not needed any more.
pub(super) const REMOVED: &str = "was removed from the cluster";

/// Lets faults happen and end.
pub(super) struct Faults {
    plan: Arc<Plan>,
    world: Arc<World>,
    dice: Dice,
    links: Links,
    active: Vec<Active>,
    last_number: u64,
    next_at: Duration,
    /// Nodes whose data were damaged and that nobody has seen whole since.
    damaged: BTreeSet<usize>,
    /// Nothing new goes wrong, and what has ended by itself is started again at once.
    is_over: bool,
}

struct Active {
    number: u64,
    kind: Kind,
    targets: Vec<String>,
    until: Duration,
    undo: Undo,
}

/// What ends a fault.
enum Undo {
    Mend(Vec<(usize, usize)>),
    Undelay(usize, usize),
    Unlose(Vec<(usize, usize)>),
    Start(Vec<usize>),
    Disk(usize),
    Room(usize),
    Clock(usize),
    /// The node sees to it by itself.
    Nothing,
}

/// What a fault does, if it can be done now.
struct Begun {
    targets: Vec<String>,
    evidence: String,
    undo: Undo,
}

impl Faults {
    pub(super) fn new(plan: &Arc<Plan>, world: &Arc<World>) -> Self {
        let dice = Dice::of(plan.seed, "faults", 0);
        let next_at = dice.between(Duration::from_millis(500), Duration::from_millis(1500));
        Self {
            plan: plan.clone(),
            world: world.clone(),
            dice,
            links: Links::default(),
            active: Vec::new(),
            last_number: 0,
            next_at,
            damaged: BTreeSet::new(),
            is_over: false,
        }
    }

    /// Ends what is over, and begins what is due.
    pub(super) fn step(&mut self, cluster: &mut Cluster) {
        let now = self.world.elapsed();
        self.end_if(cluster, |active| active.until <= now);
        if now >= self.next_at {
            let pause = self.dice.between(LASTS_MIN, self.plan.fault_every_max);
            self.next_at = now + pause;
            if let Some(kind) = self.dice.pick(&self.plan.faults).copied() {
                self.begin(cluster, kind);
            }
        }
    }

    /// A node has ended by itself. It is started again after a while.
    pub(super) fn ended(&mut self, cluster: &Cluster, index: usize, why: &str) {
        cluster.members[index].whims.set(self.usual_mood());
        let was_removed = cluster.members[index].is_spare() && why.contains(REMOVED);
        let begun = Begun {
            targets: vec![cluster.members[index].name.clone()],
            evidence: format!("it has ended by itself: {why}"),
            undo: if was_removed { Undo::Nothing } else { Undo::Start(vec![index]) },
        };
        self.install("end", Kind::Kill, begun);
    }

    /// Starts again what has ended by itself a while ago, and nothing else.
    pub(super) fn restart_the_ended(&mut self, cluster: &mut Cluster) {
        let now = self.world.elapsed();
        self.end_if(cluster, |active| active.until <= now && matches!(active.undo, Undo::Start(_)));
    }

    /// Ends everything.
    pub(super) fn heal(&mut self, cluster: &mut Cluster) {
        self.end_if(cluster, |_| true);
    }

    /// Makes all but a majority unwell for good, and that majority well. Returns the majority.
    pub(super) fn leave_a_core(&mut self, cluster: &mut Cluster) -> Vec<usize> {
        let rank = self.ranks(cluster);
        self.is_over = true;
        self.heal(cluster);
        let mut all: Vec<usize> = (0..cluster.founders().len()).collect();
        self.dice.shuffle(&mut all);
        all.sort_by_key(|node| rank[*node]);
        let majority = all.len() / 2 + 1;
        let (core, rest) = all.split_at(majority);
        for index in rest {
            let undo = if self.dice.percent(25) {
                cluster.kill(*index, Death::Killed);
                Undo::Start(vec![*index])
            } else {
                // Half connected, which is worse than not at all.
                let links = core.iter().flat_map(|other| [(*index, *other), (*other, *index)]);
                let links: Vec<_> = links.filter(|_| self.dice.percent(60)).collect();
                self.links.cut(cluster, &links);
                Undo::Mend(links)
            };
            let evidence = match &undo {
                Undo::Mend(links) => Links::describe(cluster, links).join(" "),
                _ => "it is dead".to_owned(),
            };
            let targets = vec![cluster.members[*index].name.clone()];
            let begun = Begun { targets, evidence, undo };
            self.install_until(Duration::MAX, "outside the core", Kind::Partition, begun);
        }
        core.to_vec()
    }

    /// Whether packets pass from one node to the other.
    pub(super) fn is_whole(&self, from: usize, to: usize) -> bool {
        self.links.is_whole((from, to))
    }

    /// Which nodes are sooner in the core: first whose disk was full, because only itself can say that it is not any
    /// more; last whose data are damaged, because it serves nobody.
    fn ranks(&self, cluster: &Cluster) -> Vec<u8> {
        let was_full = |node: usize| {
            self.active.iter().any(|active| matches!(active.undo, Undo::Room(full) if full == node))
        };
        let rank = |node: usize| {
            let member = &cluster.members[node];
            let is_sick = member.status().is_some_and(|status| status.health != Health::Sound);
            let is_new = self.damaged.contains(&node) && !cluster.has_its_place(node);
            match member.disk().rotten() > 0 || is_sick || is_new {
                true => 2,
                false => u8::from(!was_full(node)),
            }
        };
        (0..cluster.founders().len()).map(rank).collect()
    }

    fn begin(&mut self, cluster: &mut Cluster, kind: Kind) {
        let begun = match kind {
            Kind::Partition => self.partition(cluster),
            Kind::OneWay => self.one_way(cluster),
            Kind::Delay => self.delay(cluster),
            Kind::Loss => self.lose(cluster),
            Kind::Kill => self.kill(cluster, Death::Killed),
            Kind::PowerLoss => self.kill(cluster, Death::PowerLost),
            Kind::Blackout => self.blackout(cluster),
            Kind::Clock => self.set_clock(cluster),
            Kind::SlowDisk => self.slow_disk(cluster),
            Kind::FailingDisk => self.fail_disk(cluster),
            Kind::Rot => self.rot(cluster),
            Kind::FullDisk => self.fill_disk(cluster),
            Kind::Wipe => self.wipe(cluster),
            Kind::LogRot => self.rot_log(cluster),
            Kind::Members => Some(self.change_members(cluster)),
        };
        if let Some(begun) = begun {
            self.install(kind.name(), kind, begun);
        }
    }

    fn install(&mut self, name: &str, kind: Kind, begun: Begun) {
        let most = if self.is_over { LASTS_MIN } else { LASTS_MAX };
        let until = self.world.elapsed() + self.dice.between(LASTS_MIN, most);
        self.install_until(until, name, kind, begun);
    }

    fn install_until(&mut self, until: Duration, name: &str, kind: Kind, begun: Begun) {
        self.last_number += 1;
        let Begun { targets, evidence, undo } = begun;
        self.world.trace(format_args!("{name} of {}: {evidence}", targets.join(" ")), &[]);
        let step = Step::Installed { evidence };
        let (fault, target) = (self.last_number, targets.clone());
        self.world.record.fault(Fault { fault, kind: name.to_owned(), target, step });
        self.active.push(Active { number: fault, kind, targets, until, undo });
    }

    fn end_if(&mut self, cluster: &mut Cluster, is_over: impl Fn(&Active) -> bool) {
        let over: Vec<Active> = self.active.extract_if(.., |active| is_over(active)).collect();
        for active in over {
            let Active { number, kind, targets, undo, .. } = active;
            let evidence = self.undo(cluster, undo);
            self.world.trace(format_args!("{} of {} ends: {evidence}", kind.name(), targets.join(" ")), &[]);
            let step = Step::Healed { evidence: evidence.to_owned() };
            self.world.record.fault(Fault {
                fault: number,
                kind: kind.name().to_owned(),
                target: targets,
                step,
            });
        }
    }

    fn undo(&mut self, cluster: &mut Cluster, undo: Undo) -> &'static str {
        match undo {
            Undo::Mend(links) => {
                self.links.mend(cluster, &links);
                "the links carry again"
            }
            Undo::Undelay(one, other) => {
                cluster.delay(one, other, self.plan.latency_max);
                "the link is as fast as the others"
            }
            Undo::Unlose(links) => {
                for (from, to) in links {
                    let name = |index: usize| cluster.members[index].name.as_str();
                    self.world.links.set_loss(name(from), name(to), 0);
                }
                "the link loses nothing"
            }
            Undo::Start(nodes) => {
                for node in nodes.into_iter().filter(|node| !self.is_held_down(*node)) {
                    if !cluster.is_up(node) {
                        cluster.start(node);
                    }
                }
                "started"
            }
            Undo::Disk(node) => {
                cluster.members[node].whims.set(self.usual_mood());
                "the disk syncs as before"
            }
            Undo::Room(node) => {
                cluster.members[node].disk().set_room(None);
                "there is room again"
            }
            Undo::Clock(node) => {
                cluster.members[node].clock.set_wrong_by_ms(0);
                "the clock is right again"
            }
            Undo::Nothing => "left to the node itself",
        }
    }

    /// Another fault that is not over keeps the node dead.
    fn is_held_down(&self, node: usize) -> bool {
        self.active.iter().any(|active| matches!(&active.undo, Undo::Start(nodes) if nodes.contains(&node)))
    }

    fn usual_mood(&self) -> Mood {
        if self.plan.disks_lie { Mood::Lying } else { Mood::Healthy }
    }

    fn partition(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let count = cluster.members.len();
        let leader = cluster.leader();
        let side: BTreeSet<usize> = match self.dice.below(3) {
            0 => leader.into_iter().collect(),
            _ => (0..count).filter(|_| self.dice.percent(50)).collect(),
        };
        let crosses = |from: usize, to: usize| side.contains(&from) != side.contains(&to);
        let links: Vec<(usize, usize)> = links::all(count).filter(|(from, to)| crosses(*from, *to)).collect();
        self.cut(cluster, links)
    }

    fn one_way(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let all: Vec<_> = links::all(cluster.members.len()).collect();
        let link = *self.dice.pick(&all)?;
        let links = match self.dice.below(5) {
            0 | 1 => vec![link],
            // It is heard by none.
            2 => all.into_iter().filter(|(from, _)| *from == link.0).collect(),
            // It hears nobody.
            3 => all.into_iter().filter(|(_, to)| *to == link.0).collect(),
            // Everybody reaches others than everybody else.
            _ => all.into_iter().filter(|_| self.dice.percent(40)).collect(),
        };
        self.cut(cluster, links)
    }

    fn cut(&mut self, cluster: &mut Cluster, links: Vec<(usize, usize)>) -> Option<Begun> {
        if links.is_empty() {
            return None;
        }
        self.links.cut(cluster, &links);
        let targets = Links::describe(cluster, &links);
        Some(Begun { targets, evidence: "no packet passes".to_owned(), undo: Undo::Mend(links) })
    }

    fn pair(&self, cluster: &Cluster) -> (usize, usize, Vec<String>) {
        let all: Vec<_> = links::all(cluster.members.len()).collect();
        let (one, other) = self.dice.pick(&all).copied().unwrap_or((0, 1));
        (one, other, Links::describe(cluster, &[(one, other), (other, one)]))
    }

    fn delay(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let (one, other, targets) = self.pair(cluster);
        // Now and then so long that what was said is heard after several elections.
        let longest = if self.dice.percent(20) { LONG_DELAY_MAX } else { DELAY_MAX };
        let most = self.dice.between(Duration::from_millis(30), longest);
        cluster.delay(one, other, most);
        let evidence = format!("packets take up to {most:?}");
        Some(Begun { targets, evidence, undo: Undo::Undelay(one, other) })
    }

    fn lose(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let (one, other, targets) = self.pair(cluster);
        let percent = 1 + self.dice.below(LOSS_PERCENT_MAX);
        let name = |index: usize| cluster.members[index].name.as_str();
        self.world.links.set_loss(name(one), name(other), percent);
        self.world.links.set_loss(name(other), name(one), percent);
        let evidence = format!("{percent} packets of 100 are lost");
        Some(Begun { targets, evidence, undo: Undo::Unlose(vec![(one, other), (other, one)]) })
    }

    /// Any node, the leader more often than others.
    fn node(&self, cluster: &Cluster) -> usize {
        let any = usize::try_from(self.dice.below(cluster.members.len() as u64)).unwrap_or(0);
        if self.dice.percent(40) { cluster.leader().unwrap_or(any) } else { any }
    }

    fn kill(&mut self, cluster: &mut Cluster, death: Death) -> Option<Begun> {
        let node = self.node(cluster);
        if !cluster.is_up(node) {
            return None;
        }
        let evidence = cluster.kill(node, death);
        let targets = vec![cluster.members[node].name.clone()];
        Some(Begun { targets, evidence, undo: Undo::Start(vec![node]) })
    }

    fn blackout(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let up: Vec<usize> = (0..cluster.members.len()).filter(|node| cluster.is_up(*node)).collect();
        let costs: Vec<String> = up.iter().map(|node| cluster.kill(*node, Death::PowerLost)).collect();
        let targets: Vec<String> = up.iter().map(|node| cluster.members[*node].name.clone()).collect();
        (!up.is_empty()).then(|| Begun { targets, evidence: costs.join("; "), undo: Undo::Start(up) })
    }

    fn set_clock(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let node = self.node(cluster);
        let wrong = i64::try_from(self.dice.below(CLOCK_WRONG_MAX_MS)).unwrap_or(0);
        // Small errors are as interesting as large ones.
        let wrong = if self.dice.percent(50) { wrong % 2000 } else { wrong };
        let wrong = if self.dice.percent(50) { -wrong } else { wrong };
        cluster.members[node].clock.set_wrong_by_ms(wrong);
        let targets = vec![cluster.members[node].name.clone()];
        Some(Begun { targets, evidence: format!("wrong by {wrong} ms"), undo: Undo::Clock(node) })
    }

    fn slow_disk(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let node = self.node(cluster);
        if self.plan.disks_lie {
            return None;
        }
        let most = self.dice.between(Duration::from_millis(10), SYNC_MAX);
        cluster.members[node].whims.set(Mood::Slow(most));
        let targets = vec![cluster.members[node].name.clone()];
        Some(Begun { targets, evidence: format!("a sync takes up to {most:?}"), undo: Undo::Disk(node) })
    }

    fn fail_disk(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let node = self.node(cluster);
        let kinds = [ErrorKind::StorageFull, ErrorKind::Other];
        let kind = self.dice.pick(&kinds).copied()?;
        cluster.members[node].whims.set(Mood::Failing(kind));
        let targets = vec![cluster.members[node].name.clone()];
        Some(Begun { targets, evidence: format!("no sync succeeds: {kind}"), undo: Undo::Disk(node) })
    }

    /// What one node has lost the others must have: only of a minority data are damaged.
    fn node_that_may_be_damaged(&mut self, cluster: &mut Cluster) -> Option<usize> {
        let is_whole =
            |node: usize| cluster.members[node].disk().rotten() == 0 && cluster.has_its_place(node);
        self.damaged.retain(|node| !is_whole(*node));
        let node = self.node(cluster);
        let minority = (cluster.founders().len() - 1) / 2;
        let may_be = self.damaged.contains(&node) || self.damaged.len() < minority;
        (may_be && cluster.is_up(node)).then_some(node)
    }

    /// A founder's disk is gone. It comes back as another member under the same name, and takes its place.
    fn wipe(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let node = self.node_that_may_be_damaged(cluster)?;
        if cluster.members[node].is_spare() {
            return None;
        }
        cluster.kill(node, Death::PowerLost);
        cluster.members[node].change_disk();
        self.damaged.insert(node);
        let targets = vec![cluster.members[node].name.clone()];
        Some(Begun { targets, evidence: "its disk is empty".to_owned(), undo: Undo::Start(vec![node]) })
    }

    fn rot(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let node = self.node_that_may_be_damaged(cluster)?;
        let rows = 1 + self.dice.below(ROTTEN_ROWS_MAX);
        let rotten = (0..rows).filter(|_| cluster.members[node].disk().rot(self.dice.u64())).count();
        if rotten == 0 {
            return None;
        }
        self.damaged.insert(node);
        let targets = vec![cluster.members[node].name.clone()];
        Some(Begun { targets, evidence: format!("{rotten} rows cannot be read"), undo: Undo::Nothing })
    }

    /// What was synced is not as it was any more. The founder comes back as another member, if it is seen.
    fn rot_log(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let node = self.node_that_may_be_damaged(cluster)?;
        if cluster.members[node].is_spare() {
            return None;
        }
        let death = if self.dice.percent(50) { Death::Killed } else { Death::PowerLost };
        let cost = cluster.kill(node, death);
        let bits = 1 + self.dice.below(ROTTEN_BITS_MAX);
        let disk = cluster.members[node].disk();
        let rotten = (0..bits).filter(|_| disk.rot_log(&disk::chance(&self.dice))).count();
        if rotten > 0 {
            self.damaged.insert(node);
        }
        let targets = vec![cluster.members[node].name.clone()];
        let evidence = format!("{cost}; {rotten} bits of its log have changed");
        Some(Begun { targets, evidence, undo: Undo::Start(vec![node]) })
    }

    fn change_members(&mut self, cluster: &Cluster) -> Begun {
        let founder = usize::try_from(self.dice.below(self.plan.nodes)).unwrap_or(0);
        let name = cluster.members[founder].name.clone();
        self.world.membership.wish(&name, What::Next);
        let evidence = "an operator asks it to change the members".to_owned();
        Begun { targets: vec![name], evidence, undo: Undo::Nothing }
    }

    fn fill_disk(&mut self, cluster: &mut Cluster) -> Option<Begun> {
        let node = self.node(cluster);
        cluster.members[node].disk().set_room(Some(LITTLE_ROOM));
        let targets = vec![cluster.members[node].name.clone()];
        Some(Begun { targets, evidence: "the disk is full".to_owned(), undo: Undo::Room(node) })
    }
}
