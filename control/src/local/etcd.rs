//! Asks each member of the store about itself, as `etcdctl endpoint status` does.

use std::time::Duration;

use anyhow::{Context, Result};
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{StatusRequest, StatusResponse};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::layout::{Layout, server_name};

const ANSWER_MAX: Duration = Duration::from_secs(2);

/// One member's own view; `None` where it does not answer.
pub(crate) async fn statuses(layout: &Layout) -> Result<Vec<(String, Option<StatusResponse>)>> {
    let tls = client_tls(layout)?;
    let mut all = Vec::new();
    for server in layout.server_numbers() {
        let answer = status(layout.ports(server).client, tls.clone()).await.ok();
        all.push((server_name(server), answer));
    }
    Ok(all)
}

async fn status(port: u16, tls: ClientTlsConfig) -> Result<StatusResponse> {
    let channel = Channel::from_shared(format!("https://127.0.0.1:{port}"))?
        .tls_config(tls)?
        .connect_timeout(ANSWER_MAX)
        .timeout(ANSWER_MAX)
        .connect()
        .await?;
    Ok(MaintenanceClient::new(channel).status(StatusRequest {}).await?.into_inner())
}

fn client_tls(layout: &Layout) -> Result<ClientTlsConfig> {
    let read = |file: &str| {
        let path = layout.pki().join(file);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("store-ca.crt")?))
        .identity(Identity::from_pem(read("etcd-client.crt")?, read("etcd-client.key")?)))
}
