//! A session over WebSocket: the first byte of each message says which stream it belongs to.
//!
//! `v4.channel.k8s.io` and `v5.channel.k8s.io`, which can end the standard input by itself; either with all
//! bytes in base64, too.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tracing::debug;

use super::channel_format::{ChannelReader, Piece};
use super::protocol::Channels;
use super::websocket::{Courtesy, Reader, WebSocketError, Writer};
use super::{LINGER, status};
use crate::causes::in_full;
use crate::runtime::{Ending, Output, Session, Streams, TerminalSize};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In v5: the stream named by the next byte has ended.
const ENDED: u8 = 255;

const COURTESIES_WAITING_MAX: usize = 4;

/// Until the session has ended and the client knows it, or the client has gone away.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Send,
    channels: Channels,
    wanted: Streams,
    opening: impl Future<Output = Result<Session, String>>,
) {
    let (read, write) = tokio::io::split(io);
    let mut writer = ChannelWriter { writer: Writer::new(write), channels };
    let begun = writer.begin(wanted).await;
    let session = opening.await.unwrap_or_else(Session::failed);
    let (courtesies, waiting) = mpsc::channel(COURTESIES_WAITING_MAX);
    let incoming = Incoming { channels, stdin: session.stdin, resize: session.resize };
    let reading = incoming.run(ChannelReader::new(Reader::new(read), channels, courtesies));
    let writing = writer.run(session.output, waiting);
    let work = async {
        session.work.await;
        // What it still left is on its way; who writes it sees the end.
        std::future::pending::<Infallible>().await
    };
    tokio::pin!(reading, writing);
    let ended = tokio::select! {
        biased;
        wrote = &mut writing => match wrote {
            Ok(()) => tokio::time::timeout(LINGER, reading).await.unwrap_or(Ok(())),
            Err(error) => Err(error),
        },
        read = &mut reading => read,
        never = work => match never {},
    };
    if let Err(error) = begun.and(ended) {
        debug!(error = %in_full(&error), "a session over WebSocket broke");
    }
}

/// What the client sends.
struct Incoming {
    channels: Channels,
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: Option<mpsc::Sender<TerminalSize>>,
}

impl Incoming {
    /// Until the client hangs up.
    async fn run(
        mut self,
        mut client: ChannelReader<impl AsyncRead + Unpin, Courtesy>,
    ) -> Result<(), WebSocketError> {
        let mut inbox = self.channels.inbox();
        while let Some(Piece { channel, last, data }) = client.next().await? {
            match channel {
                Some(STDIN) => {
                    if let Some(data) = inbox.take(data, last)? {
                        self.input(data).await;
                    }
                }
                Some(RESIZE) => {
                    // Small, and in one piece but for base64.
                    if let Some(data) = inbox.take(data, last)? {
                        self.resize(&data).await;
                    }
                }
                Some(ENDED) if self.channels.can_end_input && data.as_ref() == [STDIN] => self.stdin = None,
                // The message is empty, or is nothing that a client has to say.
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    async fn input(&self, data: Bytes) {
        if let Some(stdin) = &self.stdin
            && !data.is_empty()
        {
            // A process that has closed its input, or has ended, reads no more.
            let _ended = stdin.send(data).await;
        }
    }

    async fn resize(&self, sizes: &[u8]) {
        if let Some(resize) = &self.resize {
            for size in status::parse_sizes(sizes) {
                let _ended = resize.send(size).await;
            }
        }
    }
}

struct ChannelWriter<W> {
    writer: Writer<W>,
    channels: Channels,
}

impl<W: AsyncWrite + Unpin> ChannelWriter<W> {
    /// An empty message on the first stream that can be read tells that all is ready.
    async fn begin(&mut self, wanted: Streams) -> Result<(), WebSocketError> {
        let channel = match wanted {
            Streams { stdout: true, .. } => STDOUT,
            Streams { stderr: true, .. } => STDERR,
            _ => ERROR,
        };
        self.write(channel, &[]).await
    }

    /// Until the session has ended and the client was told, or has said good-bye.
    async fn run(
        mut self,
        mut output: mpsc::Receiver<Output>,
        mut courtesies: mpsc::Receiver<Courtesy>,
    ) -> Result<(), WebSocketError> {
        loop {
            tokio::select! {
                biased;
                Some(courtesy) = courtesies.recv() => if !self.writer.courtesy(courtesy).await? {
                    return Ok(());
                },
                output = output.recv() => match output {
                    Some(Output::Stdout(data)) => self.write(STDOUT, &data).await?,
                    Some(Output::Stderr(data)) => self.write(STDERR, &data).await?,
                    Some(Output::Ended(ending)) => return self.end(&ending).await,
                    None => return self.end(&super::hung_up()).await,
                },
            }
        }
    }

    async fn end(&mut self, ending: &Ending) -> Result<(), WebSocketError> {
        self.write(ERROR, status::of_ending(ending).as_bytes()).await?;
        self.writer.close().await
    }

    async fn write(&mut self, channel: u8, data: &[u8]) -> Result<(), WebSocketError> {
        self.channels.write(&mut self.writer, channel, data).await
    }
}
