//! Reads JSON text into a [`Node`], with the complaints of Go's decoder, which clients know.
//!
//! serde_json is not used here because it forgets duplicate keys and the text of numbers.

use std::borrow::Cow;

use super::decode::DecodeError;
use super::node::{DEPTH_MAX, Node};

pub(super) fn read(text: &[u8]) -> Result<Node<'_>, DecodeError> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    reader.skip_space();
    let node = reader.value("looking for beginning of value")?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.unexpected("after top-level value")),
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, place: &str) -> Result<Node<'a>, DecodeError> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => Ok(Node::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(_) | None => Err(self.unexpected(place)),
        }
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Node<'a>, DecodeError>,
    ) -> Result<Node<'a>, DecodeError> {
        if self.depth == DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        let node = read(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn object(&mut self) -> Result<Node<'a>, DecodeError> {
        let mut entries = Vec::new();
        if self.take(b'}') {
            return Ok(Node::Object(entries));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.skip_space();
            let value = self.value("looking for beginning of value")?;
            entries.push((key, value));
            self.skip_space();
            if self.take(b'}') {
                return Ok(Node::Object(entries));
            }
            if !self.take(b',') {
                return Err(self.unexpected("after object key:value pair"));
            }
            self.skip_space();
        }
    }

    fn list(&mut self) -> Result<Node<'a>, DecodeError> {
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Node::List(items));
        }
        loop {
            items.push(self.value("looking for beginning of value")?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Node::List(items));
            }
            if !self.take(b',') {
                return Err(self.unexpected("after array element"));
            }
            self.skip_space();
        }
    }

    fn word(&mut self, word: &'static str, node: Node<'a>) -> Result<Node<'a>, DecodeError> {
        for letter in word.bytes() {
            if self.peek() != Some(letter) {
                let wanted = char::from(letter);
                return Err(self.unexpected(&format!("in literal {word} (expecting '{wanted}')")));
            }
            self.at += 1;
        }
        Ok(node)
    }

    fn number(&mut self) -> Result<Node<'a>, DecodeError> {
        let start = self.at;
        let negative = self.take(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            Some(_) | None if negative => return Err(self.unexpected("in numeric literal")),
            Some(_) | None => return Err(self.unexpected("looking for beginning of value")),
        }
        if self.take(b'.') {
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(Node::Number(String::from_utf8_lossy(&self.text[start..self.at])))
    }

    fn digits(&mut self, place: &str) -> Result<(), DecodeError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected(place));
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    /// Borrows when nothing is escaped. Bytes that are no UTF-8 become U+FFFD, as in Go.
    fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = String::from_utf8_lossy(&self.text[start..self.at]);
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => break,
                Some(0..=0x1f) => return Err(self.unexpected("in string literal")),
                Some(_) => self.at += 1,
                None => return Err(DecodeError::Truncated),
            }
        }
        let mut bytes = self.text[start..self.at].to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    let text = String::from_utf8(bytes)
                        .unwrap_or_else(|broken| String::from_utf8_lossy(broken.as_bytes()).into_owned());
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => self.escape(&mut bytes)?,
                Some(0..=0x1f) => return Err(self.unexpected("in string literal")),
                Some(byte) => {
                    bytes.push(byte);
                    self.at += 1;
                }
                None => return Err(DecodeError::Truncated),
            }
        }
    }

    fn escape(&mut self, into: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.at += 1;
        let plain = match self.peek() {
            Some(b'u') => {
                self.at += 1;
                let decoded = self.unicode()?;
                into.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(_) | None => return Err(self.unexpected("in string escape code")),
        };
        into.push(plain);
        self.at += 1;
        Ok(())
    }

    /// A lone half of a surrogate pair becomes U+FFFD, as in Go.
    fn unicode(&mut self) -> Result<char, DecodeError> {
        let first = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if self.text[self.at..].starts_with(b"\\u") {
            let resume = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = resume;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32, DecodeError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, place: &str) -> DecodeError {
        match self.peek() {
            None => DecodeError::Truncated,
            Some(byte) => DecodeError::Syntax { found: quoted(byte), place: place.to_owned() },
        }
    }
}

/// A byte as Go shows it in such an error.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        0..=0x1f | 0x7f => format!(r"'\x{byte:02x}'"),
        0x20..=0x7e => format!("'{}'", char::from(byte)),
        0x80..=0xff => format!("'{}'", char::from(byte)),
    }
}
