//! A byte pipe inside binary messages: how SPDY passes where only WebSocket does.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::{Courtesy, Event, PIECE_BYTES_MAX, Reader, WebSocketError, Writer};

/// Pings that wait for their answers.
const COURTESIES_WAITING_MAX: usize = 4;

/// The pipe, and the work that fills and empties it, which must be polled.
pub(crate) fn tunnel<T>(io: T) -> (DuplexStream, impl Future<Output = Result<(), WebSocketError>> + Send)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (near, far) = tokio::io::duplex(PIECE_BYTES_MAX);
    let work = async move {
        let (read, write) = tokio::io::split(io);
        let (from_far, to_far) = tokio::io::split(far);
        let (courtesies, waiting) = mpsc::channel(COURTESIES_WAITING_MAX);
        tokio::select! {
            biased;
            wrote = outgoing(Writer::new(write), from_far, waiting) => wrote,
            read = incoming(Reader::new(read), to_far, courtesies) => read,
        }
    };
    (near, work)
}

/// Ends when the client hangs up. The far end is closed then.
async fn incoming(
    mut client: Reader<impl AsyncRead + Unpin>,
    mut far: impl AsyncWrite + Unpin,
    courtesies: mpsc::Sender<Courtesy>,
) -> Result<(), WebSocketError> {
    while let Some(event) = client.next().await? {
        match event {
            Event::Data { data, .. } => far.write_all(&data).await?,
            Event::Ping(ping) => {
                let _stopped = courtesies.send(Courtesy::Pong(ping)).await;
            }
            Event::Close => {
                let _stopped = courtesies.send(Courtesy::Close).await;
            }
        }
    }
    Ok(far.shutdown().await?)
}

/// Ends when the far end is closed, or the client has said good-bye.
async fn outgoing(
    mut client: Writer<impl AsyncWrite + Unpin>,
    mut far: impl AsyncRead + Unpin,
    mut courtesies: mpsc::Receiver<Courtesy>,
) -> Result<(), WebSocketError> {
    let mut piece = vec![0; PIECE_BYTES_MAX];
    loop {
        tokio::select! {
            biased;
            Some(courtesy) = courtesies.recv() => if !client.courtesy(courtesy).await? {
                return Ok(());
            },
            read = far.read(&mut piece) => match read? {
                0 => return client.close().await,
                length => client.binary([&piece[..length], &[]]).await?,
            },
        }
    }
}
