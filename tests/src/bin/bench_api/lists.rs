//! Lists of many objects: how fast they come, and what they cost the server's memory.

use std::time::Duration;

use anyhow::Result;

use crate::Plan;
use crate::http::Ask;
use crate::loads::{Until, config_map, run};
use crate::site::Site;
use crate::table::Table;

const LISTERS: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The path of a resource that holds `count` objects of 1 KB. Secrets, since nothing else of the load is one.
async fn filled(site: &Site, plan: &Plan, count: usize) -> Result<String> {
    let path = site.path("secrets");
    let per_client = count.div_ceil(plan.clients);
    let create = {
        let path = path.clone();
        move |client: usize, number: usize| {
            let secret =
                config_map(&format!("s-{count}-{client}-{number}")).replace("\"data\"", "\"stringData\"");
            Ask::create(path.clone(), secret)
        }
    };
    run(site, plan.clients, Until::Count(per_client), create).await?;
    Ok(path)
}

pub(crate) async fn lists(site: &Site, plan: &Plan, table: &mut Table) -> Result<()> {
    let path = filled(site, plan, plan.objects).await?;
    let ask = Ask::get(path);
    let in_protobuf = ask.clone().with("accept", "application/vnd.kubernetes.protobuf");
    for (how, ask) in [("", ask), (" in protobuf", in_protobuf)] {
        let what = format!("list {} objects{how}, {LISTERS} clients", plan.objects);
        let make = move |_: usize, _: usize| ask.clone();
        table.load(&what, run(site, LISTERS, Until::Time(plan.time), make).await?);
    }
    Ok(())
}

/// How much the servers grow while one client reads a very long list.
pub(crate) async fn memory(site: &Site, plan: &Plan, table: &mut Table) -> Result<()> {
    let path = filled(site, plan, plan.many).await?;
    table.memory(&format!("with {} objects", plan.many), &site.weights());
    let before = site.weights();
    let mut grown = vec![0; before.len()];
    let (mut connection, ask) = (site.connect(0).await?, Ask::get(path));
    let mut reading = std::pin::pin!(connection.weigh(&ask));
    let bytes = loop {
        tokio::select! {
            biased;
            read = &mut reading => break read?,
            () = tokio::time::sleep(LOOK_EVERY) => {
                for (most, (now, before)) in grown.iter_mut().zip(site.weights().iter().zip(&before)) {
                    *most = (*most).max(now.saturating_sub(*before));
                }
            }
        }
    };
    table.memory(&format!("growth by a list of {} objects, {} MB", plan.many, bytes / 1_000_000), &grown);
    Ok(())
}
