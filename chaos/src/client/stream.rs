//! One watch on one stream to one member, as it comes.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::target::Target;
use super::{Prefix, TIMEOUT, convert};
use crate::history::{Failure, WatchAnswer, WatchOpen};

/// Requests that wait to be sent: the creation and a few questions about progress.
const REQUESTS_MAX: usize = 8;

/// An open stream. Dropping it closes it.
pub struct Stream {
    watch: u64,
    prefix: Prefix,
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The server closed it without a word.
    Closed,
    /// Its time was over, as was asked for.
    Over,
    Failed(Failure),
}

impl StreamEnd {
    /// None: nothing went wrong.
    pub fn failure(self) -> Option<Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Closed => {
                Some(Failure { code: "Closed".to_owned(), message: "the server closed it".to_owned() })
            }
            Self::Over => None,
        }
    }
}

impl Stream {
    /// Asks for the watch; its first answer says whether it was made.
    ///
    /// # Errors
    /// When there is no stream within the time.
    pub async fn open(target: &Target, open: &WatchOpen, within: Duration) -> Result<Self, StreamEnd> {
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let create = pb::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(convert::watch(&target.prefix.open(open)))),
        };
        // It cannot be full.
        let _fits = requests.try_send(create);
        let waiting = futures::stream::unfold(waiting, |mut waiting| async {
            waiting.recv().await.map(|request| (request, waiting))
        });
        let mut client = WatchClient::new(target.connect()).max_decoding_message_size(usize::MAX);
        let answers = tokio::time::timeout(within, client.watch(waiting)).await;
        match answers {
            Ok(Ok(answers)) => Ok(Self {
                watch: open.watch,
                prefix: target.prefix.clone(),
                requests,
                answers: answers.into_inner(),
            }),
            Ok(Err(status)) => Err(StreamEnd::Failed(failure(&status))),
            Err(_) => Err(StreamEnd::Failed(Failure {
                code: TIMEOUT.to_owned(),
                message: "no stream within the time that the client gives".to_owned(),
            })),
        }
    }

    /// The next answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When there is none.
    pub async fn next(&mut self) -> Result<WatchAnswer, StreamEnd> {
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(self.prefix.watch_answer(convert::watch_answer(self.watch, answer))),
            Ok(None) => Err(StreamEnd::Closed),
            Err(status) => Err(StreamEnd::Failed(failure(&status))),
        }
    }

    /// Asks how far the watch has come. When too many such questions wait already, this one is left out.
    pub fn ask_for_progress(&self) {
        let request = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        let _full = self.requests.try_send(pb::WatchRequest { request_union: Some(request) });
    }
}

fn failure(status: &Status) -> Failure {
    Failure { code: format!("{:?}", status.code()), message: status.message().to_owned() }
}
