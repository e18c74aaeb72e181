//! From what a directory says, and what the others answer, to a place.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use base::{Entropy, NodeId};
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::Entrance;
use super::messages::{Acknowledged, Asks, Introduction, Standing, Welcome};
use crate::disk::codec;
use crate::error::StartError;
use crate::node::{Cluster, InitialMember, NodeConfig};
use crate::raft::peers::{Call, Peer, PeerError, Peers};
use crate::seat::{self, Founder, MemberFile, Place, SeatDisk};
use crate::seeded::{self, Bug};

/// How long one question may take; a place is given by way of the log.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
const PLACE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a node that has its place waits for word that it has lost it.
const LOOK_BACK_TIME_MAX: Duration = Duration::from_millis(300);
/// How often it asks for that, while somebody hears a leader.
const LOOKS_MAX: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
/// How often the reason for waiting is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What the directory says; a new one is given what it will be known by.
pub(super) fn read_or_draw(
    config: &NodeConfig,
    disk: &SeatDisk,
    entropy: &dyn Entropy,
) -> Result<MemberFile, StartError> {
    let token = config.token();
    if disk.is_half_recovered()? {
        return Err(StartError::UnfinishedRecovery { path: disk.path().display().to_string() });
    }
    let lost: Option<u64> = match disk.read()? {
        Some(file) if file.name == config.name && file.token == token => return Ok(file),
        Some(file) => return Err(wrong_identity(disk.path(), &file, config)),
        None if !disk.holds_something() => None,
        None if config.has_others() => {
            let aside = disk.set_aside()?;
            warn!(aside = %aside.display(), "a log without its member file is set aside");
            Some(0)
        }
        None => {
            return Err(StartError::MemberFile { path: disk.path().join("member").display().to_string() });
        }
    };
    let drawn = draw(config, lost, entropy);
    disk.write(&drawn)?;
    Ok(drawn)
}

fn draw(config: &NodeConfig, lost: Option<u64>, entropy: &dyn Entropy) -> MemberFile {
    let (name, token) = (config.name.clone(), config.token());
    // 0 stands for an unknown one.
    MemberFile { name, token, incarnation: entropy.u64().max(1), lost, place: None }
}

pub(crate) fn wrong_identity(path: &Path, file: &MemberFile, config: &NodeConfig) -> StartError {
    StartError::WrongIdentity {
        path: path.display().to_string(),
        found: format!("{} of cluster {}", file.name, file.token),
        expected: format!("{} of cluster {}", config.name, config.token()),
    }
}

/// A place that nobody disputes.
pub(super) struct Settled {
    pub(super) file: MemberFile,
    /// What this node has said to be durable, as far as a leader remembers. Its log must reach there.
    pub(super) acknowledged: Option<Acknowledged>,
}

impl From<MemberFile> for Settled {
    fn from(file: MemberFile) -> Self {
        Self { file, acknowledged: None }
    }
}

/// An answer, and whose.
#[derive(Debug)]
struct Heard {
    from: Peer,
    /// The name, or the address where it is not known.
    whose: String,
    answer: Option<Welcome>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Every founder is new, and this node speaks for all.
    Found(Vec<Founder>),
    /// This node founded the cluster together with the others.
    Take(Place),
    AskForPlace(Peer),
    Wait(String),
}

impl Entrance {
    /// Returns once this node has a place that nobody disputes.
    pub(super) async fn settle(&self, peers: &dyn Peers) -> Result<Settled, StartError> {
        let file = self.desk.file();
        if let Some(place) = &file.place {
            if place.removed {
                return Err(removed(&file, place));
            }
            let (looked, acknowledged) = self.look_back_often(peers, place).await;
            match looked {
                Looked::Fine => return Ok(Settled { file, acknowledged }),
                Looked::Elsewhere => return Err(elsewhere(&file, place)),
                Looked::Removed => {
                    let place = Place { removed: true, ..place.clone() };
                    self.save(MemberFile { place: Some(place.clone()), ..file.clone() })?;
                    return Err(removed(&file, &place));
                }
                Looked::GivenUp { by } => {
                    self.give_up(&format!("its cluster was given up for the one of {by}"))?;
                }
            }
        }
        let mut tell_at = Instant::now() + TELL_EVERY;
        loop {
            let file = self.desk.file();
            let heard = self.ask_all(peers, ANSWER_TIME_MAX).await;
            let mut reason = match plan(&self.config, &file, &heard)? {
                Step::Found(founders) => {
                    let cluster_id = seat::cluster_id(&file.token, self.config.initial_members());
                    return self
                        .take(&file, Place { cluster_id, founders, ..Place::default() })
                        .map(Settled::from);
                }
                Step::Take(place) => return self.take(&file, place).map(Settled::from),
                Step::AskForPlace(peer) => match self.ask_for_place(peers, &peer).await {
                    Ok(Welcome::Given { cluster_id, node_id, supersedes }) => {
                        let place = Place { cluster_id, node_id, supersedes, ..Place::default() };
                        let file = MemberFile { place: Some(place), ..file };
                        info!(node = %node_id, "this node has a place in the running cluster");
                        return self.save(file).map(Settled::from);
                    }
                    Ok(Welcome::Never(_)) => return Err(StartError::NotInvited { name: file.name }),
                    Ok(Welcome::NotNow(reason)) => format!("no place yet: {reason}"),
                    Ok(_) => "the asked member is starting itself".to_owned(),
                    Err(error) => format!("no place yet: {error}"),
                },
                Step::Wait(reason) => reason,
            };
            if Instant::now() >= tell_at {
                reason.truncate(400);
                warn!(%reason, "waiting for the other members");
                tell_at = Instant::now() + TELL_EVERY;
            }
            sleep(PAUSE).await;
        }
    }

    /// What is there is unusable, or of a cluster that is no more: sets it aside, and begins as a new incarnation that
    /// may only join.
    pub(super) fn give_up(&self, reason: &dyn std::fmt::Display) -> Result<(), StartError> {
        let former = self.desk.file().place.map_or(0, |place| place.cluster_id);
        let aside = self.disk.set_aside()?;
        warn!(%reason, aside = %aside.display(), "this node's data is set aside; it comes back as a new member");
        self.save(draw(&self.config, Some(former), self.entropy.as_ref())).map(drop)
    }

    fn save(&self, file: MemberFile) -> Result<MemberFile, StartError> {
        self.disk.write(&file)?;
        *self.desk.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = file.clone();
        Ok(file)
    }

    /// Becomes the founder that carries this node's name.
    fn take(&self, file: &MemberFile, place: Place) -> Result<MemberFile, StartError> {
        let mine = place.founders.iter().find(|founder| founder.name == file.name);
        let Some(node_id) = mine.map(|founder| founder.id) else {
            return Err(StartError::NotInvited { name: file.name.clone() });
        };
        info!(node = %node_id, founders = place.founders.len(), "this node founds a cluster");
        self.save(MemberFile { place: Some(Place { node_id, ..place }), ..file.clone() })
    }

    /// As [`Self::look_back`]; while there is a leader, and it has not answered, again: it may only be busy, and nobody
    /// else knows what it was told.
    async fn look_back_often(&self, peers: &dyn Peers, place: &Place) -> (Looked, Option<Acknowledged>) {
        let mut answer = (Looked::Fine, None);
        for _ in 0..LOOKS_MAX {
            let (looked, acknowledged, is_led) = self.look_back(peers, place).await;
            let is_known = looked != Looked::Fine || acknowledged.is_some() || !is_led;
            answer = (looked, acknowledged);
            if is_known {
                break;
            }
        }
        answer
    }

    /// Asks the others, without delaying the start for long, whether this place is still one, and whether anybody leads.
    async fn look_back(&self, peers: &dyn Peers, place: &Place) -> (Looked, Option<Acknowledged>, bool) {
        let others = self.ask_all(peers, LOOK_BACK_TIME_MAX);
        let (heard, twin) = tokio::join!(others, self.is_elsewhere(peers, place));
        if twin {
            return (Looked::Elsewhere, None, true);
        }
        let answers = heard.iter().filter_map(|heard| Some((&*heard.whose, heard.answer.as_ref()?)));
        let acknowledged = answers.clone().filter_map(|(_, answer)| match answer {
            Welcome::Placed { cluster_id, acknowledged, .. } if *cluster_id == place.cluster_id => {
                *acknowledged
            }
            _ => None,
        });
        let is_led =
            answers.clone().any(|(_, answer)| matches!(answer, Welcome::Placed { hears_leader: true, .. }));
        (looked(place.cluster_id, answers.clone()), acknowledged.max_by_key(|last| last.vote), is_led)
    }

    /// Whether another process answers in this node's name, where it is to be found or was found last: this directory
    /// may be a copy.
    async fn is_elsewhere(&self, peers: &dyn Peers, place: &Place) -> bool {
        let last = self.disk.remembered_members().into_iter().filter(|member| member.id == place.node_id);
        let own = self.config.own_addresses().map(|me| me.peer_url.clone());
        let addresses: BTreeSet<String> = last.map(|member| member.url).chain(own).collect();
        let asked = addresses.into_iter().zip(0..).map(|(url, at)| async move {
            // Nobody has this id: it only tells connections apart.
            let peer = Peer { id: NodeId::new(u64::MAX / 2 - at), url };
            self.ask(peers, &peer, Asks::Standing, LOOK_BACK_TIME_MAX).await
        });
        let answers = join_all(asked).await;
        let is_twin = |answer: &Welcome| {
            answer.is_of((place.cluster_id, place.node_id)) && !answer.is_from(self.process)
        };
        answers.iter().flatten().any(is_twin)
    }

    async fn ask_all(&self, peers: &dyn Peers, within: Duration) -> Vec<Heard> {
        let asked = self.config.others().into_iter().map(|(whose, from)| async move {
            let answer = self.ask(peers, &from, Asks::Standing, within).await.ok();
            Heard { from, whose, answer }
        });
        join_all(asked).await
    }

    async fn ask_for_place(&self, peers: &dyn Peers, peer: &Peer) -> Result<Welcome, PeerError> {
        let may_be_added = matches!(self.config.cluster, Cluster::Join { .. });
        let former = self.desk.file().lost;
        self.ask(peers, peer, Asks::Place { may_be_added, former }, PLACE_TIME_MAX).await
    }

    async fn ask(
        &self,
        peers: &dyn Peers,
        peer: &Peer,
        asks: Asks,
        within: Duration,
    ) -> Result<Welcome, PeerError> {
        let introduction = introduction(&self.config, (&self.desk.file(), self.process), asks);
        introduce(peers, peer, &introduction, within).await
    }
}

pub(crate) fn introduction(
    config: &NodeConfig,
    (file, process): (&MemberFile, u64),
    asks: Asks,
) -> Introduction {
    let me = config.own_addresses();
    Introduction {
        token: file.token.clone(),
        name: file.name.clone(),
        incarnation: file.incarnation,
        process,
        place: file.place.as_ref().map(|place| (place.cluster_id, place.node_id)),
        peer_url: me.map(|me| me.peer_url.clone()).unwrap_or_default(),
        client_urls: me.map(|me| me.client_urls.clone()).unwrap_or_default(),
        asks,
    }
}

pub(crate) async fn introduce(
    peers: &dyn Peers,
    to: &Peer,
    introduction: &Introduction,
    within: Duration,
) -> Result<Welcome, PeerError> {
    let call = peers.call(to, Call::Introduce, codec::encode(introduction), within);
    let answer = timeout(within, call).await.map_err(|_| PeerError::Timeout)??;
    codec::decode(&answer).map_err(|error| PeerError::Refused(error.to_string()))
}

fn removed(file: &MemberFile, place: &Place) -> StartError {
    StartError::Removed { name: file.name.clone(), id: place.node_id }
}

fn elsewhere(file: &MemberFile, place: &Place) -> StartError {
    StartError::Elsewhere { name: file.name.clone(), id: place.node_id }
}

/// What the others say about a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    Fine,
    Removed,
    /// Another process has it.
    Elsewhere,
    /// The operator has recovered another member into a cluster of its own, and this one has no leader.
    GivenUp {
        by: String,
    },
}

pub(crate) fn looked<'a>(
    cluster: u64,
    answers: impl Iterator<Item = (&'a str, &'a Welcome)> + Clone,
) -> Looked {
    let placed = answers.filter_map(|(whose, answer)| match answer {
        Welcome::Placed { cluster_id, supersedes, standing, hears_leader, .. } => {
            Some((whose, *cluster_id, supersedes, *standing, *hears_leader))
        }
        _ => None,
    });
    let same = placed.clone().filter(|(_, id, ..)| *id == cluster);
    if same.clone().any(|(_, _, _, standing, _)| standing == Standing::Removed) {
        return Looked::Removed;
    }
    if same.clone().any(|(_, _, _, standing, _)| standing == Standing::Elsewhere) {
        return Looked::Elsewhere;
    }
    // A majority that is alive has not been given up, whatever its operator believes. Members that only remember the
    // old cluster do not count: together they would bring it back to life beside the new one.
    let is_alive = same.clone().any(|(.., hears_leader)| hears_leader);
    let mut successors = placed.filter(|(_, _, supersedes, ..)| supersedes.contains(&cluster));
    match successors.next() {
        Some((whose, ..)) if !is_alive => Looked::GivenUp { by: whose.to_owned() },
        Some(_) | None => Looked::Fine,
    }
}

/// Pure: what the answers mean for a node without a place.
fn plan(config: &NodeConfig, file: &MemberFile, heard: &[Heard]) -> Result<Step, StartError> {
    let mut running = Vec::new();
    let mut given_up = Vec::new();
    for Heard { from, whose, answer } in heard {
        match answer {
            Some(Welcome::OtherCluster { token }) => {
                let (name, token) = (whose.clone(), token.clone());
                return Err(StartError::OtherCluster { name, token });
            }
            Some(Welcome::Placed { cluster_id, founders, supersedes, .. }) => {
                given_up.extend(supersedes);
                running.push((from, *cluster_id, founders, supersedes));
            }
            Some(_) | None => {}
        }
    }
    running.retain(|(_, cluster, ..)| !given_up.contains(cluster));
    if let Some((from, cluster_id, founders, supersedes)) = running.first() {
        if running.iter().any(|(_, other, ..)| other != cluster_id) {
            return Ok(Step::Wait("members of different clusters answer".to_owned()));
        }
        let mine = |one: &&Founder| {
            let same = one.incarnation == file.incarnation || seeded::is(Bug::WipedVoterReturns);
            file.lost.is_none() && one.name == file.name && same
        };
        return Ok(match founders.iter().find(mine) {
            Some(me) => Step::Take(Place {
                cluster_id: *cluster_id,
                node_id: me.id,
                founders: (*founders).clone(),
                supersedes: (*supersedes).clone(),
                ..Place::default()
            }),
            None => Step::AskForPlace((*from).clone()),
        });
    }
    Ok(found_or_wait(config, file, heard))
}

/// Nobody runs yet.
fn found_or_wait(config: &NodeConfig, file: &MemberFile, heard: &[Heard]) -> Step {
    let silent: Vec<&str> = heard.iter().filter(|one| one.answer.is_none()).map(|one| &*one.whose).collect();
    let members = match &config.cluster {
        Cluster::Static { members, .. } => members,
        Cluster::Join { .. } | Cluster::Joined { .. } => {
            return Step::Wait(format!("no running member answers ({})", silent.join(", ")));
        }
    };
    if file.lost.is_some() {
        return Step::Wait("this node's data is lost, and no running member answers".to_owned());
    }
    if !silent.is_empty() {
        return Step::Wait(format!(
            "a cluster is founded when all founders answer; not yet: {}",
            silent.join(", ")
        ));
    }
    let mut incarnations = vec![(&*file.name, file.incarnation)];
    for Heard { whose, answer, .. } in heard {
        match answer {
            Some(Welcome::New { lost: true, .. }) => {
                return Step::Wait(format!("{whose} has lost its data; its cluster is not founded anew"));
            }
            Some(Welcome::New { name, incarnation, .. }) if name == whose => {
                incarnations.push((name, *incarnation));
            }
            _ => return Step::Wait(format!("somebody else answers in the place of {whose}")),
        }
    }
    if members.first().is_some_and(|first| first.name == file.name) {
        let of = |member: &InitialMember| {
            let found = incarnations.iter().find(|(name, _)| *name == member.name);
            found.map_or(0, |(_, incarnation)| *incarnation)
        };
        return Step::Found(seat::founders(members, of));
    }
    Step::Wait("the first founder of the list has not founded the cluster yet".to_owned())
}

impl NodeConfig {
    pub(crate) fn token(&self) -> String {
        match &self.cluster {
            Cluster::Static { token, .. } | Cluster::Join { token, .. } => token.clone(),
            Cluster::Joined { .. } => String::new(),
        }
    }

    pub(crate) fn initial_members(&self) -> &[InitialMember] {
        match &self.cluster {
            Cluster::Static { members, .. } => members,
            Cluster::Join { .. } | Cluster::Joined { .. } => &[],
        }
    }

    /// Where this node wants to be found; `None`: it was not told.
    pub(crate) fn own_addresses(&self) -> Option<&InitialMember> {
        match &self.cluster {
            Cluster::Static { members, .. } => members.iter().find(|member| member.name == self.name),
            Cluster::Join { me, .. } => Some(me),
            Cluster::Joined { .. } => None,
        }
    }

    pub(crate) fn has_others(&self) -> bool {
        !self.others().is_empty()
    }

    /// Whom to ask, and what to call them. Ids are not known yet: these only tell connections apart.
    pub(crate) fn others(&self) -> Vec<(String, Peer)> {
        let peer = |id: u64, url: &str| Peer { id: NodeId::new(id), url: url.to_owned() };
        match &self.cluster {
            Cluster::Static { members, .. } => (1..)
                .zip(members)
                .filter(|(_, member)| member.name != self.name)
                .map(|(id, member)| (member.name.clone(), peer(id, &member.peer_url)))
                .collect(),
            Cluster::Join { through, .. } => {
                (0..).zip(through).map(|(at, url)| (url.clone(), peer(u64::MAX - at, url))).collect()
            }
            Cluster::Joined { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
