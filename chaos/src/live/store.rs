//! A store by its members' endpoints; a run works below a prefix of its own.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity as TlsIdentity};

use super::{Home, LEAVE_TRIES, Reach, Site, in_time};
use crate::client::{Identity, Prefix, Target};
use crate::workloads::after;

/// Everything that runs write is below this key.
pub const OWN: &str = "/navarch-chaos/";
/// The metadata of a status by which a server tells the name of its cluster.
const CLUSTER_NAME: &str = "navarch-cluster-name";
/// Reads of the past go back by no more than this, and there was nothing of ours.
const PAST: u64 = 1000;

struct Seen {
    status: pb::StatusResponse,
    cluster_name: Option<String>,
}

/// Asks every endpoint who it is.
pub(super) async fn find(endpoints: &[String], identity: Option<&Identity>) -> Result<Site> {
    ensure!(!endpoints.is_empty(), "--against names no endpoint");
    let mut clusters: BTreeMap<u64, &str> = BTreeMap::new();
    let mut members: BTreeMap<u64, &str> = BTreeMap::new();
    let (mut names, mut targets) = (BTreeMap::new(), Vec::new());
    let (mut name, mut version, mut revision) = (String::new(), String::new(), 0);
    for url in endpoints {
        let target = Target::at(url.as_str(), address(url, identity)?);
        let Seen { status, cluster_name } = in_time(url, see(&target)).await?;
        let header = status.header.unwrap_or_default();
        if targets.is_empty() {
            names = in_time(url, voters(&target)).await?;
            name = cluster_name.unwrap_or_else(|| format!("{:x}", header.cluster_id));
            version = status.version;
        }
        if let Some(first) = members.insert(header.member_id, url) {
            bail!("{first} and {url} are the same member: give each member's own endpoint");
        }
        clusters.insert(header.cluster_id, url);
        revision = revision.max(u64::try_from(header.revision).unwrap_or(0));
        targets.push(target.named(names.remove(&header.member_id).unwrap_or_else(|| url.clone())));
    }
    ensure!(clusters.len() == 1, "the endpoints are of {} clusters", clusters.len());
    let strangers = names.into_values().collect();
    Ok(Site { name, version, revision, strangers, reach: Reach::Store(targets) })
}

fn address(url: &str, identity: Option<&Identity>) -> Result<Endpoint> {
    let address = Endpoint::from_shared(url.to_owned()).with_context(|| format!("{url} is no endpoint"))?;
    let Some(identity) = identity.filter(|_| url.starts_with("https://")) else {
        return Ok(address);
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&identity.ca_pem));
    if !identity.certificate_pem.is_empty() {
        tls = tls.identity(TlsIdentity::from_pem(&identity.certificate_pem, &identity.key_pem));
    }
    address.tls_config(tls).context("the certificates cannot be used")
}

/// There is nothing to be made.
pub(super) fn settle(site: &Site, targets: &[Target], prefix: &str) -> Home {
    Home {
        members: site.members(),
        targets: targets.iter().map(|target| target.clone().below(Prefix::new(prefix))).collect(),
        apis: Vec::new(),
        namespace: String::new(),
        begin: site.revision.saturating_sub(PAST).max(1),
        heard_from: site.revision + 1,
        prefix: prefix.to_owned(),
    }
}

/// Deletes everything below a run's prefix.
pub(super) async fn leave(targets: &[Target], prefix: &str) -> Result<()> {
    ensure!(prefix.starts_with(OWN) && prefix.len() > OWN.len(), "{prefix} is not a run's own");
    for target in targets.iter().cycle().take(LEAVE_TRIES) {
        if in_time(&target.member, delete_all(target, prefix)).await.is_ok() {
            return Ok(());
        }
    }
    bail!("what the run wrote is still there: remove it with `etcdctl del --prefix {prefix}`")
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
