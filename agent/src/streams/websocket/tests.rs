//! Messages as clients send them, and bytes as nobody should.

use proptest::prelude::*;

use super::*;

/// A client's frame.
pub(in crate::streams) fn masked(first: u8, mask: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match data.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).expect("short")),
        length @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("middle").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(length).expect("long").to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(data.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Everything that can be read, and how it ends.
async fn read(bytes: &[u8]) -> (Vec<Event>, Option<String>) {
    let mut reader = Reader::new(bytes);
    let mut events = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error.to_string())),
        }
    }
}

/// The messages that the pieces are of.
fn joined(events: &[Event]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for event in events {
        let Event::Data { first, data, .. } = event else { continue };
        if *first {
            messages.push(Vec::new());
        }
        messages.last_mut().expect("a message has begun").extend(data);
    }
    messages
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[tokio::test]
async fn the_example_of_the_standard_is_read() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(masked(0x81, MASK, b"Hello"), hello);
    let (events, error) = read(&hello).await;
    assert_eq!(joined(&events), [b"Hello"]);
    assert_eq!(error, None);
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[tokio::test]
async fn control_frames_may_come_between_fragments() {
    let frames = [
        masked(0x02, MASK, b"one "),
        masked(0x89, MASK, b"still there?"),
        masked(0x80, MASK, b"message"),
        masked(0x82, MASK, b""),
        masked(0x88, MASK, &1000_u16.to_be_bytes()),
    ];
    let (events, error) = read(&frames.concat()).await;
    assert_eq!(joined(&events), [b"one message".to_vec(), Vec::new()]);
    assert!(events.contains(&Event::Ping(Bytes::from_static(b"still there?"))));
    assert_eq!(events.last(), Some(&Event::Close));
    assert_eq!(error, None);
}

#[tokio::test]
async fn what_is_no_websocket_is_refused() {
    let cases: [(Vec<u8>, &str); 7] = [
        (vec![0x82, 0x01, 0x00], "not WebSocket: a frame is not masked"),
        (masked(0xc2, MASK, b"x"), "not WebSocket: a reserved bit is set"),
        (masked(0x80, MASK, b"x"), "not WebSocket: a frame comes out of turn"),
        (masked(0x83, MASK, b"x"), "not WebSocket: a frame comes out of turn"),
        (masked(0x89, MASK, &[0; 126]), "not WebSocket: a control frame is too long"),
        (masked(0x08, MASK, b""), "not WebSocket: a control frame is too long"),
        (masked(0x82, MASK, b"cut off")[..9].to_vec(), "the connection broke"),
    ];
    for (bytes, complaint) in cases {
        assert_eq!(read(&bytes).await.1.as_deref(), Some(complaint), "{bytes:x?}");
    }
    let twice = [masked(0x02, MASK, b"a"), masked(0x82, MASK, b"b")].concat();
    assert_eq!(read(&twice).await.1.as_deref(), Some("not WebSocket: a frame comes out of turn"));
}

#[tokio::test]
async fn a_length_is_not_believed() {
    // Says that 2^60 bytes follow; a few do.
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend((1_u64 << 60).to_be_bytes());
    frame.extend(MASK);
    frame.extend([0; 40_000]);
    let (events, error) = read(&frame).await;
    assert_eq!(joined(&events).concat().len(), PIECE_BYTES_MAX, "the whole pieces");
    assert_eq!(error.as_deref(), Some("the connection broke"));
}

#[tokio::test]
async fn what_is_written_has_the_right_length() {
    for length in [0, 1, 124, 125, 126, 65_534, 65_535, 70_000] {
        let mut written = Vec::new();
        let data = vec![7; length];
        Writer::new(&mut written).binary([&[1], &data]).await.expect("written");
        let head = match length + 1 {
            0..126 => 2,
            126..65_536 => 4,
            _ => 10,
        };
        assert_eq!(written.len(), head + length + 1);
        assert_eq!(written[0], 0x82);
        assert_eq!(written[head], 1);
    }
}

fn blocking<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

proptest! {
    #[test]
    fn any_bytes_end_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (events, _) = blocking(read(&bytes));
        let total: usize = joined(&events).iter().map(Vec::len).sum();
        prop_assert!(total <= bytes.len());
    }

    #[test]
    fn messages_survive_any_fragmentation(
        messages in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
            0..5,
        ),
        mask: [u8; 4],
    ) {
        let mut bytes = Vec::new();
        for fragments in &messages {
            for (number, fragment) in fragments.iter().enumerate() {
                let opcode = if number == 0 { BINARY } else { CONTINUATION };
                let last = if number + 1 == fragments.len() { FIN } else { 0 };
                bytes.extend(masked(opcode | last, mask, fragment));
            }
        }
        let (events, error) = blocking(read(&bytes));
        prop_assert_eq!(error, None);
        let sent: Vec<Vec<u8>> = messages.iter().map(|fragments| fragments.concat()).collect();
        prop_assert_eq!(joined(&events), sent);
    }
}
