//! A buffer that is filled from its end, so that a message's length is known when it is written in front of it.

/// Bytes, of which the last were written first.
pub(super) struct Backwards {
    bytes: Vec<u8>,
    start: usize,
}

impl Backwards {
    /// Grows when `capacity` was too little.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Backwards { bytes: vec![0; capacity], start: capacity }
    }

    /// How much has been written.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    pub(super) fn put(&mut self, part: &[u8]) {
        if part.len() > self.start {
            self.grow(part.len());
        }
        let end = self.start;
        self.start -= part.len();
        self.bytes[self.start..end].copy_from_slice(part);
    }

    pub(super) fn varint(&mut self, mut value: u64) {
        let mut digits = [0u8; 10];
        let mut count = 0;
        loop {
            let more = value > 0x7f;
            digits[count] = (value & 0x7f) as u8 | if more { 0x80 } else { 0 };
            count += 1;
            if !more {
                break;
            }
            value >>= 7;
        }
        self.put(&digits[..count]);
    }

    /// Field `number` with a number in it.
    pub(super) fn number(&mut self, number: u32, value: u64) {
        self.varint(value);
        self.varint(u64::from(number) << 3);
    }

    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        self.put(&value.to_le_bytes());
        self.varint(u64::from(number) << 3 | 1);
    }

    /// Field `number` with these bytes in it.
    pub(super) fn bytes(&mut self, number: u32, content: &[u8]) {
        self.put(content);
        self.head(number, content.len());
    }

    /// The head of field `number`, whose content is what was written since the buffer's length was `mark`.
    pub(super) fn close(&mut self, number: u32, mark: usize) {
        self.head(number, self.len() - mark);
    }

    fn head(&mut self, number: u32, length: usize) {
        self.varint(length as u64);
        self.varint(u64::from(number) << 3 | 2);
    }

    fn grow(&mut self, more: usize) {
        let used = self.len();
        let size = (self.bytes.len() * 2).max(used + more).max(256);
        let mut grown = vec![0; size];
        grown[size - used..].copy_from_slice(&self.bytes[self.start..]);
        self.start = size - used;
        self.bytes = grown;
    }
}
