//! What the history is told of calls to members that do not answer.

use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::Endpoint;

use super::*;
use crate::history::{Line, Put, Range};

const DEADLINE: Duration = Duration::from_millis(100);

fn put() -> Op {
    Op::Put(Put { key: "k".to_owned(), value: "v".to_owned(), lease: 0, previous: false })
}

fn get() -> Op {
    Op::Range(Range { key: "k".to_owned(), ..Range::default() })
}

/// A client of whoever listens there.
fn client(port: u16) -> Client {
    let recorder = Recorder::new(Writer::in_memory(), Some("run".to_owned()));
    let address = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    Client::new(recorder, Target::at("n1", address), "kv", DEADLINE)
}

/// Takes connections and says nothing.
async fn mute() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn say(line: &Line) -> String {
    let what = match &line.event {
        Event::Invoke(invoke) => format!("asks {}", invoke.request_id.as_deref().unwrap_or("without an id")),
        Event::Return { outcome: Outcome::Refused(failure) } => format!("refused {}", failure.code),
        Event::Return { outcome: Outcome::Unknown(failure) } => format!("unknown {}", failure.code),
        other => format!("{other:?}"),
    };
    format!("{} {what}", line.process)
}

fn told(recorder: &Recorder) -> Vec<String> {
    recorder.history.lines().iter().map(say).collect()
}

#[tokio::test]
async fn who_does_not_know_what_became_of_a_write_is_another_process_afterwards() {
    let (_listener, port) = mute().await;
    let mut client = client(port);
    client.call(get()).await;
    client.call(put()).await;
    client.call(put()).await;
    let recorder = client.recorder().clone();
    let expected = [
        "1 asks without an id",
        "1 refused Timeout",
        "1 asks run-1",
        "1 unknown Timeout",
        "2 asks run-2",
        "2 unknown Timeout",
    ];
    assert_eq!(told(&recorder), expected);
    assert_eq!(recorder.counts(), Counts { ok: 0, refused: 1, unknown: 2 });
}

#[tokio::test]
async fn what_is_asked_again_keeps_its_id_and_its_process() {
    let (_listener, port) = mute().await;
    let mut client = client(port);
    client.call(put()).await;
    let recorder = client.recorder().clone();
    let unresolved = recorder.take_unresolved();
    assert_eq!(unresolved.len(), 1);
    let mut asker = Asker::new(recorder.clone(), client.target.clone(), DEADLINE);
    for call in unresolved {
        asker.ask_again(call).await;
    }
    assert_eq!(told(&recorder)[2..], ["1 asks run-1", "1 unknown Timeout"]);
    assert_eq!(recorder.take_unresolved().len(), 1, "it is still unresolved");
}

#[tokio::test]
async fn a_call_that_nobody_took_certainly_did_nothing() {
    let (listener, port) = mute().await;
    drop(listener);
    let mut client = client(port);
    client.call(put()).await;
    assert_eq!(told(client.recorder()), ["1 asks run-1", "1 refused Unconnected"]);
    assert!(client.recorder().take_unresolved().is_empty());
}

#[tokio::test]
async fn who_asks_twice_uses_one_id_and_stays_where_he_was() {
    let (_listener, port) = mute().await;
    let (nobody, closed) = mute().await;
    drop(nobody);
    let mut client = client(port);
    let another = self::client(closed).target.named("n2".to_owned());
    assert!(!client.call_twice(put(), another).await);
    assert_eq!(
        told(client.recorder()),
        ["1 asks run-1", "1 unknown Timeout", "2 asks run-1", "2 refused Unconnected"]
    );
    let unresolved = client.recorder().take_unresolved();
    assert_eq!(unresolved.iter().map(|call| call.process).collect::<Vec<_>>(), [1]);
    assert_eq!(client.member(), "n1");
}
