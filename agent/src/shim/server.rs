//! Answers the agent: one request per connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::containers::{Containers, Run};
use super::output::Stream;
use super::protocol::{self, Answer, Message, Request, WhenLeft};
use super::spawn::Pids;
use super::stdio::{self, Sink, Source, Terminal};
use crate::container::spec::{Launch, ProcessSpec, StartFailure};
use crate::runtime::{PIECES_WAITING_MAX, Streams};

/// Descriptors may run out for a moment.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves until the shim is asked to end.
pub(super) async fn serve(listener: UnixListener, containers: Arc<Containers>, tasks: Tasks) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = tasks.stop().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((connection, _)) => {
                let (containers, stop) = (containers.clone(), tasks.stop().clone());
                tasks.spawn_infallible("request", async move {
                    match answer(connection, &containers).await {
                        Ok(Next::Served) => {}
                        Ok(Next::Ends) => stop.cancel(),
                        Err(error) => debug!(%error, "a request was left"),
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a request");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

enum Next {
    Served,
    /// The shim is to end.
    Ends,
}

async fn answer(connection: UnixStream, containers: &Containers) -> io::Result<Next> {
    let (mut reader, mut writer) = connection.into_split();
    let request: Request = protocol::read_talk(&mut reader).await?;
    match request {
        Request::Start { container } => reply(&mut writer, &containers.start(&container).await).await?,
        Request::Stop { container, grace_ms } => {
            let stopped = containers.stop(&container, Duration::from_millis(grace_ms)).await;
            reply(&mut writer, &stopped).await?;
        }
        Request::Exec { container, process, streams, when_left } => {
            let exec = Exec { containers, process, streams, when_left };
            match containers.running(&container) {
                Ok(run) => exec.serve(&run, reader, writer).await?,
                Err(refusal) => reply(&mut writer, &refusal).await?,
            }
        }
        Request::Attach { container, streams } => match containers.running(&container) {
            Ok(run) => attach(&run, streams, reader, writer).await?,
            Err(refusal) => reply(&mut writer, &refusal).await?,
        },
        Request::ReopenLog { container } => {
            let reopened = match containers.running(&container) {
                Ok(run) => match run.outlet.reopen() {
                    Ok(()) => Answer::Done,
                    Err(error) => Answer::Refused(format!("cannot open the container's log: {error}")),
                },
                Err(refusal) => refusal,
            };
            reply(&mut writer, &reopened).await?;
        }
        Request::Shutdown => {
            containers.stop_all().await;
            reply(&mut writer, &Answer::Done).await?;
            return Ok(Next::Ends);
        }
    }
    Ok(Next::Served)
}

async fn reply(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    protocol::write(writer, Message::talk(answer)?).await
}

/// A process beside the container's own.
struct Exec<'a> {
    containers: &'a Containers,
    process: Box<ProcessSpec>,
    streams: Streams,
    when_left: WhenLeft,
}

impl Exec<'_> {
    async fn serve(self, run: &Run, reader: OwnedReadHalf, mut writer: OwnedWriteHalf) -> io::Result<()> {
        let (given, ours) = stdio::open(self.streams)?;
        let launch = Launch::Exec {
            container: Box::new(run.spec.clone()),
            leader: run.pid,
            process: self.process.clone(),
        };
        let launched = match self.containers.spawner.spawn(&launch, Pids::Of(run.pid), given) {
            Ok(launched) => launched,
            Err(error) => {
                let failure = StartFailure { code: 128, message: crate::causes::in_full(&error) };
                return reply(&mut writer, &Answer::NotStarted(failure)).await;
            }
        };
        let pid = launched.pid;
        let exit = self.containers.exits.of(pid);
        if let Err(failure) = launched.outcome().await {
            return reply(&mut writer, &Answer::NotStarted(failure)).await;
        }
        let ours = match ours.arrived() {
            Ok(ours) => ours,
            Err(error) => {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
                let message = format!("cannot take the terminal over: {error}");
                return reply(&mut writer, &Answer::NotStarted(StartFailure { code: 128, message })).await;
            }
        };
        reply(&mut writer, &Answer::Done).await?;
        let mut stdin = ours.stdin;
        let input = take_input(reader, &mut stdin, ours.terminal.as_ref(), WhenInputEnds::Close);
        let output = async {
            let written = give_output(ours.stdout, ours.stderr, &mut writer).await;
            let code = exit.await.unwrap_or(128);
            match written {
                Ok(()) => protocol::write(&mut writer, Message::Exited(code)).await,
                Err(error) => Err(error),
            }
        };
        let finished = tokio::select! {
            biased;
            finished = output => finished,
            _left = input => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if finished.is_err() && self.when_left == WhenLeft::IsKilled && self.containers.exits.is_awaited(pid)
        {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        finished
    }
}

/// The streams of the container's own process, for as long as both sides want.
async fn attach(
    run: &Run,
    streams: Streams,
    reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
) -> io::Result<()> {
    let mut heard = run.outlet.listen();
    reply(&mut writer, &Answer::Done).await?;
    // One session at a time writes what the process reads.
    let taken = || run.stdin.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let mut stdin = if streams.stdin { taken() } else { None };
    let when_input_ends = if run.spec.stdin_once { WhenInputEnds::Close } else { WhenInputEnds::Keep };
    let output = async {
        while let Some(message) = heard.recv().await {
            let is_wanted = match message {
                Message::Stdout(_) => streams.stdout,
                Message::Stderr(_) => streams.stderr,
                Message::Talk(_)
                | Message::Stdin(_)
                | Message::StdinEnd
                | Message::Resize(_)
                | Message::Exited(_) => false,
            };
            if is_wanted {
                protocol::write(&mut writer, message).await?;
            }
        }
        protocol::write(&mut writer, Message::Exited(0)).await
    };
    let input = take_input(reader, &mut stdin, run.terminal.as_ref(), when_input_ends);
    let finished = tokio::select! {
        biased;
        finished = output => finished,
        _left = input => Ok(()),
    };
    if streams.stdin && when_input_ends == WhenInputEnds::Keep {
        *run.stdin.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = stdin;
    }
    finished
}

/// What the end of a session's input is to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenInputEnds {
    /// The end of its own.
    Close,
    /// Nothing: another session may write more.
    Keep,
}

/// Returns when the agent has hung up.
async fn take_input(
    mut reader: OwnedReadHalf,
    stdin: &mut Option<Sink>,
    terminal: Option<&Terminal>,
    when_ends: WhenInputEnds,
) -> io::Result<()> {
    while let Some(message) = protocol::read(&mut reader).await? {
        match message {
            Message::Stdin(data) => {
                // A process may have closed its input and go on.
                if let Some(sink) = stdin
                    && sink.write_all(&data).await.is_err()
                {
                    *stdin = None;
                }
            }
            Message::StdinEnd if when_ends == WhenInputEnds::Close => *stdin = None,
            Message::Resize(size) => {
                if let Some(terminal) = terminal {
                    terminal.resize(size);
                }
            }
            Message::StdinEnd
            | Message::Talk(_)
            | Message::Stdout(_)
            | Message::Stderr(_)
            | Message::Exited(_) => {}
        }
    }
    Ok(())
}

/// Returns when both are at their end, or the agent has hung up.
async fn give_output(
    stdout: Option<Source>,
    stderr: Option<Source>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let (pieces, mut waiting) = mpsc::channel(PIECES_WAITING_MAX);
    let read = async |source: Option<Source>, stream: Stream, pieces: mpsc::Sender<Message>| {
        let Some(mut source) = source else { return };
        while let Some(data) = source.next().await {
            if pieces.send(stream.message(data)).await.is_err() {
                return;
            }
        }
    };
    let reads = async {
        tokio::join!(read(stdout, Stream::Stdout, pieces.clone()), read(stderr, Stream::Stderr, pieces));
    };
    let write = async {
        while let Some(message) = waiting.recv().await {
            protocol::write(writer, message).await?;
        }
        Ok(())
    };
    tokio::pin!(reads, write);
    let mut is_read = false;
    loop {
        tokio::select! {
            biased;
            written = &mut write => return written,
            () = &mut reads, if !is_read => is_read = true,
        }
    }
}
