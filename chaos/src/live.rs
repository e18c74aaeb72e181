//! A cluster that belongs to somebody: found by its endpoints or a kubeconfig, used in a place of its own, broken only by
//! who can say its name, and only by what heals by itself.

mod kubernetes;
mod nemesis;
mod pause;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::client::{ApiTarget, Identity, Target};
use crate::scenario::{Terms, Through};

pub use kubernetes::{Context, LABEL};
pub(crate) use nemesis::LiveNemesis;
pub use store::OWN;

/// How long one question may take.
const ASK_MAX: Duration = Duration::from_secs(3);
/// How often it is tried to leave nothing behind.
const LEAVE_TRIES: usize = 10;

/// Which cluster, and what may be done to it.
#[derive(Clone, Debug)]
pub struct Live {
    pub way: Way,
    pub faults: bool,
    /// Compaction and the like.
    pub destructive: bool,
    /// The name that the user typed.
    pub cluster_name: Option<String>,
    /// Members whose processes run on this machine.
    pub pids: BTreeMap<String, u32>,
}

/// How to get there.
#[derive(Clone, Debug)]
pub enum Way {
    Store {
        /// `https://HOST:PORT` or `http://HOST:PORT`, of every member.
        endpoints: Vec<String>,
        identity: Option<Identity>,
    },
    /// Each an API server of the same cluster.
    Kubernetes(Vec<Context>),
}

/// The cluster as it says that it is.
#[derive(Debug)]
pub struct Site {
    /// As its servers say, or, where they say nothing, its number in hexadecimal; of a kubeconfig, as that says.
    pub name: String,
    pub version: String,
    /// Zero, where it is not told.
    revision: u64,
    /// Members that vote and were not given as endpoints.
    strangers: Vec<String>,
    reach: Reach,
}

/// In the order in which they were given.
#[derive(Debug)]
enum Reach {
    /// Named as the cluster names its members.
    Store(Vec<Target>),
    /// Named as the kubeconfig names its contexts.
    Kubernetes(Vec<ApiTarget>),
}

/// What is a run's own in a cluster.
#[derive(Clone, Debug)]
pub struct Home {
    pub members: Vec<String>,
    /// As a run sees them, which knows nothing but what is its own.
    pub targets: Vec<Target>,
    pub apis: Vec<ApiTarget>,
    /// Of the Kubernetes API.
    pub namespace: String,
    /// A revision at which there was nothing of the run's.
    pub begin: u64,
    /// The revision from which on everything of the run's is heard.
    pub heard_from: u64,
    /// Below this prefix, where there are targets.
    prefix: String,
}

impl Live {
    pub const fn terms(&self) -> Terms {
        let through = match self.way {
            Way::Store { .. } => Through::Store,
            Way::Kubernetes(_) => Through::Kubernetes,
        };
        Terms { through, faults: self.faults, destructive: self.destructive }
    }

    /// Asks every server who it is.
    ///
    /// # Errors
    /// When one does not answer, two are one member, or they are not of one cluster; when faults are not confirmed.
    pub async fn find(&self) -> Result<Site> {
        let site = match &self.way {
            Way::Store { endpoints, identity } => store::find(endpoints, identity.as_ref()).await?,
            Way::Kubernetes(contexts) => kubernetes::find(contexts).await?,
        };
        self.confirm(&site)?;
        Ok(site)
    }

    /// Faults are for who can say the name of the cluster, and for clusters that are whole.
    fn confirm(&self, site: &Site) -> Result<()> {
        if !self.faults {
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
        let members = site.members();
        if let Some(stranger) = self.pids.keys().find(|name| !members.contains(name)) {
            bail!("--pid names {stranger}, which is no member: {} are", members.join(", "));
        }
        Ok(())
    }
}

impl Site {
    pub fn members(&self) -> Vec<String> {
        match &self.reach {
            Reach::Store(targets) => targets.iter().map(|target| target.member.clone()).collect(),
            Reach::Kubernetes(apis) => apis.iter().map(|api| api.member.clone()).collect(),
        }
    }

    /// Makes a place for a run: `run` names its folder, and `suffix` was given to no other.
    ///
    /// # Errors
    /// When it cannot be made, or is not allowed.
    pub async fn settle(&self, run: &str, suffix: &str) -> Result<Home> {
        match &self.reach {
            Reach::Store(targets) => Ok(store::settle(self, targets, &format!("{OWN}{run}-{suffix}/"))),
            Reach::Kubernetes(apis) => kubernetes::settle(self, apis, run, suffix).await,
        }
    }
}

impl Home {
    /// For people: where it is.
    pub fn tell(&self) -> String {
        if self.targets.is_empty() {
            format!("in namespace {}", self.namespace)
        } else {
            format!("below {}", self.prefix)
        }
    }

    /// Deletes everything of the run.
    ///
    /// # Errors
    /// When nobody does it; with what does it by hand.
    pub async fn leave(&self) -> Result<()> {
        if self.targets.is_empty() {
            kubernetes::leave(&self.apis, &self.namespace).await
        } else {
            store::leave(&self.targets, &self.prefix).await
        }
    }
}

async fn in_time<T>(whom: &str, question: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(ASK_MAX, question).await;
    answer.with_context(|| format!("{whom} has not answered within {ASK_MAX:?}"))?
}
