//! Writes frames, one after the other.

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::mpsc;

use super::frame::{self, Head};
use super::headers::{HeaderWriter, Headers};
use super::{PIECE_BYTES_MAX, SpdyError};

/// A frame to write.
#[derive(Debug)]
pub(super) enum Outgoing {
    Open { id: u32, headers: Headers },
    Accept { id: u32 },
    Data { id: u32, data: Bytes, last: bool },
    Reset { id: u32, status: u32 },
    Pong { body: Bytes },
    GoAway { last: u32 },
}

/// Until nobody can send frames any more; then the other side is told that this was all.
pub(super) async fn run(
    io: impl AsyncWrite + Send,
    mut frames: mpsc::Receiver<Outgoing>,
) -> Result<(), SpdyError> {
    let io = BufWriter::with_capacity(PIECE_BYTES_MAX, io);
    tokio::pin!(io);
    let mut headers = HeaderWriter::new()?;
    while let Some(outgoing) = frames.recv().await {
        match outgoing {
            Outgoing::Data { id, data, last } => {
                // A frame's length has three bytes.
                let mut pieces = data.chunks(frame::LENGTH_MAX).peekable();
                if pieces.peek().is_none() && last {
                    io.write_all(&Head::Data { id, flags: frame::FLAG_FIN, length: 0 }.bytes()).await?;
                }
                while let Some(piece) = pieces.next() {
                    let flags = if last && pieces.peek().is_none() { frame::FLAG_FIN } else { 0 };
                    io.write_all(&Head::Data { id, flags, length: piece.len() }.bytes()).await?;
                    io.write_all(piece).await?;
                }
            }
            control => io.write_all(&control_frame(control, &mut headers)?).await?,
        }
        if frames.is_empty() {
            io.flush().await?;
        }
    }
    io.shutdown().await?;
    Ok(())
}

fn control_frame(outgoing: Outgoing, headers: &mut HeaderWriter) -> Result<Vec<u8>, SpdyError> {
    let mut body = vec![0; frame::HEAD_BYTES];
    let kind = match outgoing {
        Outgoing::Open { id, headers: fields } => {
            body.extend_from_slice(&id.to_be_bytes());
            // No other stream that it belongs to, no priority, no slot.
            body.extend_from_slice(&[0; 6]);
            headers.write(&fields, &mut body)?;
            frame::SYN_STREAM
        }
        Outgoing::Accept { id } => {
            body.extend_from_slice(&id.to_be_bytes());
            headers.write(&Headers::new(), &mut body)?;
            frame::SYN_REPLY
        }
        Outgoing::Reset { id, status } => {
            body.extend_from_slice(&id.to_be_bytes());
            body.extend_from_slice(&status.to_be_bytes());
            frame::RST_STREAM
        }
        Outgoing::Pong { body: ping } => {
            body.extend_from_slice(&ping);
            frame::PING
        }
        Outgoing::GoAway { last } => {
            body.extend_from_slice(&last.to_be_bytes());
            // All is well.
            body.extend_from_slice(&[0; 4]);
            frame::GOAWAY
        }
        Outgoing::Data { .. } => return Err(SpdyError::Malformed("data is no control frame")),
    };
    let head = Head::Control { kind, flags: 0, length: body.len() - frame::HEAD_BYTES };
    body[..frame::HEAD_BYTES].copy_from_slice(&head.bytes());
    Ok(body)
}
