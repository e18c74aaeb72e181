//! Sessions of a runtime that serves streams itself, at the address that it answers to an Exec or Attach:
//! over SPDY/3.1, which every CRI runtime speaks, on this machine.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing::debug;

use crate::causes::in_full;
use crate::runtime::{Ending, Output, PIECES_WAITING_MAX, RuntimeError, Session, Streams, TerminalSize};
use crate::streams::spdy::{self, Handle, Headers, HungUp, Role};
use crate::streams::{of_size, parse_ending};

const PROTOCOL: &str = "v4.channel.k8s.io";
/// How a session ended is told in a few hundred bytes.
const STATUS_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_CHARS_MAX: usize = 1024;
const SIZES_WAITING_MAX: usize = 4;

// A client's streams have odd numbers.
const ERROR: u32 = 1;
const STDIN: u32 = 3;
const STDOUT: u32 = 5;
const STDERR: u32 = 7;
const RESIZE: u32 = 9;

type Data = mpsc::Receiver<Bytes>;

/// Opens the streams at `url`.
pub(super) async fn open(url: &str, wanted: Streams) -> Result<Session, RuntimeError> {
    let connection = dial(url).await.map_err(|message| RuntimeError::Unreachable { message })?;
    let spdy::Connection { handle, accepted, work } = spdy::connection(connection, Role::Client);
    let (stdin, input) = mpsc::channel(PIECES_WAITING_MAX);
    let (resize, sizes) = mpsc::channel(SIZES_WAITING_MAX);
    let (outputs, output) = mpsc::channel(PIECES_WAITING_MAX);
    let talk = async move {
        // A runtime opens no streams of its own.
        drop(accepted);
        let Ok(streams) = Opened::open(&handle, wanted).await else { return };
        let input = async {
            let input = write(&handle, wanted.stdin.then_some(input));
            let _hung_up = tokio::join!(input, write_sizes(&handle, wanted.tty.then_some(sizes)));
            std::future::pending::<Infallible>().await
        };
        let output = async {
            let stdout = read(streams.stdout, &outputs, Output::Stdout);
            let stderr = read(streams.stderr, &outputs, Output::Stderr);
            let (ending, (), ()) = tokio::join!(collect(streams.error), stdout, stderr);
            let _gone = outputs.send(Output::Ended(ending)).await;
        };
        tokio::select! {
            biased;
            () = output => {}
            never = input => match never {},
        }
    };
    let work = async move {
        let (worked, ()) = tokio::join!(work, talk);
        if let Err(error) = worked {
            debug!(error = %in_full(&error), "the container runtime's streams broke");
        }
    };
    Ok(Session {
        stdin: wanted.stdin.then_some(stdin),
        resize: wanted.tty.then_some(resize),
        output,
        work: work.boxed(),
    })
}

/// Connects and upgrades. The error is for people.
async fn dial(url: &str) -> Result<TokioIo<Upgraded>, String> {
    let uri: Uri = url.parse().map_err(|_| format!("the address of the streams is no URL: {url}"))?;
    let host = uri.authority().ok_or_else(|| format!("the address of the streams has no host: {url}"))?;
    let tcp = TcpStream::connect(host.as_str()).await.map_err(|error| error.to_string())?;
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await;
    let (mut sender, connection) = handshake.map_err(|error| in_full(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, host.as_str())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|error| in_full(&error))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return hyper::upgrade::on(response).await.map_err(|error| in_full(&error));
        }
        let code = response.status();
        let text = response.into_body().collect().await.map_err(|error| in_full(&error))?.to_bytes();
        let text: String = String::from_utf8_lossy(&text).chars().take(REFUSAL_CHARS_MAX).collect();
        Err(format!("the container runtime refused streams with {code}: {text}"))
    };
    let (upgraded, connected) = tokio::join!(answer, connection.with_upgrades());
    if let Err(error) = connected {
        debug!(error = %in_full(&error), "the connection for streams ended early");
    }
    Ok(TokioIo::new(upgraded?))
}

/// What the runtime sends.
struct Opened {
    error: Data,
    stdout: Option<Data>,
    stderr: Option<Data>,
}

impl Opened {
    /// In the order of their numbers.
    async fn open(handle: &Handle, wanted: Streams) -> Result<Self, HungUp> {
        let open = async |id, name: &str, wanted| {
            let headers = Headers::from([("streamtype".to_owned(), name.to_owned())]);
            if wanted { handle.open(id, headers).await.map(Some) } else { Ok(None) }
        };
        let error = open(ERROR, "error", true).await?.ok_or(HungUp)?;
        open(STDIN, "stdin", wanted.stdin).await?;
        let stdout = open(STDOUT, "stdout", wanted.stdout).await?;
        let stderr = open(STDERR, "stderr", wanted.stderr).await?;
        open(RESIZE, "resize", wanted.tty).await?;
        Ok(Self { error, stdout, stderr })
    }
}

async fn write(handle: &Handle, input: Option<mpsc::Receiver<Bytes>>) -> Result<(), HungUp> {
    let Some(mut input) = input else { return Ok(()) };
    while let Some(data) = input.recv().await {
        handle.data(STDIN, data).await?;
    }
    handle.finish(STDIN).await
}

async fn write_sizes(handle: &Handle, sizes: Option<mpsc::Receiver<TerminalSize>>) -> Result<(), HungUp> {
    let Some(mut sizes) = sizes else { return Ok(()) };
    while let Some(size) = sizes.recv().await {
        handle.data(RESIZE, Bytes::from(of_size(size))).await?;
    }
    handle.finish(RESIZE).await
}

async fn read(from: Option<Data>, to: &mpsc::Sender<Output>, stream: fn(Bytes) -> Output) {
    let Some(mut from) = from else { return };
    while let Some(data) = from.recv().await {
        if to.send(stream(data)).await.is_err() {
            return;
        }
    }
}

async fn collect(mut error: Data) -> Ending {
    let mut status = BytesMut::new();
    while let Some(data) = error.recv().await {
        if status.len() + data.len() <= STATUS_BYTES_MAX {
            status.extend_from_slice(&data);
        }
    }
    parse_ending(&status)
}
