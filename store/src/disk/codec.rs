//! The one place that names bincode: what goes into the log and between peers, behind a version byte.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;
/// More than any message holds. A corrupt length must not ask for much more memory than its message has bytes; bincode
/// counts up to 16 bytes for one that it reads.
const BYTES_MAX: usize = 256 * 1024 * 1024;
const MEDIUM_BYTES_MAX: usize = BYTES_MAX / 64;
const SMALL_BYTES_MAX: usize = MEDIUM_BYTES_MAX / 64;
const COUNTED_BYTES_MAX: usize = 16;

fn config<const LIMIT: usize>() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<LIMIT>()
}

/// # Panics
/// If a type cannot be encoded at all, which its first test would show.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut out = vec![VERSION];
    bincode::serde::encode_into_std_write(value, &mut out, config::<BYTES_MAX>())
        .expect("our own types can be encoded");
    out.into()
}

/// # Errors
/// `InvalidData` when the bytes are of another version, cut short, or not of this type.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let Some((&VERSION, body)) = bytes.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record has an unknown version"));
    };
    let counted = body.len() * COUNTED_BYTES_MAX;
    let decoded = if counted <= SMALL_BYTES_MAX {
        bincode::serde::decode_from_slice(body, config::<SMALL_BYTES_MAX>())
    } else if counted <= MEDIUM_BYTES_MAX {
        bincode::serde::decode_from_slice(body, config::<MEDIUM_BYTES_MAX>())
    } else {
        bincode::serde::decode_from_slice(body, config::<BYTES_MAX>())
    };
    match decoded {
        Ok((value, used)) if used == body.len() => Ok(value),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a record has bytes left over")),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mvcc::machine::Command;

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes: Vec<u8>) {
            let _ = decode::<Command>(&bytes);
        }
    }

    #[test]
    fn a_small_message_asks_for_little_memory() {
        let length: u32 = 200_000_000;
        let claims = [&[VERSION, 252][..], &length.to_le_bytes(), b"short"].concat();
        let refused = decode::<String>(&claims).expect_err("it is not that long");
        assert_eq!(refused.to_string(), "LimitExceeded");
        for size in [0, 4_000, 4_096, 300_000, 5_000_000] {
            let numbers: Vec<(u64, Vec<u8>)> = vec![(u64::MAX, vec![7; size]), (0, Vec::new())];
            assert_eq!(decode::<Vec<(u64, Vec<u8>)>>(&encode(&numbers)).expect("whole"), numbers);
            let small: Vec<u128> = vec![1; size];
            assert_eq!(decode::<Vec<u128>>(&encode(&small)).expect("whole"), small);
        }
    }

    #[test]
    fn another_version_is_refused() {
        assert_eq!(decode::<String>(&encode(&"a")).ok().as_deref(), Some("a"));
        assert!(decode::<String>(&[2, 1, b'a']).is_err());
        assert!(decode::<String>(&[]).is_err());
    }
}
