//! Creating, reading, changing and deleting, in all the ways that the client has.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Error};
use serde_json::json;

use crate::NAMESPACE;

pub(crate) async fn namespace(client: &Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

pub(crate) async fn no_namespace(client: &Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = namespaces.get(NAMESPACE).await?.metadata.uid.context("a uid")?;
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    await_condition(namespaces, NAMESPACE, conditions::is_deleted(&uid)).await?;
    Ok(())
}

pub(crate) async fn every_verb(client: &Client) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let made = maps.create(&PostParams::default(), &config_map("a", "1")?).await?;
    ensure!(maps.get_opt("nobody").await?.is_none(), "somebody is there");
    let mut changed = made.clone();
    changed.data = Some([("k".to_owned(), "2".to_owned())].into());
    maps.replace("a", &PostParams::default(), &changed).await?;
    let stale = maps.replace("a", &PostParams::default(), &made).await;
    ensure!(code(stale.as_ref().err()) == 409, "a stale write: {stale:?}");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &config_map("dry", "1")?).await?;
    ensure!(maps.get_opt("dry").await?.is_none(), "a dry run has left something");

    patches(&maps).await.context("patches")?;
    applies(&maps).await.context("applies")?;

    for number in 0..5 {
        maps.create(&PostParams::default(), &config_map(&format!("page-{number}"), "x")?).await?;
    }
    let mut params = ListParams::default().limit(2);
    let mut names = Vec::new();
    loop {
        let page = maps.list(&params).await?;
        names.extend(page.items.into_iter().filter_map(|map| map.metadata.name));
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => params.continue_token = Some(more),
            None => break,
        }
    }
    let pages = names.iter().filter(|name| name.starts_with("page-")).count();
    ensure!(pages == 5, "{names:?}");
    let metadata = maps.list_metadata(&ListParams::default().fields("metadata.name=a")).await?;
    ensure!(metadata.items.len() == 1, "{metadata:?}");
    maps.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let left = maps.list(&ListParams::default()).await?.items.len();
    ensure!(left <= 1, "{left} are left: the authority's certificate alone comes back");
    Ok(())
}

async fn patches(maps: &Api<ConfigMap>) -> Result<()> {
    let params = PatchParams::default();
    maps.patch("a", &params, &Patch::Merge(json!({"data": {"merge": "1"}}))).await?;
    maps.patch("a", &params, &Patch::Strategic(json!({"data": {"k": null}}))).await?;
    let json_patch = serde_json::from_value(json!([{"op": "add", "path": "/data/json", "value": "1"}]))?;
    let patched = maps.patch("a", &params, &Patch::Json::<()>(json_patch)).await?;
    let keys: Vec<String> = patched.data.unwrap_or_default().into_keys().collect();
    ensure!(keys == ["json", "merge"], "{keys:?}");
    Ok(())
}

async fn applies(maps: &Api<ConfigMap>) -> Result<()> {
    let applied = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": value}});
    let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
    let first = maps.patch("applied", &one, &Patch::Apply(applied("1"))).await?;
    let again = maps.patch("applied", &one, &Patch::Apply(applied("1"))).await?;
    ensure!(
        first.metadata.resource_version == again.metadata.resource_version,
        "nothing changed, and it moved"
    );
    let conflict = maps.patch("applied", &two, &Patch::Apply(applied("2"))).await;
    ensure!(code(conflict.as_ref().err()) == 409, "{conflict:?}");
    let forced = maps.patch("applied", &two.force(), &Patch::Apply(applied("2"))).await?;
    let owners: Vec<String> = forced
        .metadata
        .managed_fields
        .unwrap_or_default()
        .into_iter()
        .filter_map(|entry| entry.manager)
        .collect();
    ensure!(owners == ["two"], "{owners:?}");
    Ok(())
}

pub(crate) fn config_map(name: &str, value: &str) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": value}}))?)
}

/// The status code of a refusal; 0 when it is none.
pub(crate) fn code(error: Option<&Error>) -> u16 {
    match error {
        Some(Error::Api(status)) => status.code,
        _ => 0,
    }
}
