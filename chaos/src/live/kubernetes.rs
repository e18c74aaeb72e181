//! A cluster by its Kubernetes API alone, whoever made it; a run works in a namespace of its own.
//!
//! Nothing is asked for that only our own API servers have.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Home, LEAVE_TRIES, Reach, Site};
use crate::client::{ApiTarget, Identity, Refusal};
use crate::history::version;

/// The label of a run's namespace; its value names the run's folder.
pub const LABEL: &str = "navarch-chaos";
/// What every cluster has, and no two have under one uid.
const OF_EVERY_CLUSTER: &str = "/api/v1/namespaces/kube-system";
/// How long a namespace may take to be gone; others clean up in it.
const GONE_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A context of a kubeconfig: which server, asked by whom.
#[derive(Clone, Debug)]
pub struct Context {
    pub name: String,
    /// As the kubeconfig names them.
    pub cluster: String,
    pub user: String,
    /// `https://HOST:PORT`
    pub server: String,
    /// The name for which the server's certificate is, if not that of its address.
    pub server_name: Option<String>,
    /// Without a certificate, if the user shows none.
    pub identity: Identity,
    pub token: Option<String>,
}

impl Context {
    fn target(&self) -> Result<ApiTarget> {
        let target = ApiTarget::new(&self.name, &self.server, &self.identity)
            .with_context(|| format!("context {} cannot be used", self.name))?;
        let target = match &self.server_name {
            Some(name) => target.certified_as(name)?,
            None => target,
        };
        Ok(match &self.token {
            Some(token) => target.with_token(token),
            None => target,
        })
    }

    /// Why a question came to nothing, and what one might do about it.
    fn explain(&self, refusal: Refusal) -> anyhow::Error {
        let Self { name, user, .. } = self;
        let words = if refusal.is_unauthenticated() {
            format!("context {name}: the server does not know {user}, or not any more")
        } else if refusal.is_forbidden() {
            format!("context {name}: {user} may not do that")
        } else {
            format!("context {name}")
        };
        anyhow::Error::new(refusal).context(words)
    }
}

/// Asks every context's server who it is.
pub(super) async fn find(contexts: &[Context]) -> Result<Site> {
    let first = contexts.first().context("no context was given")?;
    let mut site: Option<(Site, Vec<ApiTarget>)> = None;
    let mut cluster = None;
    for (number, context) in contexts.iter().enumerate() {
        if let Some(twin) = contexts[..number].iter().find(|other| other.server == context.server) {
            bail!("contexts {} and {} are of the same server", twin.name, context.name);
        }
        let target = context.target()?;
        let told = target.get("/version").await.map_err(|refusal| context.explain(refusal))?;
        if contexts.len() > 1 {
            let uid = identify(&target).await.map_err(|refusal| context.explain(refusal))?;
            let of_first = cluster.get_or_insert_with(|| uid.clone());
            ensure!(
                *of_first == uid,
                "contexts {} and {} are of different clusters",
                first.name,
                context.name
            );
        }
        let (_, targets) = site.get_or_insert_with(|| {
            let version = told["gitVersion"].as_str().unwrap_or("Kubernetes").to_owned();
            (site_of(first.cluster.clone(), version), Vec::new())
        });
        targets.push(target);
    }
    let (site, targets) = site.context("no context was given")?;
    Ok(Site { reach: Reach::Kubernetes(targets), ..site })
}

fn site_of(name: String, version: String) -> Site {
    Site { name, version, revision: 0, strangers: Vec::new(), reach: Reach::Kubernetes(Vec::new()) }
}

async fn identify(target: &ApiTarget) -> Result<String, Refusal> {
    let told = target.get(OF_EVERY_CLUSTER).await?;
    Ok(told["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
}

/// Makes the namespace, and hears at which revision there was nothing in it.
pub(super) async fn settle(site: &Site, apis: &[ApiTarget], run: &str, suffix: &str) -> Result<Home> {
    let namespace = format!("{LABEL}-{suffix}");
    let made = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {LABEL: run}},
    });
    let first = apis.first().context("no context was given")?;
    if let Err(refusal) = first.post("/api/v1/namespaces", &made).await {
        let words = format!("context {}: cannot make a namespace to work in", first.member);
        return Err(anyhow::Error::new(refusal).context(words));
    }
    let begin = match empty(first, &namespace).await {
        Ok(begin) => begin,
        Err(error) => {
            leave(apis, &namespace).await?;
            return Err(error);
        }
    };
    Ok(Home {
        members: site.members(),
        targets: Vec::new(),
        apis: apis.to_vec(),
        namespace,
        begin,
        heard_from: begin + 1,
        prefix: String::new(),
    })
}

/// The revision of a list of what is there.
async fn empty(api: &ApiTarget, namespace: &str) -> Result<u64> {
    let listed = api.get(&format!("/api/v1/namespaces/{namespace}/configmaps?limit=1")).await;
    let listed: Value = listed.with_context(|| format!("context {}: cannot list", api.member))?;
    let begin = version(&listed);
    ensure!(begin > 0, "context {}: the server's resourceVersions are no numbers", api.member);
    Ok(begin)
}

/// Deletes the namespace, and waits until it is gone.
pub(super) async fn leave(apis: &[ApiTarget], namespace: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}");
    let by_hand = || format!("remove it with `kubectl delete namespace {namespace}`");
    let mut deleted = Ok(());
    for api in apis.iter().cycle().take(LEAVE_TRIES) {
        deleted = match api.delete(&path).await {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_not_found() => return Ok(()),
            Err(refusal) => Err(refusal),
        };
        if deleted.is_ok() {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    deleted.with_context(|| format!("the run's namespace is still there: {}", by_hand()))?;
    let until = Instant::now() + GONE_MAX;
    for api in apis.iter().cycle() {
        if api.get(&path).await.is_err_and(|refusal| refusal.is_not_found()) {
            return Ok(());
        }
        if Instant::now() > until {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    bail!(
        "the run's namespace was deleted and is not gone after {GONE_MAX:?}: look with `kubectl get namespace {namespace}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str, server: &str) -> Context {
        let identity =
            Identity { ca_pem: String::new(), certificate_pem: String::new(), key_pem: String::new() };
        Context {
            name: name.to_owned(),
            cluster: "theirs".to_owned(),
            user: "admin".to_owned(),
            server: server.to_owned(),
            server_name: None,
            identity,
            token: None,
        }
    }

    async fn refusal(contexts: &[Context]) -> String {
        format!("{:#}", find(contexts).await.unwrap_err())
    }

    #[tokio::test]
    async fn who_cannot_be_found_is_named() {
        // Nobody listens there any more.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let there = listener.local_addr().unwrap();
        drop(listener);
        let gone = context("theirs", &format!("http://{there}"));
        let said = refusal(std::slice::from_ref(&gone)).await;
        assert!(said.starts_with(&format!("context theirs: {there} cannot be reached")), "{said}");
        let said = refusal(&[context("odd", "https://127.0.0.1:1")]).await;
        assert!(said.starts_with("context odd cannot be used: no certificate"), "{said}");
        assert_eq!(refusal(&[]).await, "no context was given");
    }
}
