//! ServiceAccount: a pod runs as an account that exists, as `default` if it names none, with its pull secrets and a
//! volume with its token.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::core::pod::MIRROR;
use kinds::{meta, tree};
use serde_json::{Value, json};

use super::{Admit, Attempt, Plugin};
use crate::object::Stored;
use crate::status::Status;
use crate::storage::Freshness;

pub(super) const PLUGIN: Plugin = Plugin { name: "ServiceAccount", admit: Admit::Reading(admit) };

const DEFAULT: &str = "default";
/// How long a pod waits for the account that every namespace gets.
const DEFAULT_ACCOUNT_WAIT_MAX: Duration = Duration::from_secs(3);

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const SUFFIX_LEN: usize = 5;
/// An hour, and what tells these tokens from those that somebody asked for.
const EXPIRATION_SECONDS: i64 = 60 * 60 + 7;

/// What a pod gets of its service account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodAccounts {
    /// The account's name, whether there is such an account or not.
    #[default]
    Named,
    /// That, the account's pull secrets, and a volume with its token; pods of accounts that do not exist are refused.
    Projected,
}

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if !attempt.creates("", "Pod") {
            return Ok(());
        }
        if meta::annotation(attempt.object, MIRROR).is_some() {
            return check_mirror(attempt);
        }
        tree::set_default_text(attempt.object, "spec.serviceAccountName", DEFAULT);
        let name = tree::text(attempt.object, "spec.serviceAccountName").to_owned();
        // The old name of the same field, which clients still read.
        tree::set(attempt.object, "spec.serviceAccount", name.as_str());
        let accounts = attempt.call.server.pod_accounts;
        if accounts == PodAccounts::Named {
            return Ok(());
        }
        let account = account(attempt, &name).await?;
        if wants_token(attempt.object, &account) {
            let volume = format!("{VOLUME_PREFIX}{}", attempt.call.server.entropy.name_suffix(SUFFIX_LEN));
            project(attempt.object, &volume);
        }
        if tree::items(attempt.object, "spec.imagePullSecrets").is_empty() {
            let own = tree::get(&account, "imagePullSecrets");
            if own.is_array() {
                tree::set(attempt.object, "spec.imagePullSecrets", own.clone());
            }
        }
        Ok(())
    }
    .boxed()
}

/// What a node runs by itself has nobody's rights.
fn check_mirror(attempt: &Attempt<'_>) -> Result<(), Status> {
    let why = if !tree::text(attempt.object, "spec.serviceAccountName").is_empty() {
        "a mirror pod may not reference service accounts"
    } else if tree::items(attempt.object, "spec.volumes").iter().any(has_token) {
        "a mirror pod may not use ServiceAccountToken volume projections"
    } else {
        return Ok(());
    };
    Err(Status::forbidden_object(attempt.call.kind, attempt.name, why))
}

async fn account(attempt: &Attempt<'_>, name: &str) -> Result<Value, Status> {
    let scope = attempt.scope("", "serviceaccounts", Some(attempt.namespace))?;
    let found = match attempt.find(&scope, name).await? {
        None if name == DEFAULT => awaited(attempt, &scope.key(name)).await?,
        found => found,
    };
    let Some(found) = found else {
        let why = format!(
            "error looking up service account {}/{name}: serviceaccount {name:?} not found",
            attempt.namespace
        );
        return Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why));
    };
    found.parse()
}

/// The account of `key`, which a controller is about to make.
async fn awaited(attempt: &Attempt<'_>, key: &str) -> Result<Option<Stored>, Status> {
    let storage = attempt.call.storage;
    let mut news = storage.watch(key, None)?;
    if let Some(found) = storage.get(key, Freshness::Newest).await? {
        return Ok(Some(found));
    }
    // Whatever came, or nothing: what is there now decides.
    let _in_time = tokio::time::timeout(DEFAULT_ACCOUNT_WAIT_MAX, news.next()).await;
    storage.get(key, Freshness::Newest).await
}

/// The pod's word counts before the account's.
fn wants_token(pod: &Value, account: &Value) -> bool {
    let of_pod = tree::get(pod, "spec.automountServiceAccountToken").as_bool();
    of_pod.or_else(|| tree::get(account, "automountServiceAccountToken").as_bool()).unwrap_or(true)
}

/// Gives every container the token, unless it has something else in its place.
fn project(pod: &mut Value, fresh: &str) {
    let own = tree::items(pod, "spec.volumes")
        .iter()
        .find(|volume| tree::text(volume, "name").starts_with(VOLUME_PREFIX) && has_token(volume));
    let name = own.map_or(fresh, |volume| tree::text(volume, "name")).to_owned();
    let has_volume = own.is_some();
    let mut is_used = false;
    for list in ["spec.initContainers", "spec.containers"] {
        for container in tree::items_mut(pod, list) {
            let taken = tree::items(container, "volumeMounts")
                .iter()
                .any(|mount| tree::text(mount, "mountPath") == MOUNT_PATH);
            if !taken {
                append(
                    container,
                    "volumeMounts",
                    json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}),
                );
                is_used = true;
            }
        }
    }
    if is_used && !has_volume {
        append(pod, "spec.volumes", volume(&name));
    }
}

fn append(object: &mut Value, path: &str, item: Value) {
    tree::set_default(object, path, json!([]));
    if let Some(items) = tree::get_mut(object, path).and_then(Value::as_array_mut) {
        items.push(item);
    }
}

fn has_token(volume: &Value) -> bool {
    let sources = tree::items(volume, "projected.sources");
    sources.iter().any(|source| !tree::get(source, "serviceAccountToken").is_null())
}

/// The token, by whom to know the server, and where the pod is.
fn volume(name: &str) -> Value {
    let namespace = json!({
        "path": "namespace",
        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
    });
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": EXPIRATION_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    })
}
