//! Both ends on one pipe, and bytes as nobody should send them.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Runs `talk` while both ends work.
async fn between<T>(talk: impl AsyncFnOnce(Handle, Handle, mpsc::Receiver<Stream>) -> T) -> T {
    let (near, far) = tokio::io::duplex(4096);
    let client = connection(near, Role::Client);
    let server = connection(far, Role::Server);
    let talking = talk(client.handle, server.handle, server.accepted);
    let working = async {
        let _ended = tokio::join!(client.work, server.work);
        std::future::pending::<std::convert::Infallible>().await
    };
    let both = async {
        tokio::select! {
            biased;
            said = talking => said,
            never = working => match never {},
        }
    };
    tokio::time::timeout(SOON, both).await.expect("soon")
}

#[tokio::test]
async fn streams_carry_headers_and_bytes_both_ways() {
    between(async |client, server, mut accepted| {
        for (number, name) in [(1, "error"), (3, "stdin")] {
            let mut answer = client.open(number, headers(&[("streamtype", name)])).await.expect("opened");
            let mut stream = accepted.recv().await.expect("accepted");
            assert_eq!((stream.id, &stream.headers), (number, &headers(&[("streamtype", name)])));
            client.data(number, Bytes::from_static(b"ping")).await.expect("sent");
            client.finish(number).await.expect("finished");
            assert_eq!(stream.data.recv().await.as_deref(), Some(b"ping".as_slice()));
            assert_eq!(stream.data.recv().await, None, "finished");
            server.data(number, Bytes::from_static(b"pong")).await.expect("sent");
            server.finish(number).await.expect("finished");
            assert_eq!(answer.recv().await.as_deref(), Some(b"pong".as_slice()));
            assert_eq!(answer.recv().await, None, "finished");
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_holds_the_sender_back() {
    between(async |client, _server, mut accepted| {
        let _answer = client.open(1, Headers::new()).await.expect("opened");
        let mut stream = accepted.recv().await.expect("accepted");
        let piece = Bytes::from(vec![7; 100_000]);
        let mut sent = 0;
        while tokio::time::timeout(Duration::from_millis(200), client.data(1, piece.clone())).await.is_ok() {
            sent += piece.len();
        }
        let limit = (PIECES_WAITING_MAX + 2) * PIECE_BYTES_MAX + (FRAMES_WAITING_MAX + 2) * piece.len();
        assert!(sent < limit, "{sent} bytes wait");
        // The frame that was being sent may or may not have gone.
        let mut received = 0;
        while received < sent {
            received += stream.data.recv().await.expect("data").len();
        }
    })
    .await;
}

/// The answers of a server to bytes, of which so many are waited for.
async fn answers(bytes: &[u8], wait_bytes: usize) -> (Vec<u8>, Result<(), SpdyError>, usize) {
    let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 20);
    let Connection { handle, mut accepted, work } = connection(far, Role::Server);
    drop(handle);
    let taking = async {
        let mut streams = Vec::new();
        while let Some(stream) = accepted.recv().await {
            streams.push(stream);
        }
        streams.len()
    };
    let speaking = async {
        let (mut read, mut write) = tokio::io::split(near);
        write.write_all(bytes).await.expect("the pipe is wide enough");
        let mut answer = vec![0; wait_bytes];
        read.read_exact(&mut answer).await.expect("an answer");
        write.shutdown().await.expect("shut down");
        read.read_to_end(&mut answer).await.expect("read");
        answer
    };
    let all = async { tokio::join!(speaking, work, taking) };
    tokio::time::timeout(SOON, all).await.expect("soon")
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = frame::Head::Control { kind, flags, length: body.len() }.bytes().to_vec();
    frame.extend(body);
    frame
}

fn syn_stream(writer: &mut headers::HeaderWriter, id: u32) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend([0; 6]);
    writer.write(&headers(&[("streamtype", "data")]), &mut body).expect("compressed");
    control(frame::SYN_STREAM, frame::FLAG_FIN, &body)
}

#[tokio::test]
async fn what_is_no_spdy_is_refused() {
    let mut writer = headers::HeaderWriter::new().expect("a writer");
    let odd = syn_stream(&mut writer, 1);
    let again = [odd.clone(), syn_stream(&mut writer, 1)].concat();
    let even = syn_stream(&mut headers::HeaderWriter::new().expect("a writer"), 2);
    let mut long = frame::Head::Control { kind: frame::HEADERS, flags: 0, length: 1 << 20 }.bytes().to_vec();
    long.extend([0; 100]);
    let mut garbage = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    garbage.extend(b"no zlib");
    let cases = [
        (vec![0x80, 2, 0, 1, 0, 0, 0, 0], "not SPDY/3.1: another version"),
        (long, "not SPDY/3.1: a control frame is too long"),
        (control(frame::SYN_STREAM, 0, &[0; 3]), "not SPDY/3.1: a control frame is too short"),
        (
            control(frame::SYN_STREAM, 0, &garbage),
            "not SPDY/3.1: a header block is not compressed as it must be",
        ),
        (again, "not SPDY/3.1: a stream has a number that it cannot have"),
        (even, "not SPDY/3.1: a stream has a number that it cannot have"),
        (odd[..20].to_vec(), "the connection broke"),
    ];
    for (bytes, complaint) in cases {
        let (_, ended, _) = answers(&bytes, 0).await;
        assert_eq!(ended.expect_err("refused").to_string(), complaint, "{bytes:x?}");
    }
}

#[tokio::test]
async fn a_block_that_grows_without_end_is_refused() {
    let mut writer = headers::HeaderWriter::new().expect("a writer");
    let mut body = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    writer.write(&headers(&[("bomb", &"x".repeat(1 << 20))]), &mut body).expect("compressed");
    assert!(body.len() < CONTROL_BYTES_MAX, "small on the wire: {}", body.len());
    let (_, ended, streams) = answers(&control(frame::SYN_STREAM, 0, &body), 0).await;
    assert_eq!(
        ended.expect_err("refused").to_string(),
        "not SPDY/3.1: a header block is not compressed as it must be"
    );
    assert_eq!(streams, 0);
}

#[tokio::test]
async fn pings_are_answered_and_streams_are_accepted() {
    let mut writer = headers::HeaderWriter::new().expect("a writer");
    let ping = control(frame::PING, 0, &[0, 0, 0, 9]);
    let data = frame::Head::Data { id: 99, flags: 0, length: 3 }.bytes();
    let bytes = [ping.clone(), data.to_vec(), b"???".to_vec(), syn_stream(&mut writer, 5)].concat();
    let (answer, ended, streams) = answers(&bytes, 20).await;
    ended.expect("nothing is wrong");
    assert_eq!(streams, 1);
    assert!(answer.starts_with(&ping), "{answer:x?}");
    assert_eq!(answer[12..16], [0x80, 3, 0, 2], "then SYN_REPLY");
}

proptest! {
    #[test]
    fn any_bytes_end_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _ended = runtime.block_on(answers(&bytes, 0));
    }

    #[test]
    fn any_frames_end_without_harm(
        frames in prop::collection::vec((0_u16..12, any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, body)| control(*kind, *flags, body)).collect();
        let _ended = runtime.block_on(answers(&bytes, 0));
    }

    #[test]
    fn headers_survive(all in prop::collection::vec(
        prop::collection::btree_map("[a-z-]{1,20}", "[ -~]{0,50}", 0..8), 0..5,
    )) {
        let mut writer = headers::HeaderWriter::new().expect("a writer");
        let mut reader = headers::HeaderReader::new();
        for fields in all {
            let mut block = Vec::new();
            writer.write(&fields, &mut block).expect("compressed");
            prop_assert_eq!(reader.read(&block).expect("read"), fields);
        }
    }
}
