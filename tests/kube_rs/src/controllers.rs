//! A controller of a custom kind: it makes a ConfigMap for each object, puts back what others take away, and cleans up
//! before the object goes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::NAMESPACE;

const DEFINITION: &str = "wishes.kube-rs.example.com";
const FINALIZER: &str = "kube-rs.example.com/clean-up";
const WITHIN: Duration = Duration::from_secs(30);

type Reconciled = Result<Action, kube::runtime::finalizer::Error<kube::Error>>;

struct Around {
    client: Client,
    resource: ApiResource,
}

pub(crate) async fn a_controller_keeps_what_it_owns(client: &Client) -> Result<()> {
    define(client).await.context("the definition")?;
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("kube-rs.example.com", "v1", "Wish"),
        "wishes",
    );
    let wishes: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let around = Arc::new(Around { client: client.clone(), resource: resource.clone() });
    let owned = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let running = Controller::new_with(wishes.clone(), watcher::Config::default(), resource.clone())
        .owns(owned, watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), around)
        .for_each(|done| async move {
            if let Err(error) = done {
                eprintln!("a pass failed, and is made again: {error}");
            }
        });
    let user = use_it(&wishes, &maps, &resource);
    tokio::select! {
        biased;
        used = user => used,
        () = running => anyhow::bail!("the controller has ended"),
    }?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.delete(DEFINITION, &DeleteParams::default()).await?;
    Ok(())
}

async fn define(client: &Client) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = serde_json::from_value(json!({
        "metadata": {"name": DEFINITION},
        "spec": {
            "group": "kube-rs.example.com", "scope": "Namespaced",
            "names": {"plural": "wishes", "singular": "wish", "kind": "Wish"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"word": {"type": "string"}}},
                    "status": {"type": "object", "properties": {"granted": {"type": "boolean"}}}}}}}],
        },
    }))?;
    definitions.create(&PostParams::default(), &definition).await?;
    let established = await_condition(definitions, DEFINITION, conditions::is_crd_established());
    tokio::time::timeout(WITHIN, established).await??;
    Ok(())
}

async fn use_it(wishes: &Api<DynamicObject>, maps: &Api<ConfigMap>, resource: &ApiResource) -> Result<()> {
    let mut wish = DynamicObject::new("rain", resource);
    wish.data = json!({"spec": {"word": "please"}});
    wishes.create(&PostParams::default(), &wish).await?;
    let granted = |wish: Option<&DynamicObject>| {
        wish.is_some_and(|wish| wish.data.pointer("/status/granted").is_some_and(|granted| granted == true))
    };
    tokio::time::timeout(WITHIN, await_condition(wishes.clone(), "rain", granted))
        .await
        .context("granted")??;
    let first = maps.get("rain").await?;
    ensure!(first.data.clone().unwrap_or_default()["word"] == "please", "{first:?}");
    maps.delete("rain", &DeleteParams::default()).await?;
    let uid = first.uid().context("a uid")?;
    let made_again =
        move |map: Option<&ConfigMap>| map.is_some_and(|map| map.uid().is_some_and(|new| new != uid));
    tokio::time::timeout(WITHIN, await_condition(maps.clone(), "rain", made_again))
        .await
        .context("made again")??;
    let uid = wishes.get("rain").await?.uid().context("a uid")?;
    wishes.delete("rain", &DeleteParams::default()).await?;
    let gone = await_condition(wishes.clone(), "rain", conditions::is_deleted(&uid));
    tokio::time::timeout(WITHIN, gone).await.context("gone")??;
    ensure!(maps.get_opt("rain").await?.is_none(), "the controller's finalizer was not waited for");
    Ok(())
}

async fn reconcile(wish: Arc<DynamicObject>, around: Arc<Around>) -> Reconciled {
    let wishes: Api<DynamicObject> = Api::namespaced_with(around.client.clone(), NAMESPACE, &around.resource);
    let maps: Api<ConfigMap> = Api::namespaced(around.client.clone(), NAMESPACE);
    let target = wishes.clone();
    finalizer(&wishes, FINALIZER, wish, |event| async move {
        match event {
            Event::Apply(wish) => grant(&wish, &target, &maps, &around.resource).await,
            Event::Cleanup(wish) => {
                match maps.delete(&wish.name_any(), &DeleteParams::default()).await {
                    Ok(_) => {}
                    Err(error) if crate::writes::code(Some(&error)) == 404 => {}
                    Err(error) => return Err(error),
                }
                Ok(Action::await_change())
            }
        }
    })
    .await
}

async fn grant(
    wish: &DynamicObject,
    wishes: &Api<DynamicObject>,
    maps: &Api<ConfigMap>,
    resource: &ApiResource,
) -> Result<Action, kube::Error> {
    let params = PatchParams::apply("wishes").force();
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": wish.name_any(), "ownerReferences": [wish.controller_owner_ref(resource)]},
        "data": {"word": wish.data.pointer("/spec/word")},
    });
    maps.patch(&wish.name_any(), &params, &Patch::Apply(map)).await?;
    let status = json!({
        "apiVersion": "kube-rs.example.com/v1", "kind": "Wish",
        "metadata": {"name": wish.name_any()}, "status": {"granted": true},
    });
    wishes.patch_status(&wish.name_any(), &params, &Patch::Apply(status)).await?;
    Ok(Action::await_change())
}
