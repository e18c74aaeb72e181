//! The one place that names bincode: what goes into the log and between peers, behind a version byte.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;
/// More than any message holds; keeps a corrupt length from asking for all memory.
const BYTES_MAX: usize = 256 * 1024 * 1024;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<BYTES_MAX>()
}

/// # Panics
/// If a type cannot be encoded at all, which its first test would show.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut out = vec![VERSION];
    bincode::serde::encode_into_std_write(value, &mut out, config()).expect("our own types can be encoded");
    out.into()
}

/// # Errors
/// `InvalidData` when the bytes are of another version, cut short, or not of this type.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let Some((&VERSION, body)) = bytes.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record has an unknown version"));
    };
    match bincode::serde::decode_from_slice(body, config()) {
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
    fn another_version_is_refused() {
        assert_eq!(decode::<String>(&encode(&"a")).ok().as_deref(), Some("a"));
        assert!(decode::<String>(&[2, 1, b'a']).is_err());
        assert!(decode::<String>(&[]).is_err());
    }
}
