//! metrics.k8s.io: what pods and nodes use, asked of the nodes when somebody wants to know.
//!
//! Nothing is kept but answers of the last seconds, so every server tells the same, also right after its start. A node
//! that does not answer has no metrics; it holds up nobody for longer than [`ask::TIMEOUT`].

mod ask;
mod shape;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use kinds::core::node::NODE;
use kinds::core::pod::POD;
use kinds::{Kind, Measured, Verb, meta, tree};
use serde_json::Value;

use crate::object::{Stored, encode};
use crate::query::{ListOptions, ListUse};
use crate::reply::{Content, Listing, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Freshness, Scope};
use crate::verbs::selection::Selection;
pub(crate) use ask::Measures;
use shape::NodeUsage;

/// Nodes that are asked at once for one list.
const ASKED_AT_ONCE_MAX: usize = 64;

pub(crate) async fn answer(call: &Call<'_>, measured: Measured, verb: Verb) -> Result<Reply, Status> {
    let object = match measured {
        Measured::Pods => &POD,
        Measured::Nodes => &NODE,
    };
    match verb {
        Verb::Get => get(call, object).await,
        Verb::List => list(call, object).await,
        Verb::Create | Verb::Delete | Verb::DeleteCollection | Verb::Patch | Verb::Update | Verb::Watch => {
            Err(Status::method_not_allowed())
        }
    }
}

async fn get(call: &Call<'_>, kind: &'static Kind) -> Result<Reply, Status> {
    let key = scope(call, kind).key(call.name());
    let found = call.storage.get(&key, Freshness::Newest).await?;
    let object = found.ok_or_else(|| Status::not_found(kind, call.name()))?.parse()?;
    let usage = call.server.measures.of(call.server, node_of(kind, &object)).await;
    let metrics = usage.and_then(|usage| metrics(call, kind, &object, &usage));
    let metrics = metrics.ok_or_else(|| {
        let namespace = meta::namespace(&object);
        let name =
            if kind.namespaced { format!("{namespace}/{}", call.name()) } else { call.name().to_owned() };
        Status::not_measured(call.kind, &name)
    })?;
    Ok(Reply::ok(Content::Object(call.kind, metrics)))
}

async fn list(call: &Call<'_>, kind: &'static Kind) -> Result<Reply, Status> {
    let options = ListOptions::parse(call.query, ListUse::List)?;
    let selection = Selection::parse(call, &options)?;
    let page = call.storage.page(&scope(call, kind).prefix(), "", 0, Freshness::Newest).await?;
    let mut objects = Vec::new();
    for (_, stored) in page.items {
        let object = stored.parse()?;
        if selection.matches(&object) && !node_of(kind, &object).is_empty() {
            objects.push(object);
        }
    }
    let nodes: BTreeSet<String> = objects.iter().map(|object| node_of(kind, object).to_owned()).collect();
    let questions = nodes.into_iter().map(|node| {
        let answer = call.server.measures.of(call.server, &node);
        answer.map(move |answer| (node, answer))
    });
    let questions: Vec<_> = questions.collect();
    let usage: HashMap<String, Option<Arc<NodeUsage>>> =
        futures::stream::iter(questions).buffer_unordered(ASKED_AT_ONCE_MAX).collect().await;
    let of = |object: &Value| metrics(call, kind, object, usage.get(node_of(kind, object))?.as_deref()?);
    let items = objects.iter().filter_map(of).collect();
    let listing = Listing { items, revision: page.revision.get(), ..Listing::default() };
    Ok(Reply::ok(Content::List(call.kind, listing)))
}

fn scope(call: &Call<'_>, kind: &'static Kind) -> Scope {
    Scope { kind, namespace: call.path.namespace.clone().filter(|_| kind.namespaced) }
}

/// Who knows what `object` uses.
fn node_of<'a>(kind: &Kind, object: &'a Value) -> &'a str {
    if kind.namespaced { tree::text(object, "spec.nodeName") } else { meta::name(object) }
}

fn metrics(call: &Call<'_>, kind: &Kind, object: &Value, usage: &NodeUsage) -> Option<Stored> {
    let now = call.server.clock.now();
    let metrics = match kind.namespaced {
        true => shape::pod_metrics(object, usage, now)?,
        false => shape::node_metrics(object, usage, now)?,
    };
    Some(Stored { json: encode(call.kind, metrics), revision: None })
}

#[cfg(test)]
mod tests;
