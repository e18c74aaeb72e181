//! A cluster that belongs to somebody: found by its endpoints, used below a prefix of its own, broken only by who can
//! say its name, and only by what heals by itself.

mod nemesis;
mod pause;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity as TlsIdentity};

use crate::client::{Identity, Prefix, Target};
use crate::scenario::Terms;
use crate::workloads::after;

pub(crate) use nemesis::LiveNemesis;

/// Everything that runs write is below this key.
pub const OWN: &str = "/navarch-chaos/";
/// The metadata of a status by which a server tells the name of its cluster.
const CLUSTER_NAME: &str = "navarch-cluster-name";
/// How long one question may take.
const ASK_MAX: Duration = Duration::from_secs(3);
const EMPTY_TRIES: usize = 10;

/// Which cluster, and what may be done to it.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// `https://HOST:PORT` or `http://HOST:PORT`, of every member.
    pub endpoints: Vec<String>,
    pub identity: Option<Identity>,
    pub terms: Terms,
    /// The name that the user typed.
    pub cluster_name: Option<String>,
    /// Members whose processes run on this machine.
    pub pids: BTreeMap<String, u32>,
}

/// The cluster as it says that it is.
#[derive(Debug)]
pub struct Site {
    /// As its servers say, or, where they say nothing, its number in hexadecimal.
    pub name: String,
    pub version: String,
    pub revision: u64,
    /// Named as the cluster names its members, in the order of the endpoints.
    pub targets: Vec<Target>,
    /// Members that vote and were not given as endpoints.
    pub strangers: Vec<String>,
}

struct Seen {
    status: pb::StatusResponse,
    cluster_name: Option<String>,
}

impl Live {
    /// Asks every endpoint who it is.
    ///
    /// # Errors
    /// When one does not answer, two are one member, or they are not of one cluster.
    pub async fn find(&self) -> Result<Site> {
        ensure!(!self.endpoints.is_empty(), "--against names no endpoint");
        let mut site: Option<Site> = None;
        let mut clusters: BTreeMap<u64, &str> = BTreeMap::new();
        let mut members: BTreeMap<u64, &str> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for url in &self.endpoints {
            let target = Target::at(url.as_str(), self.address(url)?);
            let Seen { status, cluster_name } = in_time(url, see(&target)).await?;
            let header = status.header.unwrap_or_default();
            if site.is_none() {
                names = in_time(url, voters(&target)).await?;
            }
            if let Some(first) = members.insert(header.member_id, url) {
                bail!("{first} and {url} are the same member: give each member's own endpoint");
            }
            clusters.insert(header.cluster_id, url);
            let name = names.remove(&header.member_id).unwrap_or_else(|| url.clone());
            let site = site.get_or_insert_with(|| Site {
                name: cluster_name.unwrap_or_else(|| format!("{:x}", header.cluster_id)),
                version: status.version.clone(),
                revision: 0,
                targets: Vec::new(),
                strangers: Vec::new(),
            });
            site.revision = site.revision.max(u64::try_from(header.revision).unwrap_or(0));
            site.targets.push(target.named(name));
        }
        ensure!(clusters.len() == 1, "the endpoints are of {} clusters", clusters.len());
        let mut site = site.context("no endpoint answered")?;
        site.strangers = names.into_values().collect();
        self.confirm(&site)?;
        Ok(site)
    }

    /// Faults are for who can say the name of the cluster, and for clusters that are whole.
    fn confirm(&self, site: &Site) -> Result<()> {
        if !self.terms.faults {
            return Ok(());
        }
        let name = &site.name;
        match &self.cluster_name {
            Some(typed) if typed == name => {}
            Some(typed) => bail!(
                "this cluster is {name}, not {typed}: nothing was done; type --cluster-name {name} to break it"
            ),
            None => bail!("--faults needs the name of the cluster: type --cluster-name {name} to break it"),
        }
        ensure!(
            site.strangers.is_empty(),
            "not every member was given as an endpoint ({} missing): nothing was done",
            site.strangers.join(", ")
        );
        let known = |name: &String| site.targets.iter().any(|target| target.member == *name);
        if let Some(stranger) = self.pids.keys().find(|name| !known(name)) {
            bail!("--pid names {stranger}, which is no member");
        }
        Ok(())
    }

    fn address(&self, url: &str) -> Result<Endpoint> {
        let address =
            Endpoint::from_shared(url.to_owned()).with_context(|| format!("{url} is no endpoint"))?;
        let Some(identity) = self.identity.as_ref().filter(|_| url.starts_with("https://")) else {
            return Ok(address);
        };
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&identity.ca_pem));
        if !identity.certificate_pem.is_empty() {
            tls = tls.identity(TlsIdentity::from_pem(&identity.certificate_pem, &identity.key_pem));
        }
        address.tls_config(tls).context("the certificates cannot be used")
    }
}

impl Site {
    /// The members as a run sees them, which knows nothing but what is below its own prefix.
    pub fn below(&self, prefix: &str) -> Vec<Target> {
        self.targets.iter().map(|target| target.clone().below(Prefix::new(prefix))).collect()
    }

    /// Deletes everything below a run's prefix.
    ///
    /// # Errors
    /// When no member does it; with what does it by hand.
    pub async fn empty(&self, prefix: &str) -> Result<()> {
        ensure!(prefix.starts_with(OWN) && prefix.len() > OWN.len(), "{prefix} is not a run's own");
        for number in 0..EMPTY_TRIES {
            let target = &self.targets[number % self.targets.len()];
            if in_time(&target.member, delete_all(target, prefix)).await.is_ok() {
                return Ok(());
            }
        }
        bail!("what the run wrote is still there: remove it with `etcdctl del --prefix {prefix}`")
    }
}

async fn in_time<T>(whom: &str, question: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(ASK_MAX, question).await;
    answer.with_context(|| format!("{whom} has not answered within {ASK_MAX:?}"))?
}

async fn see(target: &Target) -> Result<Seen> {
    let mut asked = MaintenanceClient::new(target.connect());
    let answer = asked.status(pb::StatusRequest {}).await;
    let answer = answer.with_context(|| format!("{} tells no status", target.member))?;
    let said = answer.metadata().get(CLUSTER_NAME).and_then(|name| name.to_str().ok());
    let cluster_name = said.map(str::to_owned);
    Ok(Seen { cluster_name, status: answer.into_inner() })
}

/// The names of those who vote, by their numbers.
async fn voters(target: &Target) -> Result<BTreeMap<u64, String>> {
    let mut asked = ClusterClient::new(target.connect());
    let listed = asked.member_list(pb::MemberListRequest { linearizable: true }).await;
    let listed = listed.with_context(|| format!("{} lists no members", target.member))?.into_inner();
    let voters = listed.members.into_iter().filter(|member| !member.is_learner);
    Ok(voters.map(|member| (member.id, member.name)).collect())
}

async fn delete_all(target: &Target, prefix: &str) -> Result<()> {
    let (key, range_end) = (prefix.to_owned().into(), after(prefix).into());
    let request = pb::DeleteRangeRequest { key, range_end, prev_kv: false };
    KvClient::new(target.connect()).delete_range(request).await.context("not deleted")?;
    Ok(())
}
