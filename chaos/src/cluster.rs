//! A cluster of real server processes on this machine, inside the harness's own namespaces.
//!
//! Dropping it kills the processes. `enter_own_namespaces` comes first: then even a harness that is killed leaves
//! nothing behind.

mod certificates;
mod command;
mod endpoint;
mod kernel;
mod namespace;
mod network;
mod process;

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

use certificates::Certificates;
pub use endpoint::Endpoint;
pub use namespace::{NetworkNamespace, enter_own_namespaces, in_own_namespaces};
use process::{Process, how_it_ended};

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
    /// More flags for every server, as `--name=value`.
    pub flags: Vec<String>,
}

/// A running cluster. Members are named `n1`, `n2` … in the order in which they were made.
pub struct Cluster {
    options: ClusterOptions,
    certificates: Certificates,
    members: BTreeMap<String, Member>,
    /// The names that founded the cluster.
    founders: Vec<String>,
    /// Whatever it starts dies with it.
    nursery: OwnThread,
}

struct Member {
    address: Ipv4Addr,
    /// Of its log and its data.
    dir: PathBuf,
    process: Process,
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
        let mut cluster =
            Self { founders: Vec::new(), members: BTreeMap::new(), options, certificates, nursery };
        network::ip(&["link", "set", "lo", "up"])?;
        for number in 1..=cluster.options.servers {
            let name = cluster.prepare(number)?;
            cluster.founders.push(name);
        }
        for name in cluster.members() {
            cluster.start_member(&name).await?;
        }
        for name in cluster.members() {
            cluster.wait_ready(&name, READY_MAX).await?;
        }
        Ok(cluster)
    }

    /// Everything that a member needs before it is started the first time.
    fn prepare(&mut self, number: u8) -> Result<String> {
        let name = format!("n{number}");
        let address = network::address(number);
        network::ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
        self.certificates.add_member(&name, &address.to_string())?;
        let dir = self.options.dir.join(&name);
        fs::create_dir_all(dir.join("disk")).with_context(|| format!("cannot create {}", dir.display()))?;
        let process = Process::new(&name, dir.join("log"));
        self.members.insert(name.clone(), Member { address, dir, process });
        Ok(name)
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
        let command = self.command(name)?;
        let nursery = &self.nursery;
        let member = self.members.get_mut(name).with_context(|| format!("there is no member {name}"))?;
        member.process.start(command, nursery).await
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

    /// Waits until the member answers a read with consensus; says how long that took.
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
            match endpoint.read().await {
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
        let deadline = Instant::now() + within;
        loop {
            let mut found: Option<(u64, String)> = None;
            for name in self.members() {
                let Ok(status) = self.endpoint(&name)?.status().await else { continue };
                let own_id = status.header.map_or(0, |header| header.member_id);
                if status.leader == own_id && own_id != 0 {
                    found = found.max(Some((status.raft_term, name)));
                }
            }
            match found {
                Some((_, name)) => return Ok(name),
                None if Instant::now() > deadline => bail!("nobody leads within {within:?}"),
                None => sleep(LOOK_EVERY).await,
            }
        }
    }

    fn member(&self, name: &str) -> Result<&Member> {
        self.members.get(name).with_context(|| format!("there is no member {name}"))
    }

    fn member_mut(&mut self, name: &str) -> Result<&mut Member> {
        self.members.get_mut(name).with_context(|| format!("there is no member {name}"))
    }
}
