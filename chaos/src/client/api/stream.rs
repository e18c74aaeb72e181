//! A watch of one namespace's objects of one kind, or of one of them, as an API server tells it: told as a watch of the
//! keys at which the store holds them.
//!
//! Of each object it is told what it holds and at which resourceVersion; since when it is there and how often it was
//! written is not told, and zero. A bookmark is a word of progress.

use std::pin::Pin;
use std::time::Duration;

use http::Method;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::{ApiTarget, path, request_to};
use crate::client::{StreamEnd, TIMEOUT, UNCONNECTED};
use crate::history::{Change, Failure, Header, Kv, WatchAnswer, WatchEvent, WatchOpen, version};

type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An open stream. Dropping it closes it.
pub struct ObjectStream {
    watch: u64,
    /// What all of its keys begin with: `/registry/configmaps/default/`.
    folder: String,
    /// None once it has brought everything.
    connection: Option<Connection>,
    body: Incoming,
    unread: Vec<u8>,
}

impl ObjectStream {
    /// Asks for the watch, which the server ends after a time. It starts at a revision that is not zero.
    ///
    /// # Errors
    /// When there is no stream within the time, or it is refused.
    pub async fn open(
        target: &ApiTarget,
        open: &WatchOpen,
        lasts: Duration,
        within: Duration,
    ) -> Result<Self, StreamEnd> {
        match tokio::time::timeout(within, Self::ask(target, open, lasts)).await {
            Ok(opened) => opened,
            Err(_) => Err(failed(TIMEOUT, "no stream within the time that the client gives")),
        }
    }

    async fn ask(target: &ApiTarget, open: &WatchOpen, lasts: Duration) -> Result<Self, StreamEnd> {
        let stream = target.connect().await.map_err(|error| failed(UNCONNECTED, &error.to_string()))?;
        let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opened.map_err(|error| broken(&error))?;
        let mut connection: Connection = Box::pin(connection);
        let asked = request_to(target, Method::GET, &uri(open, lasts)).body(Empty::<Bytes>::new());
        let asked = asked.map_err(|error| failed("Unsent", &error.to_string()))?;
        let response = tokio::select! {
            biased;
            response = sender.send_request(asked) => response.map_err(|error| broken(&error))?,
            ended = &mut connection => {
                return Err(ended.err().map_or(StreamEnd::Closed, |error| broken(&error)));
            }
        };
        let status = response.status();
        if !status.is_success() {
            return Err(failed(&status.as_u16().to_string(), "the server refuses to be watched"));
        }
        let (folder, _) = open.key.rsplit_once('/').unwrap_or_default();
        Ok(Self {
            watch: open.watch,
            folder: format!("{folder}/"),
            connection: Some(connection),
            body: response.into_body(),
            unread: Vec::new(),
        })
    }

    /// The next answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When there is none.
    pub async fn next(&mut self) -> Result<WatchAnswer, StreamEnd> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return self.understand(&line);
            }
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                ended = work(&mut self.connection) => {
                    ended.map_err(|error| broken(&error))?;
                    self.connection = None;
                    continue;
                }
            };
            match frame {
                Some(Ok(frame)) => self.unread.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(broken(&error)),
                None if self.unread.is_empty() => return Err(StreamEnd::Over),
                None => return Err(StreamEnd::Closed),
            }
        }
    }

    fn understand(&self, line: &[u8]) -> Result<WatchAnswer, StreamEnd> {
        let told: Value = serde_json::from_slice(line).map_err(|error| failed("Torn", &error.to_string()))?;
        understand(self.watch, &self.folder, &told)
            .ok_or_else(|| failed("Strange", "the server tells what is no event of a watch"))
    }
}

/// A connection brings what is read of it only while it is worked with.
async fn work(connection: &mut Option<Connection>) -> hyper::Result<()> {
    match connection {
        Some(connection) => connection.await,
        None => std::future::pending().await,
    }
}

/// `…/configmaps?watch=1&resourceVersion=6…`, of a watch that starts at 7.
fn uri(open: &WatchOpen, lasts: Duration) -> String {
    let only = match (&open.end, open.key.rsplit_once('/')) {
        (None, Some((_, name))) => format!("&fieldSelector=metadata.name%3D{name}"),
        (Some(_), _) | (None, None) => String::new(),
    };
    let (path, after, seconds) = (path(&open.key, true), open.start.saturating_sub(1), lasts.as_secs());
    format!(
        "{path}?watch=1&allowWatchBookmarks=true&resourceVersion={after}&timeoutSeconds={}{only}",
        seconds.max(1)
    )
}

/// None, of what is no event.
fn understand(watch: u64, folder: &str, told: &Value) -> Option<WatchAnswer> {
    let object = &told["object"];
    let modified = version(object);
    let key = || Some(format!("{folder}{}", object["metadata"]["name"].as_str()?));
    let (mut events, mut canceled) = (Vec::new(), None);
    match told["type"].as_str()? {
        "ADDED" | "MODIFIED" => {
            let (key, value) = (key()?, without_version(object).to_string());
            let kv = Kv { key, value, created: 0, modified, version: 0, lease: 0 };
            events.push(WatchEvent { change: Change::Put { kv }, previous: None });
        }
        "DELETED" => {
            events.push(WatchEvent { change: Change::Delete { key: key()?, modified }, previous: None });
        }
        "BOOKMARK" => {}
        "ERROR" => canceled = Some(object["message"].as_str().unwrap_or_default().to_owned()),
        _ => return None,
    }
    // API servers tell of no cluster, no member and no term.
    let header = Header { cluster: 0, member: 0, revision: modified, term: 0 };
    Some(WatchAnswer { watch, header, created: false, canceled, compacted: 0, fragment: false, events })
}

/// As the store holds it.
fn without_version(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    object
}

fn broken(error: &hyper::Error) -> StreamEnd {
    failed("Broken", &error.to_string())
}

fn failed(code: &str, message: &str) -> StreamEnd {
    StreamEnd::Failed(Failure { code: code.to_owned(), message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FOLDER: &str = "/registry/configmaps/default/";

    fn open(key: &str, end: Option<&str>) -> WatchOpen {
        WatchOpen {
            watch: 1,
            member: "n1".to_owned(),
            key: key.to_owned(),
            end: end.map(str::to_owned),
            start: 7,
            previous: false,
            progress: true,
            fragment: false,
            no_put: false,
            no_delete: false,
        }
    }

    #[test]
    fn one_object_and_all_of_a_namespace_can_be_watched() {
        let all = uri(&open(FOLDER, Some("/registry/configmaps/default0")), Duration::from_secs(4));
        assert_eq!(
            all,
            "/api/v1/namespaces/default/configmaps?watch=1&allowWatchBookmarks=true&resourceVersion=6&timeoutSeconds=4"
        );
        let one = uri(&open("/registry/configmaps/default/a", None), Duration::ZERO);
        assert!(one.ends_with("timeoutSeconds=1&fieldSelector=metadata.name%3Da"), "{one}");
    }

    #[test]
    fn events_are_told_as_changes_of_keys() {
        let object = json!({"metadata": {"name": "a", "resourceVersion": "9"}, "data": {"x": "1"}});
        let told = |kind: &str| understand(1, FOLDER, &json!({"type": kind, "object": object})).unwrap();
        let key = "/registry/configmaps/default/a".to_owned();
        let value = r#"{"metadata":{"name":"a"},"data":{"x":"1"}}"#.to_owned();
        let kv = Kv { key: key.clone(), value, created: 0, modified: 9, version: 0, lease: 0 };
        for kind in ["ADDED", "MODIFIED"] {
            assert_eq!(told(kind).events[0].change, Change::Put { kv: kv.clone() });
        }
        assert_eq!(told("DELETED").events[0].change, Change::Delete { key, modified: 9 });
        let bookmark = told("BOOKMARK");
        assert!(bookmark.events.is_empty() && bookmark.canceled.is_none());
        assert_eq!(bookmark.header.revision, 9);
        let gone = understand(1, FOLDER, &json!({"type": "ERROR", "object": {"message": "too old"}}));
        assert_eq!(gone.unwrap().canceled.as_deref(), Some("too old"));
        assert_eq!(understand(1, FOLDER, &json!({"type": "MADE-UP", "object": {}})), None);
    }
}
