//! Members that come and go while the cluster runs.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, sleep};

use super::admin::Listed;
use super::{Cluster, LOOK_EVERY, PEER_PORT, Seat, System};

/// How long the cluster may take to change its members.
const CHANGED_MAX: Duration = Duration::from_secs(30);
/// How long a member that was removed may take to notice.
const NOTICED_MAX: Duration = Duration::from_secs(10);

impl Cluster {
    /// Removes the member from the cluster, waits until its process has noticed or kills it, and forgets its data.
    ///
    /// # Errors
    /// When no other member can be asked, or they do not agree in time.
    pub async fn remove_member(&mut self, name: &str) -> Result<String> {
        let id = self.listed(name).await?.with_context(|| format!("{name} is no member"))?.id;
        self.until_done(name, async |other| other.remove(id).await).await?;
        let noticed = match self.is_running(name)? {
            true => match self.ended(name, NOTICED_MAX).await {
                Ok(how) => how,
                Err(_) => self.kill(name).await?,
            },
            false => "did not run".to_owned(),
        };
        self.wipe(name)?;
        self.member_mut(name)?.seat = Seat::Late { peers: String::new() };
        Ok(format!("{name} was removed, id {id:x}, and {noticed}"))
    }

    /// Has a member that was removed, or never was one, join the running cluster with an empty disk, and waits until it
    /// votes.
    ///
    /// # Errors
    /// When it does not vote in time.
    pub async fn join_member(&mut self, name: &str) -> Result<String> {
        if self.options.system == System::Etcd {
            let peer_url = format!("https://{}:{PEER_PORT}", self.member(name)?.address);
            let added = self.others(name)?.first().context("nobody runs")?.list().await?;
            if !added.iter().any(|listed| listed.peer_urls.contains(&peer_url)) {
                self.until_done(name, async |other| other.add(peer_url.clone()).await).await?;
            }
            self.member_mut(name)?.seat = Seat::Late { peers: self.etcd_peers(name).await? };
        }
        self.start_member(name).await?;
        self.wait_ready(name, CHANGED_MAX).await?;
        Ok(format!("{name} votes"))
    }

    /// A member that was never one, named `n` and a number that no other has; it is to be joined.
    ///
    /// # Errors
    /// When the name is none or taken, or its network or disk cannot be made.
    pub async fn add_member(&mut self, name: &str) -> Result<()> {
        let number = name.strip_prefix('n').and_then(|number| number.parse().ok());
        let number = number.filter(|number| (1..=100).contains(number));
        let number: u8 = number.with_context(|| format!("{name} is no name for a member"))?;
        ensure!(!self.members.contains_key(name), "{name} is a member already");
        self.prepare(name, number, Seat::Late { peers: String::new() }).await
    }

    /// Whatever became of a member: has it run and be one, with an empty disk if the others have removed it.
    ///
    /// # Errors
    /// When it cannot be brought back in time.
    pub async fn bring_back(&mut self, name: &str) -> Result<String> {
        if self.listed(name).await?.is_some_and(|listed| listed.name == name) {
            return Ok(match self.is_running(name)? {
                true => format!("{name} runs"),
                false => {
                    self.start_member(name).await?;
                    format!("{name} is started")
                }
            });
        }
        if self.is_running(name)? {
            self.kill(name).await?;
        }
        self.wipe(name)?;
        self.member_mut(name)?.seat = Seat::Late { peers: String::new() };
        self.join_member(name).await
    }

    /// Forgets a member that was removed.
    ///
    /// # Errors
    /// When there is no such member, or its files cannot be removed.
    pub fn forget_member(&mut self, name: &str) -> Result<()> {
        let member = self.members.remove(name).with_context(|| format!("there is no member {name}"))?;
        self.network.leave(name);
        let dir = member.dir.clone();
        drop(member);
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
    }

    /// Has `to` lead.
    ///
    /// # Errors
    /// When the leader does not hand over to it.
    pub async fn move_leader(&self, to: &str) -> Result<()> {
        let target = self.listed(to).await?.with_context(|| format!("{to} is no member"))?.id;
        let leader = self.leader(CHANGED_MAX).await?;
        if leader != to {
            self.endpoint(&leader)?.move_leader(target).await?;
        }
        Ok(())
    }

    /// Forgets the history before the newest revision; says which.
    ///
    /// # Errors
    /// When no member does it in time.
    pub async fn compact(&self) -> Result<i64> {
        let leader = self.endpoint(&self.leader(CHANGED_MAX).await?)?;
        let revision = leader.status().await?.header.map_or(0, |header| header.revision);
        leader.compact(revision).await?;
        Ok(revision)
    }

    /// # Errors
    /// When the member does not do it in time.
    pub async fn defragment(&self, name: &str) -> Result<()> {
        self.endpoint(name)?.defragment().await
    }

    /// Reads a snapshot of a member; says how many bytes it has.
    ///
    /// # Errors
    /// When it is not whole in time.
    pub async fn take_snapshot(&self, name: &str) -> Result<usize> {
        self.endpoint(name)?.snapshot().await
    }

    /// Whether the others know it as a member.
    ///
    /// # Errors
    /// When none of them can be asked.
    pub async fn is_listed(&self, name: &str) -> Result<bool> {
        Ok(self.listed(name).await?.is_some())
    }

    /// The member in the cluster's own list, as the others tell it.
    async fn listed(&self, name: &str) -> Result<Option<Listed>> {
        let own_url = format!("https://{}:{PEER_PORT}", self.member(name)?.address);
        let mut last = None;
        for other in self.others(name)? {
            match other.list().await {
                Ok(list) => {
                    let is_it = |listed: &Listed| listed.name == name || listed.peer_urls.contains(&own_url);
                    return Ok(list.into_iter().find(is_it));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("there is nobody to ask")))
    }

    /// Asks the others in turn until one has done it: a change may have to wait for the one before.
    async fn until_done(
        &self,
        except: &str,
        ask: impl AsyncFn(&super::Endpoint) -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + CHANGED_MAX;
        loop {
            for other in self.others(except)? {
                match ask(&other).await {
                    Ok(()) => return Ok(()),
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => sleep(LOOK_EVERY).await,
                }
            }
        }
    }

    /// The endpoints of all members but this.
    fn others(&self, except: &str) -> Result<Vec<super::Endpoint>> {
        self.members.keys().filter(|name| *name != except).map(|name| self.endpoint(name)).collect()
    }

    /// `--initial-cluster` of a member that joins: everyone of the list, itself with its name.
    async fn etcd_peers(&self, name: &str) -> Result<String> {
        let own_url = format!("https://{}:{PEER_PORT}", self.member(name)?.address);
        let list = self.others(name)?.first().context("nobody runs")?.list().await?;
        let peers = list.iter().filter_map(|listed| {
            let url = listed.peer_urls.first()?;
            let known_as = if *url == own_url { name } else { &listed.name };
            Some(format!("{known_as}={url}"))
        });
        Ok(peers.collect::<Vec<_>>().join(","))
    }
}
