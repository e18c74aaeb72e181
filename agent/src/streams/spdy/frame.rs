//! The shape of frames: eight bytes of head, then a body.

pub(super) const SYN_STREAM: u16 = 1;
pub(super) const SYN_REPLY: u16 = 2;
pub(super) const RST_STREAM: u16 = 3;
pub(super) const PING: u16 = 6;
pub(super) const GOAWAY: u16 = 7;
pub(super) const HEADERS: u16 = 8;

pub(super) const FLAG_FIN: u8 = 1;

/// Why a stream is reset.
pub(super) const REFUSED_STREAM: u32 = 3;

pub(super) const HEAD_BYTES: usize = 8;
const VERSION: u16 = 3;
const CONTROL: u8 = 0x80;
/// Lengths have three bytes.
pub(super) const LENGTH_MAX: usize = 0x00ff_ffff;

/// What a frame's first eight bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Data { id: u32, flags: u8, length: usize },
    Control { kind: u16, flags: u8, length: usize },
}

impl Head {
    /// `None` when the version is another.
    pub(super) fn parse(bytes: [u8; HEAD_BYTES]) -> Option<Self> {
        let [a, b, c, d, flags, x, y, z] = bytes;
        let length = usize::from(x) << 16 | usize::from(y) << 8 | usize::from(z);
        if a & CONTROL == 0 {
            return Some(Self::Data { id: u32::from_be_bytes([a, b, c, d]), flags, length });
        }
        let version = u16::from_be_bytes([a & !CONTROL, b]);
        (version == VERSION).then(|| Self::Control { kind: u16::from_be_bytes([c, d]), flags, length })
    }

    pub(super) fn bytes(self) -> [u8; HEAD_BYTES] {
        let (first, flags, length) = match self {
            Self::Data { id, flags, length } => (id.to_be_bytes(), flags, length),
            Self::Control { kind, flags, length } => {
                let ([a, b], [c, d]) = (VERSION.to_be_bytes(), kind.to_be_bytes());
                ([a | CONTROL, b, c, d], flags, length)
            }
        };
        let [a, b, c, d] = first;
        let [.., x, y, z] = length.to_be_bytes();
        [a, b, c, d, flags, x, y, z]
    }
}

/// The stream number that a control frame's body begins with.
pub(super) fn stream_id(body: &[u8]) -> Option<u32> {
    let (id, _) = body.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*id) & 0x7fff_ffff)
}
