//! One connection to one server: the poll loop and the report loop, until either cannot go on.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::agent::gateway_client::GatewayClient;
use proto::agent::{PollRequest, ReportRequest};
use tokio::sync::Notify;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::{debug, error};

use super::absorbing;
use super::assignments::Assignments;
use super::dial::{DialError, TlsConnection};
use super::outbox::{Batch, Outbox};
use crate::causes::in_full;
use crate::desired::ReportInbox;

/// A server that does not answer a ping within this is gone. Interval and timeout together stay below the
/// time after which a node counts as lost.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Longer than any gateway holds a poll: it answers, with nothing, well before.
const POLL_DEADLINE: Duration = Duration::from_secs(45);
const REPORT_DEADLINE: Duration = Duration::from_secs(10);
/// Everything for one node in one answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A server that answers polls faster than this, for ever, is not worth a busy loop.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Why a session is over.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// No answer within the deadline.
    Silent(&'static str),
    Refused(Status),
    /// The agent is stopping.
    NothingToReport,
}

/// Calls of others over the same connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) client: GatewayClient<Channel>,
    pub(super) node: String,
    pub(super) instance: String,
}

pub(super) struct Session {
    client: GatewayClient<Channel>,
    node: String,
    instance: String,
    /// The server asked for the node's report once more.
    repeat: Notify,
}

impl Session {
    pub(super) async fn over(
        connection: TlsConnection,
        server: &str,
        node: &str,
        instance: &str,
    ) -> Result<Self, DialError> {
        // The channel must not dial by itself: when this connection breaks, the next server gets its turn.
        let once = Mutex::new(Some(connection));
        let connector = tower::service_fn(move |_uri: http::Uri| {
            let taken = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(
                taken.map(TokioIo::new).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)),
            )
        });
        let channel = Endpoint::from_static("http://gateway")
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
            .map_err(|error| DialError::Http { server: server.to_owned(), source: error.into() })?;
        let client = GatewayClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { client, node: node.to_owned(), instance: instance.to_owned(), repeat: Notify::new() })
    }

    pub(super) fn caller(&self) -> Caller {
        Caller { client: self.client.clone(), node: self.node.clone(), instance: self.instance.clone() }
    }

    /// Polls and applies the answers, one after the other.
    pub(super) async fn poll_forever(&self, assignments: &mut Assignments) -> SessionEnd {
        let mut client = self.client.clone();
        loop {
            let request = PollRequest {
                node: self.node.clone(),
                instance: self.instance.clone(),
                seen_revision: assignments.seen_revision(),
                takes_peer_changes: true,
                peers_digest: assignments.peers_digest(),
            };
            let asked = request.seen_revision;
            let began = tokio::time::Instant::now();
            match tokio::time::timeout(POLL_DEADLINE, client.poll(request)).await {
                Err(_elapsed) => return SessionEnd::Silent("poll"),
                // The server does not know our cursor any more.
                Ok(Err(status)) if status.code() == Code::OutOfRange && asked != 0 => {
                    debug!("told to ask for everything");
                    assignments.forget_cursor();
                }
                Ok(Err(status)) => return SessionEnd::Refused(status),
                Ok(Ok(answer)) => {
                    let answer = answer.into_inner();
                    if answer.repeat_node {
                        self.repeat.notify_one();
                    }
                    assignments.apply(answer);
                }
            }
            tokio::time::sleep_until(began + POLL_PAUSE).await;
        }
    }

    /// Sends what is in the outbox, as soon as there is something.
    pub(super) async fn report_forever(&self, inbox: &mut ReportInbox, outbox: &mut Outbox) -> SessionEnd {
        loop {
            while let Some(report) = inbox.try_next() {
                outbox.add(report);
            }
            let Some(batch) = outbox.batch() else {
                tokio::select! {
                    biased;
                    report = inbox.next() => match report {
                        Some(report) => outbox.add(report),
                        None => return SessionEnd::NothingToReport,
                    },
                    () = self.repeat.notified() => outbox.repeat_node(),
                }
                continue;
            };
            let outcome = absorbing(inbox, outbox, self.send(&batch)).await;
            match outcome {
                Ok(()) => outbox.acknowledge(&batch),
                // No server will ever take it: keeping it would hold up everything behind it.
                Err(SessionEnd::Refused(status)) if status.code() == Code::InvalidArgument => {
                    error!(error = %in_full(&status), "the server refuses a report, dropping it");
                    outbox.acknowledge(&batch);
                }
                Err(end) => return end,
            }
        }
    }

    async fn send(&self, batch: &Batch) -> Result<(), SessionEnd> {
        let request = ReportRequest {
            node: self.node.clone(),
            instance: self.instance.clone(),
            ..batch.request.clone()
        };
        let mut client = self.client.clone();
        match tokio::time::timeout(REPORT_DEADLINE, client.report(request)).await {
            Err(_elapsed) => Err(SessionEnd::Silent("report")),
            Ok(Err(status)) => Err(SessionEnd::Refused(status)),
            Ok(Ok(_answer)) => Ok(()),
        }
    }
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(what) => write!(f, "no answer to a {what}"),
            Self::Refused(status) => {
                let cause = std::error::Error::source(status).map(in_full).unwrap_or_default();
                // In TLS 1.3 a server judges our certificate after the handshake, as we see it, is done.
                let hint = if cause.contains("fatal alert") { "it refuses our certificate: " } else { "" };
                let separator = if cause.is_empty() { "" } else { ": " };
                write!(f, "{hint}{:?}: {}{separator}{cause}", status.code(), status.message())
            }
            Self::NothingToReport => f.write_str("the agent is stopping"),
        }
    }
}
