//! Questions to nodes about what they use. Who asks while a question is open, or shortly after, shares its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared as SharedFuture};
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::shape::NodeUsage;
use crate::body::BoxError;
use crate::server::Shared;

/// How long a node may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer is good for: nodes look at themselves every ten seconds.
const FRESH: Duration = Duration::from_secs(2);
/// How long an answer is remembered that nobody asks for any more.
const REMEMBERED: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// On the node's own API.
const PATH: &str = "/usage";

type Answer = Option<Arc<NodeUsage>>;

/// What nodes have just answered.
#[derive(Default)]
pub(crate) struct Measures(Mutex<HashMap<String, Asked>>);

struct Asked {
    at: Instant,
    answer: SharedFuture<BoxFuture<'static, Answer>>,
}

impl Measures {
    /// What a node and its pods use; `None` when it does not say.
    pub(super) fn of(&self, server: &Arc<Shared>, node: &str) -> SharedFuture<BoxFuture<'static, Answer>> {
        let now = Instant::now();
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = asked.get(node).filter(|known| now < known.at + FRESH) {
            return known.answer.clone();
        }
        asked.retain(|_, known| now < known.at + REMEMBERED);
        let answer = question(Arc::clone(server), node.to_owned()).boxed().shared();
        asked.insert(node.to_owned(), Asked { at: now, answer: answer.clone() });
        answer
    }
}

async fn question(server: Arc<Shared>, node: String) -> Answer {
    let answer = tokio::time::timeout(TIMEOUT, ask(&server, &node)).await;
    match answer.unwrap_or_else(|late| Err(late.into())) {
        Ok(usage) => Some(Arc::new(usage)),
        Err(error) => {
            tracing::debug!(node, error, "a node does not say what it uses");
            None
        }
    }
}

async fn ask(server: &Shared, node: &str) -> Result<NodeUsage, BoxError> {
    let pipe = server.nodes.open(node).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(pipe)).await?;
    let request = Request::get(PATH).header(HOST, "node").body(Empty::<Bytes>::new())?;
    let asking = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("the node answered {status}").into());
        }
        Ok::<_, BoxError>(NodeUsage::parse(&bytes)?)
    };
    let (answer, connected) = tokio::join!(asking, connection);
    if let Err(error) = connected {
        tracing::debug!(%error, "the connection of a question broke");
    }
    answer
}
