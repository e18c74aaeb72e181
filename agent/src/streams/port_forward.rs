//! Ports of a pod, forwarded over SPDY: for each connection a stream of data and one for its error, paired by
//! a number that the client gives.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::debug;

use super::dial::PodNetwork;
use super::spdy::{self, Handle, HungUp, Role, Stream};
use crate::causes::in_full;

const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Streams whose counterpart has not come.
const UNPAIRED_MAX: usize = 64;

/// Until the client hangs up.
pub(super) async fn serve(io: impl AsyncRead + AsyncWrite + Send + 'static, pod: Arc<PodNetwork>) {
    let spdy::Connection { handle, mut accepted, work } = spdy::connection(io, Role::Server);
    let serving = async {
        let mut pairs = Pairs::default();
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(forwarded) = connections.next(), if !connections.is_empty() => {
                    // The end of a connection is the client's to see; that of all is seen by `work`.
                    let _forwarded: Result<(), HungUp> = forwarded;
                }
                stream = accepted.recv() => match stream {
                    Some(stream) => if let Some(pair) = pairs.add(stream, &handle) {
                        connections.push(pair.forward(&handle, &pod));
                    },
                    None => return,
                },
            }
        }
    };
    tokio::select! {
        biased;
        worked = work => if let Err(error) = worked {
            debug!(error = %in_full(&error), "port forwarding over SPDY broke");
        },
        () = serving => {}
    }
}

/// Streams that wait for their counterparts, by the client's number.
#[derive(Default)]
struct Pairs {
    data: HashMap<String, Stream>,
    error: HashMap<String, Stream>,
}

impl Pairs {
    fn add(&mut self, stream: Stream, handle: &Handle) -> Option<Pair> {
        let is_data = match stream.headers.get("streamtype").map(String::as_str) {
            Some("data") => true,
            Some("error") => false,
            _ => return None,
        };
        let request = match stream.headers.get("requestid") {
            Some(request) => request.clone(),
            // Very old clients open the stream of the error first, and that of the data right after it.
            None => if is_data { stream.id.saturating_sub(2) } else { stream.id }.to_string(),
        };
        let (mine, others) = match is_data {
            true => (&mut self.data, &mut self.error),
            false => (&mut self.error, &mut self.data),
        };
        match others.remove(&request) {
            Some(other) if is_data => Some(Pair { data: stream, error: other }),
            Some(other) => Some(Pair { data: other, error: stream }),
            None if mine.len() < UNPAIRED_MAX => {
                mine.insert(request, stream);
                None
            }
            None => {
                handle.forget(stream.id);
                None
            }
        }
    }
}

/// One connection to a port.
struct Pair {
    data: Stream,
    error: Stream,
}

impl Pair {
    async fn forward(self, client: &Handle, pod: &PodNetwork) -> Result<(), HungUp> {
        let Self { mut data, error } = self;
        let asked = data.headers.get("port").cloned().unwrap_or_default();
        let dialled = match asked.parse() {
            Ok(port) => pod.dial(port).await,
            Err(_) => Err(format!("{asked:?} is no port")),
        };
        let told = match dialled {
            Ok(connection) => carry(client, &mut data, connection).await,
            Err(why) => Err(why),
        };
        if let Err(why) = told {
            let message = format!("error forwarding port {asked} to pod {}: {why}", pod.name());
            client.data(error.id, Bytes::from(message)).await?;
        }
        client.finish(error.id).await?;
        client.finish(data.id).await?;
        client.forget(data.id);
        client.forget(error.id);
        Ok(())
    }
}

/// Both ways, until the pod's side has said all.
async fn carry(client: &Handle, data: &mut Stream, connection: TcpStream) -> Result<(), String> {
    let id = data.id;
    let (mut from_pod, mut to_pod) = connection.into_split();
    let up = async {
        while let Some(piece) = data.data.recv().await {
            if to_pod.write_all(&piece).await.is_err() {
                // It reads no more; what it still says matters.
                return;
            }
        }
        let _gone = to_pod.shutdown().await;
    };
    let down = async {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES_MAX);
            match from_pod.read_buf(&mut piece).await {
                Ok(0) => return Ok(()),
                Ok(_) => {
                    if client.data(id, piece.freeze()).await.is_err() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    let up = async {
        up.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        biased;
        down = down => down,
        never = up => match never {},
    }
}
