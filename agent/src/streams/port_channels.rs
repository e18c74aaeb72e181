//! Ports of a pod, forwarded over WebSocket: for each port that the query names one connection, at once, with
//! a channel for its data and one for its error. Each channel begins with the port, as two bytes, the lower
//! first.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tracing::debug;

use super::LINGER;
use super::channel_format::{ChannelReader, Piece};
use super::dial::PodNetwork;
use super::protocol::Channels;
use super::websocket::{Courtesy, Reader, WebSocketError, Writer};
use crate::causes::in_full;

const PIECES_WAITING_MAX: usize = 8;
const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Channels are numbered with one byte, and each port takes two.
const PORTS_MAX: usize = 128;

/// What is sent to the client.
enum Outgoing {
    Channel(u8, Bytes),
    Courtesy(Courtesy),
}

impl From<Courtesy> for Outgoing {
    fn from(courtesy: Courtesy) -> Self {
        Self::Courtesy(courtesy)
    }
}

/// Until every connection has ended, or the client hangs up.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Send,
    channels: Channels,
    ports: Vec<u16>,
    pod: Arc<PodNetwork>,
) {
    let (read, write) = tokio::io::split(io);
    let (outgoing, waiting) = mpsc::channel(PIECES_WAITING_MAX);
    let mut inputs = Vec::new();
    let mut connections = Vec::new();
    for (number, port) in (0_u8..).step_by(2).zip(ports.into_iter().take(PORTS_MAX)) {
        let (input, data) = mpsc::channel(PIECES_WAITING_MAX);
        inputs.push(input);
        connections.push(forward(&pod, (number, port), data, outgoing.clone()));
    }
    let done = outgoing.clone();
    let client = ChannelReader::new(Reader::new(read), channels, outgoing);
    let reading = incoming(client, channels, inputs);
    let writing = write_all(Writer::new(write), channels, waiting);
    let connections = async {
        join_all(connections).await;
        let _gone = done.send(Outgoing::Courtesy(Courtesy::Close)).await;
        // What was sent before is still to be written.
        std::future::pending::<Infallible>().await
    };
    tokio::pin!(reading);
    let ended = tokio::select! {
        biased;
        wrote = writing => match wrote {
            Ok(()) => tokio::time::timeout(LINGER, reading).await.unwrap_or(Ok(())),
            broken => broken,
        },
        read = &mut reading => read,
        never = connections => match never {},
    };
    if let Err(error) = ended {
        debug!(error = %in_full(&error), "port forwarding over WebSocket broke");
    }
}

/// One connection to a port.
async fn forward(
    pod: &PodNetwork,
    (channel, port): (u8, u16),
    mut data: mpsc::Receiver<Bytes>,
    client: mpsc::Sender<Outgoing>,
) {
    let error_channel = channel.saturating_add(1);
    let name = Bytes::copy_from_slice(&port.to_le_bytes());
    for channel in [channel, error_channel] {
        let _gone = client.send(Outgoing::Channel(channel, name.clone())).await;
    }
    let connection = match pod.dial(port).await {
        Ok(connection) => connection,
        Err(why) => {
            let message = format!("error forwarding port {port} to pod {}: {why}", pod.name());
            let _gone = client.send(Outgoing::Channel(error_channel, message.into())).await;
            return;
        }
    };
    let (mut from_pod, mut to_pod) = connection.into_split();
    let up = async {
        while let Some(piece) = data.recv().await {
            // What the pod no longer reads is lost; what it still says matters.
            let _closed = to_pod.write_all(&piece).await;
        }
        let _gone = to_pod.shutdown().await;
        std::future::pending::<Infallible>().await
    };
    let down = async {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES_MAX);
            let read = from_pod.read_buf(&mut piece).await.unwrap_or(0);
            if read == 0 || client.send(Outgoing::Channel(channel, piece.freeze())).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = down => {}
        never = up => match never {},
    }
}

/// Until the client hangs up.
async fn incoming(
    mut client: ChannelReader<impl AsyncRead + Unpin, Outgoing>,
    channels: Channels,
    inputs: Vec<mpsc::Sender<Bytes>>,
) -> Result<(), WebSocketError> {
    let mut inbox = channels.inbox();
    while let Some(Piece { channel, last, data }) = client.next().await? {
        let Some(data) = inbox.take(data, last)? else { continue };
        let even = channel.filter(|channel| channel % 2 == 0);
        if let Some(input) = even.and_then(|channel| inputs.get(usize::from(channel / 2)))
            && !data.is_empty()
        {
            let _closed = input.send(data).await;
        }
    }
    Ok(())
}

/// Until the client has said good-bye, or every connection has ended.
async fn write_all(
    mut client: Writer<impl AsyncWrite + Unpin>,
    channels: Channels,
    mut waiting: mpsc::Receiver<Outgoing>,
) -> Result<(), WebSocketError> {
    while let Some(outgoing) = waiting.recv().await {
        match outgoing {
            Outgoing::Channel(channel, data) => channels.write(&mut client, channel, &data).await?,
            Outgoing::Courtesy(courtesy) => {
                if !client.courtesy(courtesy).await? {
                    return Ok(());
                }
            }
        }
    }
    client.close().await
}
