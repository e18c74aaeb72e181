//! Many watchers of the same objects, while others write them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Plan;
use crate::http::{Ask, Connection};
use crate::loads::{Until, config_map, run, spawn};
use crate::site::Site;
use crate::table::Table;

const WRITERS: usize = 16;
/// How long the last events may take to arrive.
const TAIL_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(crate) async fn watches(site: &Site, plan: &Plan, table: &mut Table) -> Result<()> {
    let path = site.path("configmaps");
    let mut connection = site.connect(0).await?;
    for writer in 0..WRITERS {
        connection.ask(&Ask::create(path.clone(), config_map(&format!("w-{writer}")))).await?;
    }
    let listed: serde_json::Value =
        serde_json::from_slice(&connection.ask(&Ask::get(format!("{path}?limit=1"))).await?)?;
    let from = listed["metadata"]["resourceVersion"].as_str().unwrap_or("0");
    let ask = Ask::get(format!("{path}?watch=true&resourceVersion={from}"));
    let seen = Arc::new(AtomicUsize::new(0));
    let mut watchers = Vec::new();
    for watcher in 0..plan.watchers {
        let connection = site.connect(watcher).await?;
        watchers.push(spawn(count(connection, ask.clone(), Arc::clone(&seen))));
    }
    let began = Instant::now();
    let patch = move |client: usize, number: usize| {
        Ask::merge(format!("{path}/w-{client}"), json!({"data": {"n": number.to_string()}}).to_string())
    };
    let written = run(site, WRITERS, Until::Time(plan.time), patch).await?;
    let wanted = written.times.len() * plan.watchers;
    while seen.load(Ordering::Relaxed) < wanted && began.elapsed() < written.elapsed + TAIL_MAX {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let rate = seen.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    let arrived = seen.load(Ordering::Relaxed) * 100 / wanted.max(1);
    table.rate(&format!("events to {} watchers, {arrived} % arrived", plan.watchers), rate);
    watchers.iter().for_each(JoinHandle::abort);
    Ok(())
}

/// Counts events: each is one line.
async fn count(mut connection: Connection, ask: Ask, seen: Arc<AtomicUsize>) -> Result<()> {
    let mut body = connection.start(&ask).await?.into_body();
    while let Some(frame) = body.frame().await {
        let lines =
            frame?.data_ref().map_or(0, |bytes: &Bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
        seen.fetch_add(lines, Ordering::Relaxed);
    }
    Ok(())
}
