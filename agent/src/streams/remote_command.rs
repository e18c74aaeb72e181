//! A session over SPDY: one stream each for the standard streams, the terminal's size, and how it ended.
//!
//! The client opens them all before the process starts.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tracing::debug;

use super::spdy::{self, Handle, HungUp, Role, Stream};
use super::{LINGER, status};
use crate::causes::in_full;
use crate::runtime::{Ending, Output, Session, Streams, TerminalSize};

/// How long the client may take to open its streams.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);
/// What is said of the terminal's size and not yet understood.
const SIZES_BYTES_MAX: usize = 1024;

/// Until the session has ended and the client knows it, or the client has gone away.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    wanted: Streams,
    opening: impl Future<Output = Result<Session, String>>,
) {
    let spdy::Connection { handle, mut accepted, work } = spdy::connection(io, Role::Server);
    let serving = async {
        let streams = tokio::time::timeout(STREAMS_TIMEOUT, Opened::wait(wanted, &mut accepted)).await;
        let Ok(Some(streams)) = streams else { return };
        let _gone = streams.serve(&handle, opening).await;
        // Whatever else the client opens is not for anybody.
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        biased;
        worked = work => if let Err(error) = worked {
            debug!(error = %in_full(&error), "a session over SPDY broke");
        },
        () = serving => {}
    }
}

/// The streams that the client has opened.
#[derive(Default)]
struct Opened {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    error: Option<Stream>,
    resize: Option<Stream>,
    last: u32,
}

impl Opened {
    /// `None` when the client hangs up.
    async fn wait(wanted: Streams, accepted: &mut mpsc::Receiver<Stream>) -> Option<Self> {
        let mut opened = Self::default();
        while !opened.has_all(wanted) {
            let stream = accepted.recv().await?;
            opened.last = stream.id;
            match stream.headers.get("streamtype").map(String::as_str) {
                Some("stdin") => opened.stdin = Some(stream),
                Some("stdout") => opened.stdout = Some(stream),
                Some("stderr") => opened.stderr = Some(stream),
                Some("error") => opened.error = Some(stream),
                Some("resize") => opened.resize = Some(stream),
                _ => debug!(?stream, "a stream of no known kind"),
            }
        }
        Some(opened)
    }

    fn has_all(&self, wanted: Streams) -> bool {
        self.error.is_some()
            && self.stdin.is_some() >= wanted.stdin
            && self.stdout.is_some() >= wanted.stdout
            && self.stderr.is_some() >= wanted.stderr
            && self.resize.is_some() >= wanted.tty
    }

    async fn serve(
        self,
        client: &Handle,
        opening: impl Future<Output = Result<Session, String>>,
    ) -> Result<(), HungUp> {
        let id = |stream: &Option<Stream>| stream.as_ref().map(|stream| stream.id);
        let (stdout, stderr, error) = (id(&self.stdout), id(&self.stderr), id(&self.error));
        let ids = [id(&self.stdin), stdout, stderr, error, id(&self.resize)];
        let session = opening.await.unwrap_or_else(Session::failed);
        let input = pass_on(self.stdin, session.stdin);
        let sizes = pass_on_sizes(self.resize, session.resize);
        let output = pass_back(client, (stdout, stderr), session.output);
        let others = async {
            tokio::join!(input, sizes, session.work);
            // What the process still left is on its way; who writes it sees the end.
            std::future::pending::<Infallible>().await
        };
        let ending = tokio::select! {
            biased;
            ending = output => ending?,
            never = others => match never {},
        };
        if let Some(error) = error {
            client.data(error, Bytes::from(status::of_ending(&ending))).await?;
        }
        for id in ids.into_iter().flatten() {
            client.finish(id).await?;
        }
        client.go_away(self.last).await
    }
}

/// The end of the client's stream is the end of the process' input.
async fn pass_on(from: Option<Stream>, to: Option<mpsc::Sender<Bytes>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    while let Some(data) = from.data.recv().await {
        // A process that reads no more loses what it is sent.
        let _ended = to.send(data).await;
    }
}

async fn pass_on_sizes(from: Option<Stream>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut text = BytesMut::new();
    while let Some(data) = from.data.recv().await {
        text.extend_from_slice(&data);
        if text.len() > SIZES_BYTES_MAX {
            return;
        }
        if text.trim_ascii_end().ends_with(b"}") {
            for size in status::parse_sizes(&text.split()) {
                let _ended = to.send(size).await;
            }
        }
    }
}

/// Until the process has ended.
async fn pass_back(
    client: &Handle,
    (stdout, stderr): (Option<u32>, Option<u32>),
    mut output: mpsc::Receiver<Output>,
) -> Result<Ending, HungUp> {
    while let Some(output) = output.recv().await {
        let (id, data) = match output {
            Output::Stdout(data) => (stdout, data),
            Output::Stderr(data) => (stderr, data),
            Output::Ended(ending) => return Ok(ending),
        };
        if let Some(id) = id {
            client.data(id, data).await?;
        }
    }
    Ok(super::hung_up())
}
