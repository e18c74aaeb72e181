//! `navarch member`: what an operator does to one member of the store.

use std::path::Path;

use anyhow::{Context, Result};
use proto::replica::RebuildRequest;
use proto::replica::replica_client::ReplicaClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::cli::{EndpointArgs, MemberArgs, MemberCommand};

pub(crate) async fn run(args: &MemberArgs) -> Result<()> {
    match &args.command {
        MemberCommand::Rebuild(endpoint) => rebuild(endpoint).await,
    }
}

/// Takes as long as the copy takes to arrive.
async fn rebuild(endpoint: &EndpointArgs) -> Result<()> {
    let answer = ReplicaClient::new(connect(endpoint).await?).rebuild(RebuildRequest {}).await;
    let answer = answer.map_err(|status| anyhow::anyhow!("{}", status.message()));
    let revision = answer.context("the member was not rebuilt")?.into_inner().revision;
    println!("rebuilt; it goes on from revision {revision}");
    Ok(())
}

async fn connect(endpoint: &EndpointArgs) -> Result<Channel> {
    let read = |file: &str| read(&endpoint.pki_dir, file);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("store-ca.crt")?))
        .identity(Identity::from_pem(read("etcd-client.crt")?, read("etcd-client.key")?));
    let channel = Channel::from_shared(endpoint.endpoint.clone()).context("--endpoint is not a URL")?;
    let connected = channel.tls_config(tls)?.connect().await;
    connected.with_context(|| format!("cannot connect to {}", endpoint.endpoint))
}

fn read(folder: &Path, file: &str) -> Result<String> {
    let path = folder.join(file);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
