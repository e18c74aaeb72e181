//! The client of the control nodes' gateway: polls what this node should run, reports what it runs.
//!
//! It talks to one server at a time and goes to the next when that one is unreachable, silent or unable to
//! serve. While there is none, [`Desired`] stands still and reports are kept, coalesced: a lost control plane
//! stops nothing.

mod assignments;
mod dial;
mod outbox;
#[cfg(test)]
pub(crate) mod pki;
mod search;
mod session;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Entropy, Tasks};
use k8s_openapi::api::core::v1::PodStatus;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use assignments::Assignments;
pub use dial::{DialError, Identity, IdentityError};
pub(crate) use dial::{Dialer, TUNNEL, TlsConnection};
use outbox::Outbox;
use search::Search;
use session::{Caller, Session, SessionEnd};
pub use tokens::GatewayTokens;

use crate::causes::in_full;
use crate::desired::{Desired, ReportInbox, Reports};

/// Whom to talk to, as whom.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    pub node_name: String,
    /// `host:port` of the gateways, in the order in which to try them.
    pub servers: Vec<String>,
    pub identity: Identity,
}

/// The newest status that was reported of each pod, by uid.
pub type PodStatuses = BTreeMap<String, Arc<PodStatus>>;

/// What the rest of the agent has of the gateway client.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub desired: watch::Receiver<Arc<Desired>>,
    pub reports: Reports,
    pub statuses: watch::Receiver<Arc<PodStatuses>>,
    pub tokens: GatewayTokens,
}

/// Why the client cannot start. Once started it never gives up.
#[derive(Debug, Error)]
pub enum GatewayError {
    #[error("no server is given")]
    NoServer,
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Starts the client in a task.
///
/// # Errors
/// When the settings cannot be used; a server that does not answer is no error.
pub fn start(
    settings: GatewaySettings,
    entropy: &Arc<dyn Entropy>,
    tasks: &Tasks,
) -> Result<Gateway, GatewayError> {
    if settings.servers.is_empty() {
        return Err(GatewayError::NoServer);
    }
    let dialer = Dialer::new(&settings.identity)?;
    let (desired, desired_rx) = Desired::channel();
    let (reports, inbox) = Reports::channel();
    let (statuses, statuses_rx) = watch::channel(Arc::default());
    let (callers, callers_rx) = watch::channel(None);
    let client = GatewayClient {
        dialer,
        node: settings.node_name,
        instance: entropy.uid(),
        servers: settings.servers,
        entropy: entropy.clone(),
        assignments: Assignments::new(desired),
        outbox: Outbox::new(statuses),
        inbox,
        callers,
    };
    tasks.spawn_infallible("gateway client", client.run(tasks.stop().clone()));
    let tokens = GatewayTokens::over(callers_rx);
    Ok(Gateway { desired: desired_rx, reports, statuses: statuses_rx, tokens })
}

struct GatewayClient {
    dialer: Dialer,
    node: String,
    instance: String,
    servers: Vec<String>,
    entropy: Arc<dyn Entropy>,
    assignments: Assignments,
    outbox: Outbox,
    inbox: ReportInbox,
    /// Whoever else calls, while there is a server.
    callers: watch::Sender<Option<Caller>>,
}

impl GatewayClient {
    async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.serve() => {}
        }
    }

    /// From server to server, for ever.
    async fn serve(&mut self) {
        let mut search = Search::among(self.servers.len());
        for server in self.servers.clone().into_iter().cycle() {
            let served_for = match self.visit(&server, search.patience()).await {
                Ok((end, served_for)) => {
                    warn!(%server, %end, "left the server");
                    Some(served_for)
                }
                Err(error) => {
                    warn!(%server, error = %in_full(&error), "cannot use the server");
                    None
                }
            };
            if let Some(pause) = search.tried(served_for) {
                let pause = self.entropy.jittered(pause);
                absorbing(&mut self.inbox, &mut self.outbox, tokio::time::sleep(pause)).await;
            }
        }
    }

    /// One server, until it cannot serve any more; also how long it has served.
    async fn visit(&mut self, server: &str, patience: Duration) -> Result<(SessionEnd, Duration), DialError> {
        let dialing = self.dialer.dial(server, dial::GRPC, patience);
        let connection = absorbing(&mut self.inbox, &mut self.outbox, dialing).await?;
        let session = Session::over(connection, server, &self.node, &self.instance).await?;
        let began = tokio::time::Instant::now();
        info!(%server, "connected to the control plane");
        self.assignments.forget_cursor();
        self.outbox.repeat_node();
        self.callers.send_replace(Some(session.caller()));
        let polling = session.poll_forever(&mut self.assignments);
        let reporting = session.report_forever(&mut self.inbox, &mut self.outbox);
        let end = tokio::select! {
            biased;
            end = polling => end,
            end = reporting => end,
        };
        self.callers.send_replace(None);
        Ok((end, began.elapsed()))
    }
}

/// Waits for `work` and meanwhile takes what is reported, so that nobody who reports has to wait for a
/// server.
async fn absorbing<T>(inbox: &mut ReportInbox, outbox: &mut Outbox, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(report) = inbox.next() => outbox.add(report),
        }
    }
}
