//! Whatever arrives, however it is cut: the frames that were written, or an error; never a panic, never memory for what
//! has only been announced.

use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = Address> {
    let identity = proptest::option::of((any::<u64>(), any::<u64>()));
    (identity, any::<u64>()).prop_map(|(identity, to)| {
        let (cluster, from) = identity.unzip();
        Address { cluster, from, to: Some(to) }
    })
}

fn payload() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        ".{0,20}".prop_map(Failure::Unreachable),
        Just(Failure::Timeout),
        ".{0,20}".prop_map(Failure::Refused),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let call = proptest::sample::select(CALLS.to_vec());
    prop_oneof![
        (any::<u64>(), call, address(), any::<u64>(), payload()).prop_map(
            |(id, call, address, ms, payload)| {
                Frame::Call { id, call, address, within: Duration::from_millis(ms), payload }
            }
        ),
        (any::<u64>(), payload()).prop_map(|(id, payload)| Frame::Answer { id, payload }),
        (any::<u64>(), failure()).prop_map(|(id, failure)| Frame::Failure { id, failure }),
        address().prop_map(Frame::Open),
        Just(Frame::Opened),
        payload().prop_map(Frame::Append),
        payload().prop_map(Frame::Appended),
        Just(Frame::End),
        Just(Frame::Alive),
    ]
}

/// Feeds the bytes in pieces of these sizes, in turn; all frames up to the end or the first error.
fn read_all(bytes: &[u8], pieces: &[usize]) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
        rest = left;
        decoder.room().put_slice(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        let held = decoder.arrived.capacity();
        assert!(held <= 2 * (bytes.len() + READ_BYTES), "{held} bytes are held for {}", bytes.len());
    }
    (frames, None)
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1..300_usize, 1..8)
}

proptest! {
    #[test]
    fn what_was_written_is_read_however_it_is_cut(
        frames in proptest::collection::vec(frame(), 0..20), pieces in pieces(),
    ) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| write(frame, &mut bytes));
        prop_assert_eq!(read_all(&bytes, &pieces), (frames, None));
    }

    #[test]
    fn a_changed_or_shortened_byte_ends_in_frames_or_an_error(
        frames in proptest::collection::vec(frame(), 1..6),
        pieces in pieces(),
        at in any::<prop::sample::Index>(),
        change in 0..=255_u8,
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| write(frame, &mut bytes));
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        bytes.truncate(end.index(bytes.len()) + 1);
        let (read, _) = read_all(&bytes, &pieces);
        // Length and kind take five bytes at least.
        prop_assert!(read.len() <= bytes.len() / 5);
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000), pieces in pieces()) {
        read_all(&bytes, &pieces);
    }

    #[test]
    fn noise_behind_a_plausible_length_never_panics(
        kind in 0..12_u8, body in proptest::collection::vec(any::<u8>(), 0..80), pieces in pieces(),
    ) {
        let length = u32::try_from(body.len() + 1).unwrap();
        let bytes = [&length.to_be_bytes()[..], &[kind], &body].concat();
        let (frames, error) = read_all(&bytes, &pieces);
        prop_assert_eq!(frames.len() + usize::from(error.is_some()), 1);
    }
}

#[test]
fn calls_are_numbered_by_their_place() {
    for (place, call) in CALLS.iter().enumerate() {
        assert_eq!(usize::from(number(*call)), place);
    }
}

#[test]
fn a_length_is_refused_before_anything_is_kept_for_it() {
    for length in [0, u32::try_from(FRAME_BYTES_MAX).unwrap() + 1, u32::MAX] {
        let (frames, error) = read_all(&length.to_be_bytes(), &[1]);
        assert_eq!((frames, error), (Vec::new(), Some(FrameError::Length(length as usize))));
    }
}

#[test]
fn the_longest_message_fits() {
    let payload = Bytes::from(vec![7; MESSAGE_BYTES_MAX]);
    let address = Address { cluster: Some(1), from: Some(2), to: Some(3) };
    let within = Duration::from_secs(1);
    let frame = Frame::Call { id: 1, call: Call::Forward, address, within, payload };
    let mut bytes = Vec::new();
    write(&frame, &mut bytes);
    assert_eq!(read_all(&bytes, &[1 << 20]), (vec![frame], None));
}
