//! Custom kinds at this server: which there are, as the store's definitions say, and how the objects of versions that are
//! not stored lie in the store.
//!
//! Every server watches the definitions in its own store, so a change is in force one delivery later, without a word
//! between servers. Of several versions one is stored. Those of custom kinds are served by writing their name in and going
//! by their schema, those of kinds of this program by their conversion.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kinds::Kind;
use kinds::apiextensions::custom_resource_definition::CUSTOM_RESOURCE_DEFINITION;
use kinds::custom::Definition;
use store::WatchError;
use tokio_util::sync::CancellationToken;

use crate::object::{Stored, encode};
use crate::server::{ApiServer, Shared};
use crate::status::Status;
use crate::storage::{Freshness, Scope};

/// How soon the definitions are read again when the store could not be asked.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A stored object as `kind` serves it: in its version, a custom one with its schema's defaults.
pub(crate) fn as_served(kind: &Kind, stored: Stored) -> Result<Stored, Status> {
    if kind.custom.is_none() && kind.conversion.is_none() {
        return Ok(stored);
    }
    let mut object = stored.parse()?;
    match kind.custom {
        Some(custom) => custom.as_served(&mut object, &kind.api_version()),
        None => kind.serve(&mut object),
    }
    Ok(Stored { json: encode(kind, object), revision: stored.revision })
}

/// What [`encode`] made, in the version that is stored.
pub(crate) fn as_stored(kind: &'static Kind, json: &Bytes) -> Bytes {
    if kind.conversion.is_some() {
        return match serde_json::from_slice(json) {
            Ok(mut object) => {
                kind.store(&mut object);
                encode(kind.stored(), object)
            }
            // What was just written as JSON can be read.
            Err(_) => json.clone(),
        };
    }
    let api_version = kind.api_version();
    let Some(custom) = kind.custom.filter(|custom| custom.storage_api_version != api_version) else {
        return json.clone();
    };
    let head = |api_version: &str| format!("{{\"kind\":\"{}\",\"apiVersion\":\"{api_version}\"", kind.kind);
    match json.strip_prefix(head(&api_version).as_bytes()) {
        Some(rest) => [head(&custom.storage_api_version).as_bytes(), rest].concat().into(),
        None => json.clone(),
    }
}

impl ApiServer {
    /// Serves the custom kinds that the store's definitions say, until `stop`.
    pub async fn follow_definitions(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        loop {
            if let Err(status) = follow_once(&self.shared).await {
                tracing::debug!(
                    message = status.message(),
                    "the definitions of custom kinds cannot be read now"
                );
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Reads all definitions, then follows their changes while the store's history allows.
async fn follow_once(server: &Shared) -> Result<(), Status> {
    let prefix = Scope { kind: &CUSTOM_RESOURCE_DEFINITION, namespace: None }.prefix();
    let page = server.storage.page(&prefix, "", 0, Freshness::Any).await?;
    let mut served = BTreeMap::new();
    for (key, stored) in &page.items {
        served.insert(key.clone(), kinds_of(server, stored));
    }
    publish(server, &served);
    let mut watcher = server.storage.watch(&prefix, Some(page.revision.next()))?;
    loop {
        let batch = match watcher.step().await {
            Ok(batch) => batch,
            Err(WatchError::Compacted { .. } | WatchError::Corrupt | WatchError::Stopping) => {
                tokio::time::sleep(RETRY_AFTER).await;
                return Ok(());
            }
        };
        for event in batch.iter().flat_map(|batch| &batch.events) {
            let key = event.kv.key.clone();
            match Stored::after(event) {
                Some(stored) => drop(served.insert(key, kinds_of(server, &stored))),
                None => drop(served.remove(&key)),
            }
        }
        publish(server, &served);
    }
}

fn kinds_of(server: &Shared, stored: &Stored) -> &'static [&'static Kind] {
    let definition = stored.parse().ok().as_ref().and_then(Definition::of);
    definition.map_or(&[], |definition| server.registry.compile(&definition))
}

/// Puts the kinds in force, unless they are already.
fn publish(server: &Shared, served: &BTreeMap<Bytes, &'static [&'static Kind]>) {
    let kinds: Vec<&'static Kind> = served.values().flat_map(|kinds| kinds.iter().copied()).collect();
    if server.registry.replace_custom(&kinds) {
        server.custom_changes.send_modify(|changes| *changes += 1);
        tracing::info!(kinds = kinds.len(), "the custom kinds changed");
    }
}

#[cfg(test)]
pub(crate) mod tests;
