//! The two ways in which the client comes to know a collection and stays true to it.

use std::pin::pin;

use anyhow::{Context as _, Result, ensure};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::NAMESPACE;
use crate::writes::config_map;

pub(crate) async fn lists_and_streams(client: &Client) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    for (name, config) in
        [("list", watcher::Config::default()), ("stream", watcher::Config::default().streaming_lists())]
    {
        let first = labelled(&format!("{name}-before"))?;
        maps.create(&PostParams::default(), &first).await?;
        let events = watcher(maps.clone(), config.labels("seen=yes"));
        follow(&maps, name, events).await.context(name)?;
        maps.delete(&first.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn follow(
    maps: &Api<ConfigMap>,
    name: &str,
    events: impl Stream<Item = watcher::Result<Event<ConfigMap>>>,
) -> Result<()> {
    let mut events = pin!(events);
    // A stream may begin a little in the past: then the object comes after the first list.
    let (mut told, before) = (Vec::new(), format!("Apply {name}-before"));
    while !(told.contains(&"InitDone".to_owned())
        && told.iter().any(|event: &String| event.ends_with(&before)))
    {
        told.push(shown(&events.next().await.context("the stream ended")??));
    }
    ensure!(told.len() == 3 && told[0] == "Init", "{told:?}");
    let late = format!("{name}-late");
    maps.create(&PostParams::default(), &labelled(&late)?).await?;
    let unlabel = Patch::Merge(json!({"metadata": {"labels": {"seen": "no"}}}));
    maps.patch(&late, &PatchParams::default(), &unlabel).await?;
    maps.delete(&late, &DeleteParams::default()).await?;
    for expected in [format!("Apply {late}"), format!("Delete {late}")] {
        let event = shown(&events.next().await.context("the stream ended")??);
        ensure!(event == expected, "{event} instead of {expected}");
    }
    Ok(())
}

fn labelled(name: &str) -> Result<ConfigMap> {
    let mut map = config_map(name, "1")?;
    map.metadata.labels = Some([("seen".to_owned(), "yes".to_owned())].into());
    Ok(map)
}

fn shown(event: &Event<ConfigMap>) -> String {
    match event {
        Event::Init => "Init".to_owned(),
        Event::InitApply(map) => format!("InitApply {}", map.name_any()),
        Event::InitDone => "InitDone".to_owned(),
        Event::Apply(map) => format!("Apply {}", map.name_any()),
        Event::Delete(map) => format!("Delete {}", map.name_any()),
    }
}
