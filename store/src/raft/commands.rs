//! Commands that share one entry of the log: each behind its length, in one piece of memory.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// What stands before each command: its length.
const HEAD_BYTES: usize = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commands(Bytes);

impl Commands {
    pub(crate) fn pack<'a>(commands: impl Iterator<Item = &'a Bytes> + Clone) -> Self {
        let bytes = commands.clone().map(|command| HEAD_BYTES + command.len()).sum();
        let mut packed = BytesMut::with_capacity(bytes);
        for command in commands {
            // No request comes near 4 GiB; were one longer, the entry would not decode, on no replica.
            packed.put_u32(u32::try_from(command.len()).unwrap_or(u32::MAX));
            packed.put_slice(command);
        }
        Self(packed.freeze())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The commands, without copying them.
    pub(crate) fn unpack(&self) -> io::Result<Vec<Bytes>> {
        let mut rest = self.0.clone();
        let mut commands = Vec::new();
        while !rest.is_empty() {
            let length = rest.try_get_u32().map_err(|_| cut())?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > rest.len() {
                return Err(cut());
            }
            commands.push(rest.split_to(length));
        }
        Ok(commands)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an entry's commands are cut short")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(commands: Vec<Vec<u8>>) {
            let commands: Vec<Bytes> = commands.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(Commands::pack(commands.iter()).unpack().expect("sound"), commands);
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes: Vec<u8>) {
            let _ = Commands(bytes.into()).unpack();
        }
    }

    #[test]
    fn a_cut_command_is_refused() {
        let packed = Commands::pack([Bytes::from("one"), Bytes::from("two")].iter());
        assert!(Commands(packed.0.slice(..packed.bytes() - 1)).unpack().is_err());
    }
}
