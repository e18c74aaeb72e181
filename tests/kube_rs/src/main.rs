//! kube-rs against a cluster: `kube-rs KUBECONFIG`. Fails with what is wrong.

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

mod controllers;
mod watches;
mod writes;

const NAMESPACE: &str = "kube-rs";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("usage: kube-rs KUBECONFIG")?;
    let kubeconfig = Kubeconfig::read_from(&path)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    writes::namespace(&client).await?;
    writes::every_verb(&client).await.context("verbs")?;
    watches::lists_and_streams(&client).await.context("watches")?;
    controllers::a_controller_keeps_what_it_owns(&client).await.context("a controller")?;
    writes::no_namespace(&client).await
}
