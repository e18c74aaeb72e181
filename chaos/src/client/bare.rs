//! A client whose calls are no part of the history: what it hears of a cluster that is another one by now, its caller
//! tells in other words.

use std::time::Duration;

use tonic::Status;

use super::{Stream, Target, Terms, outcome, perform};
use crate::history::{Answer, Header, Op, Outcome, Range, WatchAnswer, WatchOpen};

/// How long a watch is listened to.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Asks once, on a connection of its own.
pub struct Bare<'a> {
    target: &'a Target,
    patience: Duration,
}

impl<'a> Bare<'a> {
    pub const fn new(target: &'a Target, patience: Duration) -> Self {
        Self { target, patience }
    }

    pub async fn call(&self, op: &Op) -> Outcome {
        let terms = Terms { request_id: None, fence: None };
        let answered: Result<Result<(Header, Answer), Status>, _> =
            tokio::time::timeout(self.patience, perform(self.target.connect(), op, terms)).await;
        match answered {
            Ok(Ok((header, answer))) => Outcome::Ok { header, answer },
            Ok(Err(status)) => outcome::of_status(op, &status),
            Err(_) => outcome::of_timeout(op),
        }
    }

    /// What a watch from that revision is told, after that it was made; none: nothing, for a while.
    pub async fn watch(&self, range: &Range, from: u64) -> Option<WatchAnswer> {
        let open = WatchOpen {
            watch: 1,
            member: self.target.member.clone(),
            key: range.key.clone(),
            end: range.end.clone(),
            start: from,
            previous: false,
            progress: false,
            fragment: false,
            no_put: false,
            no_delete: false,
        };
        let mut stream = Stream::open(self.target, &open, self.patience).await.ok()?;
        let heard = tokio::time::timeout(HEARD_WITHIN, async {
            loop {
                let answer = stream.next().await.ok()?;
                if answer.canceled.is_some() || !answer.events.is_empty() {
                    return Some(answer);
                }
            }
        });
        heard.await.ok().flatten()
    }
}
