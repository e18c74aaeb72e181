//! Sessions as clients see them, over each protocol, with a process that repeats what it hears.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::protocol::Channels;
use super::spdy::{Connection, Headers, Role};
use super::websocket::tests::masked;
use super::*;
use crate::runtime::{Output, TerminalSize};

const SOON: Duration = Duration::from_secs(10);
const V4: Channels = Channels { can_end_input: false, base64: false };
const V5: Channels = Channels { can_end_input: true, base64: false };
const IN_AND_OUT: Streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };

/// Repeats its input on stdout, tells sizes on stderr, and exits with 3 at the end of its input or at `bye`.
fn echo() -> Session {
    let (stdin, mut input) = mpsc::channel(1);
    let (resize, mut sizes) = mpsc::channel::<TerminalSize>(1);
    let (outputs, output) = mpsc::channel(1);
    let work = async move {
        loop {
            let said = tokio::select! {
                biased;
                Some(size) = sizes.recv() => {
                    Output::Stderr(Bytes::from(format!("{}x{}", size.width, size.height)))
                }
                data = input.recv() => match data {
                    Some(data) if data != "bye" => Output::Stdout(data),
                    _ => break,
                },
            };
            if outputs.send(said).await.is_err() {
                return;
            }
        }
        let _gone = outputs.send(Output::Ended(Ending::Exited(3))).await;
    };
    Session { stdin: Some(stdin), resize: Some(resize), output, work: work.boxed() }
}

fn websocket(
    channels: Channels,
    opening: impl Future<Output = Result<Session, String>>,
) -> (DuplexStream, impl Future<Output = ()>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    (near, channels::serve(far, channels, IN_AND_OUT, opening))
}

/// Sends everything, and reads what comes back until the server hangs up.
async fn conversation(
    (mut client, served): (DuplexStream, impl Future<Output = ()>),
    messages: &[Vec<u8>],
) -> Vec<(u8, String)> {
    let talk = async {
        for message in messages {
            client.write_all(&masked(0x82, [1, 2, 3, 4], message)).await.expect("sent");
        }
        let mut heard = Vec::new();
        loop {
            let head = client.read_u16().await.expect("a frame");
            let length = usize::from(head & 0x7f);
            assert!(length <= 126, "no long frames");
            let length =
                if length == 126 { usize::from(client.read_u16().await.expect("a length")) } else { length };
            let mut data = vec![0; length];
            client.read_exact(&mut data).await.expect("data");
            if head >> 8 == 0x88 {
                client.write_all(&masked(0x88, [0; 4], &data)).await.expect("sent");
                return heard;
            }
            heard.push((data[0], String::from_utf8(data[1..].to_vec()).expect("text")));
        }
    };
    let begun = tokio::time::Instant::now();
    let (heard, ()) = tokio::time::timeout(SOON, async { tokio::join!(talk, served) }).await.expect("soon");
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waits for a client that has said good-bye");
    heard
}

const EXITED: &str = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;

#[tokio::test(start_paused = true)]
async fn v5_ends_the_input_and_hears_the_exit_code() {
    let messages = [
        b"\x04{\"Width\":80,\"Height\":24}\n".to_vec(),
        b"\x00hello".to_vec(),
        b"\x00".to_vec(),
        b"\x07nobody listens".to_vec(),
        b"\xff\x00".to_vec(),
        b"\x00too late".to_vec(),
    ];
    let heard = conversation(websocket(V5, async { Ok(echo()) }), &messages).await;
    assert_eq!(heard.first(), Some(&(1, String::new())), "all is ready");
    assert!(heard.contains(&(2, "80x24".to_owned())), "{heard:?}");
    assert!(heard.contains(&(1, "hello".to_owned())), "{heard:?}");
    assert_eq!(heard.last(), Some(&(3, EXITED.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn base64_carries_everything() {
    let channels = Channels { can_end_input: false, base64: true };
    let messages = [b"0aGVsbG8=".to_vec(), b"0Ynll".to_vec()];
    let heard = conversation(websocket(channels, async { Ok(echo()) }), &messages).await;
    assert!(heard.contains(&(b'1', "aGVsbG8=".to_owned())), "{heard:?}");
    assert_eq!(heard.last().map(|(channel, _)| *channel), Some(b'3'));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_is_told_on_the_error_channel() {
    let heard = conversation(websocket(V4, async { Err("no such file".to_owned()) }), &[]).await;
    let (channel, status) = heard.last().expect("a status");
    assert_eq!(*channel, 3);
    assert!(status.contains("Internal error occurred: no such file"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_the_session() {
    let (client, served) = websocket(V4, async { Ok(echo()) });
    drop(client);
    tokio::time::timeout(SOON, served).await.expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn spdy_carries_a_session() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let served = remote_command::serve(far, IN_AND_OUT, async { Ok(echo()) });
    let Connection { handle, accepted: _accepted, work } = spdy::connection(near, Role::Client);
    let talk = async move {
        let open = async |id, name: &str| {
            let headers = Headers::from([("streamtype".to_owned(), name.to_owned())]);
            handle.open(id, headers).await.expect("opened")
        };
        let mut error = open(1, "error").await;
        let _stdin = open(3, "stdin").await;
        let mut stdout = open(5, "stdout").await;
        let mut stderr = open(7, "stderr").await;
        handle.data(3, Bytes::from_static(b"hello")).await.expect("sent");
        assert_eq!(stdout.recv().await.as_deref(), Some(b"hello".as_slice()));
        handle.finish(3).await.expect("finished");
        assert_eq!(error.recv().await.as_deref(), Some(EXITED.as_bytes()));
        assert_eq!((error.recv().await, stdout.recv().await, stderr.recv().await), (None, None, None));
    };
    let client = async {
        tokio::select! {
            biased;
            () = talk => {}
            _ended = work => panic!("the server hung up"),
        }
    };
    let both = async {
        tokio::pin!(served);
        tokio::select! {
            biased;
            () = &mut served => panic!("it waits for the client to hang up"),
            () = client => {}
        }
        served.await;
    };
    tokio::time::timeout(SOON, both).await.expect("soon");
}

/// A port of this machine's own network, and a server behind it that repeats what it hears.
async fn with_echo_server<T>(talk: impl AsyncFnOnce(Arc<PodNetwork>, u16) -> T) -> T {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let serving = async {
        let (connection, _) = listener.accept().await.expect("accepted");
        let (mut read, mut write) = connection.into_split();
        tokio::io::copy(&mut read, &mut write).await.expect("copied");
        write.shutdown().await.expect("shut down");
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        biased;
        said = talk(Arc::new(PodNetwork::new("web".to_owned(), None)), port) => said,
        never = serving => match never {},
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_is_forwarded_over_spdy() {
    with_echo_server(async |pod, port| {
        let (near, far) = tokio::io::duplex(1 << 16);
        let Connection { handle, accepted: _accepted, work } = spdy::connection(near, Role::Client);
        let talk = async move {
            let mut next = (1..).step_by(2);
            let mut forward = async |port: &str, request: &str| {
                let mut opened = Vec::new();
                for name in ["error", "data"] {
                    let headers = [("streamtype", name), ("port", port), ("requestid", request)];
                    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
                    let id = next.next().expect("a number");
                    opened.push((id, handle.open(id, Headers::from(headers)).await.expect("opened")));
                }
                (opened.remove(1), opened.remove(0).1)
            };
            let ((id, mut data), mut error) = forward(&port.to_string(), "0").await;
            handle.data(id, Bytes::from_static(b"hello")).await.expect("sent");
            assert_eq!(data.recv().await.as_deref(), Some(b"hello".as_slice()));
            handle.finish(id).await.expect("finished");
            assert_eq!((data.recv().await, error.recv().await), (None, None));
            let ((_, mut data), mut error) = forward("no number", "1").await;
            let complaint = error.recv().await.expect("a complaint");
            assert_eq!(complaint, r#"error forwarding port no number to pod web: "no number" is no port"#);
            assert_eq!(data.recv().await, None);
        };
        let client = async {
            tokio::select! {
                biased;
                () = talk => {}
                _ended = work => panic!("the server hung up"),
            }
        };
        let both = async { tokio::join!(client, port_forward::serve(far, pod)) };
        tokio::time::timeout(SOON, both).await.expect("soon");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_port_is_forwarded_over_channels() {
    with_echo_server(async |pod, port| {
        let (mut client, far) = tokio::io::duplex(1 << 16);
        let talk = async move {
            let [low, high] = port.to_le_bytes();
            for channel in [0, 1] {
                let mut name = [0; 5];
                client.read_exact(&mut name).await.expect("a frame");
                assert_eq!(name, [0x82, 3, channel, low, high]);
            }
            client.write_all(&masked(0x82, [9; 4], b"\x00hello")).await.expect("sent");
            let mut answer = [0; 8];
            client.read_exact(&mut answer).await.expect("a frame");
            assert_eq!(&answer, b"\x82\x06\x00hello");
            client.write_all(&masked(0x88, [0; 4], &[])).await.expect("sent");
            client.read_u16().await.expect("it says good-bye, too")
        };
        let both = async { tokio::join!(talk, port_channels::serve(far, V4, vec![port], pod)) };
        let (head, ()) = tokio::time::timeout(SOON, both).await.expect("soon");
        assert_eq!(head, 0x8802);
    })
    .await;
}
