//! Valid bytes, damaged: what the decoders are tested with. Mere garbage seldom comes past the first byte.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    /// Repeats what stands from one place to another.
    Repeat(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<Index>();
    prop_oneof![
        8 => (place, any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        2 => any::<Index>().prop_map(Edit::Remove),
        1 => any::<Index>().prop_map(Edit::Cut),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Repeat(from, to)),
    ]
}

/// One of `valid`, with up to five edits.
pub(crate) fn damaged(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec(edit(), 0..5);
    (proptest::sample::select(valid), edits).prop_map(|(mut bytes, edits)| {
        for edit in edits {
            apply(&mut bytes, &edit);
        }
        bytes
    })
}

/// The body of a call that sends one to three messages like `valid`, most of them damaged, some of them mere garbage;
/// now and then even what stands between them is damaged.
pub(crate) fn damaged_call(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Bytes> {
    let message = prop_oneof![
        1 => proptest::sample::select(valid.clone()),
        6 => damaged(valid),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let body = proptest::collection::vec(message, 1..4).prop_map(|messages| {
        let mut body = Vec::new();
        for message in messages {
            body.push(0);
            body.extend(u32::try_from(message.len()).expect("a small message").to_be_bytes());
            body.extend(message);
        }
        body
    });
    let broken = body.clone().prop_flat_map(|body| damaged(vec![body]));
    prop_oneof![6 => body, 1 => broken].prop_map(Bytes::from)
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    if bytes.is_empty() {
        return;
    }
    let size = bytes.len();
    match edit {
        Edit::Set(at, byte) => bytes[at.index(size)] = *byte,
        Edit::Insert(at, byte) => bytes.insert(at.index(size), *byte),
        Edit::Remove(at) => drop(bytes.remove(at.index(size))),
        Edit::Cut(at) => bytes.truncate(at.index(size)),
        Edit::Repeat(from, to) => {
            let (from, to) = (from.index(size), to.index(size));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(from..from, part);
        }
    }
}
