//! What a failed call says about what happened: certainly nothing, or perhaps something.
//!
//! A status that the server sent is believed by its code. One that was made on this side, when a connection broke,
//! leaves everything open, unless there never was a connection.

use std::error::Error as _;

use tonic::{Code, ConnectError, Status};

use crate::history::{Failure, Op, Outcome};

/// The client's own code for a call that was not answered in time.
pub const TIMEOUT: &str = "Timeout";
/// The client's own code for a call that was never sent: nobody was there to take it.
pub const UNCONNECTED: &str = "Unconnected";

/// Whether it may change anything. Who asks without changing is refused, or answered.
pub fn writes(op: &Op) -> bool {
    match op {
        Op::Range(_) | Op::TimeToLive { .. } | Op::Status => false,
        Op::Put(_)
        | Op::Delete(_)
        | Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. } => true,
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(writes),
    }
}

/// Whether the same request may be asked again under its id: the server keeps the answers to these.
pub fn can_be_asked_again(op: &Op) -> bool {
    match op {
        Op::Put(_) | Op::Delete(_) | Op::Compact { .. } | Op::Grant { .. } | Op::Revoke { .. } => true,
        Op::Txn(_) => writes(op),
        Op::Range(_)
        | Op::TimeToLive { .. }
        | Op::Status
        | Op::KeepAlive { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. } => false,
    }
}

pub(super) fn of_status(op: &Op, status: &Status) -> Outcome {
    if was_never_sent(status) {
        let message = status.message().to_owned();
        return Outcome::Refused(Failure { code: UNCONNECTED.to_owned(), message });
    }
    let failure = Failure { code: format!("{:?}", status.code()), message: status.message().to_owned() };
    if writes(op) && !is_definite(status) { Outcome::Unknown(failure) } else { Outcome::Refused(failure) }
}

pub(super) fn of_timeout(op: &Op) -> Outcome {
    let message = "no answer within the time that the client gives".to_owned();
    let failure = Failure { code: TIMEOUT.to_owned(), message };
    if writes(op) { Outcome::Unknown(failure) } else { Outcome::Refused(failure) }
}

fn was_never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the server says that it did nothing.
fn is_definite(status: &Status) -> bool {
    // What this side made of a broken connection has a cause, what the server sent has none.
    if status.source().is_some() {
        return false;
    }
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::history::{Put, Range, Txn};

    fn put() -> Op {
        Op::Put(Put { key: "k".to_owned(), value: "v".to_owned(), lease: 0, previous: false })
    }

    fn range() -> Op {
        Op::Range(Range { key: "k".to_owned(), ..Range::default() })
    }

    fn txn(then: Vec<Op>) -> Op {
        Op::Txn(Txn { compare: Vec::new(), then, otherwise: Vec::new() })
    }

    fn say(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Ok { .. } => "ok".to_owned(),
            Outcome::Refused(failure) => format!("refused {}", failure.code),
            Outcome::Unknown(failure) => format!("unknown {}", failure.code),
        }
    }

    fn check(status: &Status, expected: &Expect) {
        let of = |op| say(&of_status(&op, status));
        let told = [
            of(put()),
            of(txn(vec![put()])),
            of(range()),
            of(txn(vec![range()])),
            of(Op::KeepAlive { id: 1 }),
        ];
        expected.assert_eq(&told.join(", "));
    }

    #[test]
    fn what_the_server_refuses_did_not_happen() {
        check(
            &Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
            &expect![
                "refused OutOfRange, refused OutOfRange, refused OutOfRange, refused OutOfRange, refused OutOfRange"
            ],
        );
        check(
            &Status::resource_exhausted("etcdserver: too many requests"),
            &expect![
                "refused ResourceExhausted, refused ResourceExhausted, refused ResourceExhausted, refused ResourceExhausted, refused ResourceExhausted"
            ],
        );
    }

    #[test]
    fn a_write_that_nobody_vouches_for_may_have_happened() {
        for status in [
            Status::unavailable("etcdserver: request timed out"),
            Status::unavailable("etcdserver: leader changed"),
            Status::deadline_exceeded(""),
            Status::internal("stream closed"),
            Status::cancelled(""),
            Status::unknown("?"),
        ] {
            assert!(matches!(of_status(&put(), &status), Outcome::Unknown(_)), "{status:?}");
            assert!(matches!(of_status(&range(), &status), Outcome::Refused(_)), "{status:?}");
        }
        assert!(matches!(of_timeout(&put()), Outcome::Unknown(_)));
        assert!(matches!(of_timeout(&range()), Outcome::Refused(_)));
    }

    #[test]
    fn only_who_was_never_reached_certainly_did_nothing() {
        let mut broken = Status::resource_exhausted("h2 protocol error");
        broken.set_source(Arc::new(std::io::Error::other("connection reset")));
        check(
            &broken,
            &expect![
                "unknown ResourceExhausted, unknown ResourceExhausted, refused ResourceExhausted, refused ResourceExhausted, unknown ResourceExhausted"
            ],
        );
        let mut nobody = Status::unavailable("tcp connect error");
        nobody.set_source(Arc::new(ConnectError("connection refused".into())));
        check(
            &nobody,
            &expect![
                "refused Unconnected, refused Unconnected, refused Unconnected, refused Unconnected, refused Unconnected"
            ],
        );
    }
}
