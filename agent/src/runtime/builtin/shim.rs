//! A pod's shim, as the agent sees it: started once, then asked over its socket.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::runtime::{Ending, Output, PIECES_WAITING_MAX, RuntimeError, Session, Streams, TerminalSize};
use crate::shim::protocol::{self, Answer, Message, Request};
use crate::shim::{COMMAND, READY, records};

/// Until a new shim can be asked: it makes some namespaces and writes some sysctls.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const SIZES_WAITING_MAX: usize = 4;

#[derive(Debug, Error)]
pub(super) enum ShimError {
    #[error("cannot start the pod's shim")]
    Start(#[source] io::Error),
    #[error("the pod's shim has ended: {0}")]
    Ended(String),
    #[error("the pod's shim is not ready after {} s", START_TIMEOUT.as_secs())]
    Slow,
}

/// Starts the shim of the pod whose folder this is; returns when it can be asked. It outlives its starter.
pub(super) async fn start(program: &Path, pod: &Path) -> Result<(), ShimError> {
    let log = File::create(records::shim_log(pod)).map_err(ShimError::Start)?;
    let mut command = Command::new(program);
    command.arg(COMMAND).arg(pod).env_clear().current_dir("/");
    // A group of its own: whoever interrupts the agent does not mean the pods.
    command.as_std_mut().process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(ShimError::Start)?;
    let Some(mut told) = child.stdout.take() else { return Err(ShimError::Slow) };
    let mut ready = [0; READY.len()];
    match tokio::time::timeout(START_TIMEOUT, told.read_exact(&mut ready)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => {
            let text = std::fs::read_to_string(records::shim_log(pod)).unwrap_or_default();
            Err(ShimError::Ended(text.trim().to_owned()))
        }
        Err(_) => {
            let _gone = child.start_kill();
            Err(ShimError::Slow)
        }
    }
}

/// Where a shim listens.
#[derive(Clone, Debug)]
pub(super) struct ShimSocket(pub(super) PathBuf);

impl ShimSocket {
    /// A request without streams.
    pub(super) async fn ask(&self, request: Request) -> Result<(), RuntimeError> {
        self.talk(request).await.map(drop)
    }

    /// A request that opens streams.
    pub(super) async fn open(&self, request: Request, streams: Streams) -> Result<Session, RuntimeError> {
        let (reader, writer) = self.talk(request).await?;
        let (stdin, input) = mpsc::channel(PIECES_WAITING_MAX);
        let (resize, sizes) = mpsc::channel(SIZES_WAITING_MAX);
        let (outputs, output) = mpsc::channel(PIECES_WAITING_MAX);
        let input = streams.stdin.then_some(input);
        let sizes = streams.tty.then_some(sizes);
        let work = async move {
            tokio::select! {
                biased;
                () = take(reader, outputs) => {}
                never = give(writer, input, sizes) => match never {},
            }
        };
        Ok(Session {
            stdin: streams.stdin.then_some(stdin),
            resize: streams.tty.then_some(resize),
            output,
            work: work.boxed(),
        })
    }

    async fn talk(&self, request: Request) -> Result<(OwnedReadHalf, OwnedWriteHalf), RuntimeError> {
        let (connection, answer) = self.exchange(&request).await.map_err(|error| {
            RuntimeError::Unreachable { message: format!("the pod's shim does not answer: {error}") }
        })?;
        match answer {
            Answer::Done => Ok(connection),
            Answer::NotStarted(failure) => Err(RuntimeError::Refused { message: failure.message }),
            Answer::Refused(message) => Err(RuntimeError::Refused { message }),
        }
    }

    async fn exchange(&self, request: &Request) -> io::Result<((OwnedReadHalf, OwnedWriteHalf), Answer)> {
        let (mut reader, mut writer) = UnixStream::connect(&self.0).await?.into_split();
        protocol::write(&mut writer, Message::talk(request)?).await?;
        let answer = protocol::read_talk(&mut reader).await?;
        Ok(((reader, writer), answer))
    }
}

/// What the process writes, and how it ended.
async fn take(mut reader: OwnedReadHalf, outputs: mpsc::Sender<Output>) {
    while let Ok(Some(message)) = protocol::read(&mut reader).await {
        let output = match message {
            Message::Stdout(data) => Output::Stdout(data),
            Message::Stderr(data) => Output::Stderr(data),
            Message::Exited(code) => Output::Ended(Ending::Exited(code)),
            Message::Talk(_) | Message::Stdin(_) | Message::StdinEnd | Message::Resize(_) => continue,
        };
        if outputs.send(output).await.is_err() {
            return;
        }
    }
}

/// What the process reads, and how large its terminal is. Ends with the session only.
async fn give(
    mut writer: OwnedWriteHalf,
    mut input: Option<mpsc::Receiver<Bytes>>,
    mut sizes: Option<mpsc::Receiver<TerminalSize>>,
) -> std::convert::Infallible {
    loop {
        let message = tokio::select! {
            biased;
            size = next(&mut sizes) => match size {
                Some(size) => Message::Resize(size),
                None => {
                    sizes = None;
                    continue;
                }
            },
            data = next(&mut input) => match data {
                Some(data) => Message::Stdin(data),
                None => {
                    input = None;
                    Message::StdinEnd
                }
            },
        };
        // Whoever reads learns that the shim is gone.
        if protocol::write(&mut writer, message).await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn next<T>(from: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}
