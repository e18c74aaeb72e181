//! Who speaks to the members' port without being a member of this version, and members that say nothing any more.

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::rpc::peer::PROTOCOL;

const LONG: Duration = Duration::from_secs(30);

impl Pair {
    /// A member that has finished its handshake.
    async fn dial(&self, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let tls = self.authority.tls(ADMITTED).peer_client(protocol).unwrap();
        let stream = TcpStream::connect(self.to.url.trim_start_matches("https://")).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await
    }

    async fn still_serves(&self) {
        let network = self.network(7);
        let answer = network.call(&self.to, Call::Heartbeat, "beat".into(), LONG).await;
        assert_eq!(answer.unwrap(), "beat");
    }
}

/// What the port says until it closes.
async fn rest(mut stream: TlsStream<TcpStream>) -> Vec<u8> {
    let mut said = Vec::new();
    // Closed without a farewell is closed.
    let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut said)).await;
    let _closed = ended.expect("the port closes the connection");
    said
}

#[tokio::test]
async fn another_protocol_gets_no_connection() {
    let pair = Pair::start().await;
    assert!(pair.dial(b"navarch-peer/2").await.is_err());
    assert!(pair.dial(b"http/1.1").await.is_err());
    assert_eq!(pair.dial(b"h2").await.unwrap().get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    pair.still_serves().await;
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection() {
    let pair = Pair::start().await;
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0; 64],
        // More than any message has.
        &[0xff, 0xff, 0xff, 0xff, 1],
        // No such kind; then one that begins no conversation.
        &[0, 0, 0, 1, 77],
        &[0, 0, 0, 1, 8],
    ];
    for garbage in garbage {
        let mut stream = pair.dial(PROTOCOL).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.flush().await.unwrap();
        assert!(rest(stream).await.is_empty(), "no answer to {garbage:?}");
    }
    pair.still_serves().await;
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_left_while_others_are_served() {
    let pair = Pair::start().await;
    let _without_tls = TcpStream::connect(pair.to.url.trim_start_matches("https://")).await.unwrap();
    let silent = pair.dial(PROTOCOL).await.unwrap();
    let mut half = pair.dial(PROTOCOL).await.unwrap();
    half.write_all(&[0, 0, 1, 0, 1]).await.unwrap();
    half.flush().await.unwrap();
    pair.still_serves().await;
    for stream in [silent, half] {
        let said = rest(stream).await;
        assert!(said.chunks(5).all(|frame| frame == [0, 0, 0, 1, 9]), "only that it lives: {said:?}");
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_any_more_is_given_up_before_the_deadline() {
    let pair = Pair::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let frozen = Peer { id: NodeId::new(2), url: format!("https://{}", listener.local_addr().unwrap()) };
    let acceptor = TlsAcceptor::from(pair.authority.tls(ADMITTED).peer_server(PROTOCOL).unwrap());
    let stop = pair.callers.stop().clone();
    pair.callers.spawn_infallible("frozen peer", async move {
        let mut open = Vec::new();
        while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
            open.push(acceptor.accept(stream).await.unwrap());
        }
    });
    let network = pair.network(7);
    let call = network.call(&frozen, Call::Heartbeat, "x".into(), LONG);
    let stream = network.append_stream(&frozen, futures::stream::empty().boxed());
    let (call, stream) = tokio::join!(call, stream);
    assert!(matches!(call, Err(PeerError::Unreachable(_))), "{call:?}");
    assert!(matches!(stream.err(), Some(PeerError::Unreachable(_))));
}
