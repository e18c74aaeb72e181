//! Where a member's clients find it, and what it is asked about itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{RangeRequest, StatusRequest, StatusResponse};
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Address, Identity};

use super::admin::Listed;

/// How long one question about a member may take.
const ASK_MAX: Duration = Duration::from_secs(2);

/// A member's client port, and the certificates that it asks for, PEM.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub member: String,
    /// `https://ADDRESS:PORT`
    pub url: String,
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Endpoint {
    /// The address with its certificates; the caller adds its own limits and connects.
    ///
    /// # Errors
    /// When a certificate is no certificate.
    pub fn address(&self) -> Result<Address> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
            .identity(Identity::from_pem(&self.certificate_pem, &self.key_pem));
        let address = Address::from_shared(self.url.clone())?.tls_config(tls)?;
        Ok(address)
    }

    pub(super) async fn connect(&self) -> Result<Channel> {
        self.address()?.connect().await.with_context(|| format!("cannot connect to {}", self.member))
    }

    /// etcd's Status, as this member sees it.
    ///
    /// # Errors
    /// When the member does not answer in time.
    pub async fn status(&self) -> Result<StatusResponse> {
        let asked = async |channel| MaintenanceClient::new(channel).status(StatusRequest::default()).await;
        Ok(self.ask("tells no status", asked).await?.into_inner())
    }

    /// Whether the member votes and answers a read with consensus, so that it is in touch with a majority.
    pub(super) async fn serves(&self) -> Result<()> {
        // A member that has just joined may not know yet that it is a learner.
        let votes = |listed: &Listed| listed.name == self.member && !listed.is_learner;
        ensure!(self.list().await?.iter().any(votes), "{} does not vote", self.member);
        let anything =
            RangeRequest { key: b"/".to_vec().into(), count_only: true, ..RangeRequest::default() };
        let asked = async |channel| KvClient::new(channel).range(anything).await;
        self.ask("serves no read", asked).await.map(drop)
    }

    /// One question on a connection of its own; `failed` says what a member does that does not answer it. The time is for
    /// the handshake too: the kernel accepts connections for a process that stands still.
    pub(super) async fn ask<T>(
        &self,
        failed: &str,
        question: impl AsyncFnOnce(Channel) -> Result<T, Status>,
    ) -> Result<T> {
        let answer = timeout(ASK_MAX, async {
            let channel = self.connect().await?;
            question(channel).await.with_context(|| format!("{} {failed}", self.member))
        });
        answer.await.with_context(|| format!("{} has not answered within {ASK_MAX:?}", self.member))?
    }
}
