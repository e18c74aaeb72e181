//! A cluster of real server processes on this machine, inside the harness's own namespaces.
//!
//! Dropping it kills the processes. `enter_own_namespaces` comes first: then even a harness that is killed leaves
//! nothing behind.

mod admin;
mod certificates;
pub(crate) mod clock;
mod command;
mod directories;
mod disk;
mod endpoint;
mod kernel;
mod membership;
pub(crate) mod memory;
mod namespace;
mod network;
mod nodes;
mod process;
mod scarcity;
mod switch;
mod syncs;
mod volume;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base::OwnThread;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

pub use admin::Listed;
use certificates::Certificates;
use clock::FakeClock;
pub use disk::Part;
pub use endpoint::Endpoint;
use memory::MemoryGroup;
pub use memory::Squeezed;
pub use namespace::{NetworkNamespace, enter_own_namespaces, in_own_namespaces};
use network::Network;
pub use network::{CLIENT, Link, Probed};
use nodes::HollowNodes;
use process::{Process, how_it_ended};
pub use switch::wire::{Impairment, Packets};
use syncs::HeldSyncs;
pub use syncs::Syncs;
use volume::Volume;

use crate::history::Sight;

/// Every member has an address of its own, so all have the same ports.
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// How long a killed process may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(10);
/// How long a process that is asked to end may take.
const TERM_MAX: Duration = Duration::from_secs(20);
/// How long a cluster may take until every member serves.
const READY_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whose servers they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    #[default]
    Navarch,
    /// Debian's, to see that the harness finds what is known to be wrong with it.
    Etcd,
}

/// What a member's data lies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// A folder: faults of the disk are skipped.
    #[default]
    Folder,
    /// A file system of its own, in a file below the cluster's folder.
    LoopExt4,
    LoopXfs,
}

/// What is to be started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub system: System,
    /// How many members found the cluster: 1 to 9.
    pub servers: u8,
    /// Of logs, certificates and disks; made if missing, not removed.
    pub dir: PathBuf,
    /// The program: `navarch`, or `etcd`.
    pub binary: PathBuf,
    pub disk: Disk,
    /// Where the files are that have the members' file systems in them; `dir` if none.
    pub images: Option<PathBuf>,
    /// Whether the members' syncs can be made to fail or to take long; each takes some 30 µs more then.
    pub hold_syncs: bool,
    /// Whether the members' logs go through the harness's hands, and can be held up.
    pub gate_logs: bool,
    /// Whether the members' memory can be limited.
    pub own_memory: bool,
    /// Whether the members' clocks can be shifted; needs libfaketime.
    pub fake_clocks: bool,
    /// How many nodes there are that run nothing and say that all is well.
    pub hollow_nodes: u16,
    /// Of every choice that chance makes, which are those of the network.
    pub seed: u64,
    /// More flags for every server, as `--name=value`.
    pub flags: Vec<String>,
}

impl ClusterOptions {
    /// Three of Navarch's servers, on folders, and with nothing that costs time and not every fault needs.
    pub fn new(binary: PathBuf, dir: PathBuf) -> Self {
        Self {
            system: System::Navarch,
            servers: 3,
            dir,
            binary,
            disk: Disk::Folder,
            images: None,
            hold_syncs: false,
            gate_logs: false,
            own_memory: false,
            fake_clocks: false,
            hollow_nodes: 0,
            seed: 0,
            flags: Vec::new(),
        }
    }
}

/// A running cluster. Members are named `n1`, `n2` … in the order in which they were made.
pub struct Cluster {
    options: ClusterOptions,
    certificates: Certificates,
    members: BTreeMap<String, Member>,
    /// The names that founded the cluster.
    founders: Vec<String>,
    nodes: Option<HollowNodes>,
    /// What the history is to be told.
    sights: Vec<Sight>,
    /// The snapshots that were taken into files.
    backups: Vec<PathBuf>,
    network: Network,
    /// Whatever it starts dies with it.
    nursery: OwnThread,
}

struct Member {
    address: Ipv4Addr,
    seat: Seat,
    /// Of its log and its disk.
    dir: PathBuf,
    // In this order: the process lets go of its memory, the disk and the namespace.
    process: Process,
    memory: Option<MemoryGroup>,
    volume: Option<Volume>,
    namespace: NetworkNamespace,
    syncs: Option<HeldSyncs>,
    clock: Option<FakeClock>,
}

/// How a member came to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seat {
    Founder,
    /// Joined a running cluster; etcd wants to be told who was in it then.
    Late {
        peers: String,
    },
}

impl Member {
    /// What the server is told to keep its data in.
    fn data_dir(&self) -> PathBuf {
        self.dir.join("disk").join("data")
    }
}

impl Cluster {
    /// Starts the servers, and returns when all of them serve.
    ///
    /// # Errors
    /// When one does not, with the end of its log.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let certificates = Certificates::create(&options.dir.join("certificates"))?;
        let nursery = OwnThread::start("nursery").context("cannot start a thread")?;
        let network = Network::start(options.seed).await?;
        let mut cluster = Self {
            founders: Vec::new(),
            members: BTreeMap::new(),
            nodes: None,
            sights: Vec::new(),
            backups: Vec::new(),
            options,
            certificates,
            network,
            nursery,
        };
        for number in 1..=cluster.options.servers {
            let name = format!("n{number}");
            cluster.prepare(&name, number, Seat::Founder).await?;
            cluster.founders.push(name);
        }
        for name in cluster.members() {
            cluster.start_member(&name).await?;
        }
        for name in cluster.members() {
            cluster.wait_ready(&name, READY_MAX).await?;
        }
        cluster.start_nodes().await?;
        Ok(cluster)
    }

    /// Everything that a member needs before it is started the first time.
    async fn prepare(&mut self, name: &str, number: u8, seat: Seat) -> Result<()> {
        let address = network::address(number);
        self.certificates.add_member(name, &address.to_string())?;
        let dir = self.options.dir.join(name);
        fs::create_dir_all(dir.join("disk")).with_context(|| format!("cannot create {}", dir.display()))?;
        let volume = match self.options.disk {
            Disk::Folder => None,
            disk @ (Disk::LoopExt4 | Disk::LoopXfs) => {
                let images = self.options.images.as_ref().unwrap_or(&self.options.dir);
                let image = images.join(format!("{name}.image"));
                Some(Volume::create(disk, &image, &dir.join("disk")).await?)
            }
        };
        let syncs = if self.options.hold_syncs { Some(HeldSyncs::new()?) } else { None };
        let memory = if self.options.own_memory { Some(MemoryGroup::create(name)?) } else { None };
        let clock = if self.options.fake_clocks { Some(FakeClock::create(dir.join("clock"))?) } else { None };
        let namespace = self.network.join(name, number).await?;
        let log = dir.join("log");
        let process =
            if self.options.gate_logs { Process::gated(name, log) } else { Process::new(name, log) };
        let member = Member { address, seat, dir, process, memory, volume, namespace, syncs, clock };
        self.members.insert(name.to_owned(), member);
        Ok(())
    }

    pub fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// Every member's name, in order, running or not.
    pub fn members(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Where clients find a member.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn endpoint(&self, name: &str) -> Result<Endpoint> {
        let address = self.member(name)?.address;
        let client = self.certificates.client().clone();
        Ok(Endpoint {
            member: name.to_owned(),
            url: format!("https://{address}:{CLIENT_PORT}"),
            ca_pem: client.ca_pem,
            certificate_pem: client.certificate_pem,
            key_pem: client.key_pem,
        })
    }

    /// Starts a member's process, which need not serve yet.
    ///
    /// # Errors
    /// When it runs already, or the program cannot be started.
    pub async fn start_member(&mut self, name: &str) -> Result<()> {
        let mut command = self.command(name)?;
        let nursery = &self.nursery;
        let member = self.members.get_mut(name).with_context(|| format!("there is no member {name}"))?;
        if let Some(clock) = &member.clock {
            clock.give_to(&mut command)?;
        }
        if member.syncs.is_some() {
            HeldSyncs::hold(&mut command);
        }
        member.process.start(command, &member.namespace, nursery).await?;
        let Some(pid) = member.process.pid() else { return Ok(()) };
        if let Some(memory) = &member.memory {
            memory.adopt(pid)?;
        }
        match &member.syncs {
            Some(syncs) => syncs.follow(pid).await,
            None => Ok(()),
        }
    }

    /// `kill -9`; returns when the process is gone, and says how it ended.
    ///
    /// # Errors
    /// When it does not run, or cannot be killed.
    pub async fn kill(&mut self, name: &str) -> Result<String> {
        Ok(how_it_ended(self.member_mut(name)?.process.end_by(Signal::SIGKILL, GONE_MAX).await?))
    }

    /// Asks the process to end, and waits until it has; says how it ended.
    ///
    /// # Errors
    /// When it does not run, or takes too long.
    pub async fn stop(&mut self, name: &str) -> Result<String> {
        Ok(how_it_ended(self.member_mut(name)?.process.end_by(Signal::SIGTERM, TERM_MAX).await?))
    }

    /// Waits until the process has ended by itself; says how.
    ///
    /// # Errors
    /// When it has not within the time.
    pub async fn ended(&mut self, name: &str, within: Duration) -> Result<String> {
        Ok(how_it_ended(self.member_mut(name)?.process.ended(within).await?))
    }

    /// SIGSTOP; returns when every thread of the process stands still.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause(&mut self, name: &str) -> Result<()> {
        self.member_mut(name)?.process.pause().await
    }

    /// SIGCONT; returns when no thread of the process is stopped.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resume(&mut self, name: &str) -> Result<()> {
        self.member_mut(name)?.process.resume().await
    }

    /// Whether the member's process runs, paused or not.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn is_running(&mut self, name: &str) -> Result<bool> {
        self.member_mut(name)?.process.is_running()
    }

    /// The member's process, if it was started and not waited for.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn pid(&self, name: &str) -> Result<Option<u32>> {
        Ok(self.member(name)?.process.pid())
    }

    /// Everything that the member's processes have said, as a file.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn log(&self, name: &str) -> Result<PathBuf> {
        Ok(self.member(name)?.process.log().to_owned())
    }

    /// Waits until the member votes and answers a read with consensus; says how long that took.
    ///
    /// # Errors
    /// When it has not within the time, or its process ends; with the end of its log.
    pub async fn wait_ready(&mut self, name: &str, within: Duration) -> Result<Duration> {
        let began = Instant::now();
        let endpoint = self.endpoint(name)?;
        loop {
            let process = &mut self.member_mut(name)?.process;
            if !process.is_running()? {
                bail!("{name} does not run; the end of its log:\n{}", process.last_words());
            }
            match endpoint.serves().await {
                Ok(()) => return Ok(began.elapsed()),
                Err(error) if began.elapsed() > within => {
                    let words = self.member(name)?.process.last_words();
                    return Err(error.context(format!("not within {within:?}; the end of its log:\n{words}")));
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// The member that leads: it says so itself, and no other says so in a later term.
    ///
    /// # Errors
    /// When nobody leads within the time.
    pub async fn leader(&self, within: Duration) -> Result<String> {
        self.leader_among(&self.members(), within).await
    }

    /// The member that leads in the place of this one.
    ///
    /// # Errors
    /// When none does within the time.
    pub async fn successor(&self, of: &str, within: Duration) -> Result<String> {
        let others: Vec<String> = self.members().into_iter().filter(|name| name != of).collect();
        self.leader_among(&others, within).await
    }

    async fn leader_among(&self, names: &[String], within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            // Those that stand still are waited for together.
            let asked = names.iter().map(|name| async move {
                let status = self.endpoint(name)?.status().await?;
                let own_id = status.header.map_or(0, |header| header.member_id);
                let leads = own_id != 0 && status.leader == own_id;
                Ok::<_, anyhow::Error>(leads.then(|| (status.raft_term, name.clone())))
            });
            let answers = futures::future::join_all(asked).await;
            match answers.into_iter().filter_map(|answer| answer.ok().flatten()).max() {
                Some((_, name)) => return Ok(name),
                None if Instant::now() > deadline => bail!("nobody leads within {within:?}"),
                None => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Adds rules for links, all at once, until `mend` of the same number. Hosts are the members and [`CLIENT`].
    ///
    /// # Errors
    /// When a link's host is unknown; then nothing has changed.
    pub fn impair(&mut self, fault: u64, rules: &BTreeMap<Link, Impairment>) -> Result<()> {
        self.network.impair(fault, rules)
    }

    /// Takes back what `impair` added under this number.
    pub fn mend(&mut self, fault: u64) {
        self.network.mend(fault);
    }

    /// Sends datagrams over each link, and says how many arrived: within half a second, and with processes that stand
    /// still too, for the datagrams are the harness's own.
    ///
    /// # Errors
    /// When a link's host is unknown.
    pub async fn probe(&mut self, links: &[Link]) -> Result<BTreeMap<Link, Probed>> {
        self.network.probe(links).await
    }

    /// What became of the packets of a link since it was first used.
    ///
    /// # Errors
    /// When a host is unknown.
    pub fn packets(&self, link: &Link) -> Result<Packets> {
        self.network.packets(link)
    }

    /// From now on the member's syncs do this.
    ///
    /// # Errors
    /// When they are not held: `hold_syncs`.
    pub fn rule_syncs(&mut self, name: &str, syncs: Syncs) -> Result<()> {
        self.held_syncs(name)?.set(syncs);
        Ok(())
    }

    /// How many syncs of the member were made to fail, or to take longer, so far.
    ///
    /// # Errors
    /// When they are not held.
    pub fn bent_syncs(&self, name: &str) -> Result<u64> {
        Ok(self.held_syncs(name)?.bent())
    }

    fn held_syncs(&self, name: &str) -> Result<&HeldSyncs> {
        let syncs = self.member(name)?.syncs.as_ref();
        syncs.with_context(|| format!("the syncs of {name} are not held"))
    }

    /// Shifts the wall clock of the member, whose process feels it within a second; says by how much the clock is ahead
    /// of the machine's now, in milliseconds.
    ///
    /// # Errors
    /// When its clock cannot be shifted: `fake_clocks`.
    pub fn shift_clock(&mut self, name: &str, shift_ms: i64) -> Result<i64> {
        let clock = self.member(name)?.clock.as_ref();
        let clock = clock.with_context(|| format!("the clock of {name} is the machine's"))?;
        clock.set(shift_ms)?;
        clock.seen_ms()
    }

    fn member(&self, name: &str) -> Result<&Member> {
        self.members.get(name).with_context(|| format!("there is no member {name}"))
    }

    fn member_mut(&mut self, name: &str) -> Result<&mut Member> {
        self.members.get_mut(name).with_context(|| format!("there is no member {name}"))
    }
}
