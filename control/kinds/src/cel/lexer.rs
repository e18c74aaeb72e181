//! The words of a rule, and where in its text they stand.

use std::fmt::Write as _;

/// Code points in a rule, as in Kubernetes.
const LETTERS_MAX: usize = 100_000;
const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// Without its sign, which is an operator.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String),
    Sign(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub at: usize,
    pub end: usize,
    pub word: Word,
}

/// What is wrong, and where in the text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub at: usize,
    pub message: String,
}

/// As cel-go prints errors: place, message, the line and a mark below it.
pub(super) fn report(text: &str, errors: &[Wrong]) -> String {
    let mut out = String::new();
    for Wrong { at, message } in errors {
        let before = text.get(..*at).unwrap_or(text);
        let row = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[start..].chars().count();
        let line = text[start..].lines().next().unwrap_or_default();
        let break_before = if out.is_empty() { "" } else { "\n" };
        let dots = ".".repeat(column);
        let _ = write!(
            out,
            "{break_before}ERROR: <input>:{row}:{}: {message}\n | {line}\n | {dots}^",
            column + 1
        );
    }
    out
}

/// The words of `text`, the end being the last.
pub(super) fn words(text: &str) -> Result<Vec<Token>, Wrong> {
    let letters = text.chars().count();
    if letters > LETTERS_MAX {
        let message =
            format!("expression code point size exceeds limit: size: {letters}, limit {LETTERS_MAX}");
        return Err(Wrong { at: 0, message });
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let word = lexer.word()?;
        let is_end = word == Word::End;
        out.push(Token { at, end: lexer.at, word });
        if is_end {
            return Ok(out);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn wrong<T>(&self, at: usize, message: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong { at, message: format!("Syntax error: {}", message.into()) })
    }

    /// Takes letters as long as they are `good`.
    fn take(&mut self, good: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|letter| !good(letter)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take(|letter| matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0c'));
            if !self.rest().starts_with("//") {
                return;
            }
            self.take(|letter| letter != '\n');
        }
    }

    fn word(&mut self) -> Result<Word, Wrong> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Word::End) };
        let second = rest.chars().nth(1);
        if first.is_ascii_digit() || first == '.' && second.is_some_and(|it| it.is_ascii_digit()) {
            return self.number();
        }
        if let Some(start) = text_start(rest) {
            self.at += start.prefix;
            return self.quoted(start);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(Word::Name(self.take(|it| it.is_ascii_alphanumeric() || it == '_').to_owned()));
        }
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Word::Sign(sign))
            }
            None => self.wrong(self.at, format!("token recognition error at: '{first}'")),
        }
    }

    fn number(&mut self) -> Result<Word, Wrong> {
        let at = self.at;
        if self.rest().starts_with("0x") {
            self.at += 2;
            let digits = self.take(|it| it.is_ascii_hexdigit());
            let Ok(number) = u64::from_str_radix(digits, 16) else {
                return self.wrong(at, "invalid int literal");
            };
            return Ok(self.whole(number));
        }
        self.take(|it| it.is_ascii_digit());
        let mut is_whole = true;
        let next_is_digit = |rest: &str| rest[1..].starts_with(|it: char| it.is_ascii_digit());
        if self.rest().starts_with('.') && next_is_digit(self.rest()) {
            is_whole = false;
            self.at += 1;
            self.take(|it| it.is_ascii_digit());
        }
        if self.rest().starts_with(['e', 'E']) {
            let signed = self.rest()[1..].starts_with(['+', '-']);
            let mark = self.at;
            self.at += 1 + usize::from(signed);
            match self.take(|it| it.is_ascii_digit()) {
                "" => self.at = mark,
                _ => is_whole = false,
            }
        }
        let digits = &self.text[at..self.at];
        if is_whole {
            return match digits.parse() {
                Ok(number) => Ok(self.whole(number)),
                Err(_) => self.wrong(at, "invalid int literal"),
            };
        }
        match digits.parse() {
            Ok(number) => Ok(Word::Double(number)),
            Err(_) => self.wrong(at, "invalid double literal"),
        }
    }

    fn whole(&mut self, number: u64) -> Word {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            return Word::Uint(number);
        }
        Word::Int(number)
    }

    fn quoted(&mut self, start: TextStart) -> Result<Word, Wrong> {
        let begin = self.at;
        self.at += start.quote.len();
        let mut bytes = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(start.quote) {
                self.at += start.quote.len();
                break;
            }
            let Some(letter) =
                rest.chars().next().filter(|it| start.quote.len() == 3 || !"\r\n".contains(*it))
            else {
                return self
                    .wrong(begin, format!("token recognition error at: '{}'", &self.text[begin..self.at]));
            };
            self.at += letter.len_utf8();
            if letter == '\\' && !start.is_raw {
                self.escape(start.is_bytes, &mut bytes)?;
            } else {
                bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes());
            }
        }
        if start.is_bytes {
            return Ok(Word::Bytes(bytes));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Word::Text(text)),
            Err(_) => self.wrong(begin, "invalid string literal"),
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, is_bytes: bool, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let at = self.at;
        let Some(letter) = self.rest().chars().next() else { return self.wrong(at, "invalid escape") };
        self.at += letter.len_utf8();
        let plain = match letter {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '\\' | '\'' | '"' | '`' | '?' => letter as u8,
            'x' | 'X' => return self.code(2, 16, is_bytes, out),
            'u' if !is_bytes => return self.code(4, 16, false, out),
            'U' if !is_bytes => return self.code(8, 16, false, out),
            '0'..='3' => {
                self.at -= 1;
                return self.code(3, 8, is_bytes, out);
            }
            _ => return self.wrong(at, format!("invalid escape sequence: \\{letter}")),
        };
        out.push(plain);
        Ok(())
    }

    fn code(&mut self, digits: usize, radix: u32, is_byte: bool, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let at = self.at;
        let code = self.rest().get(..digits).filter(|it| it.chars().all(|digit| digit.is_digit(radix)));
        let Some(code) = code.and_then(|code| u32::from_str_radix(code, radix).ok()) else {
            return self.wrong(at, "invalid escape sequence");
        };
        self.at += digits;
        match (is_byte, u8::try_from(code), char::from_u32(code)) {
            (true, Ok(byte), _) => out.push(byte),
            (false, _, Some(letter)) => out.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
            (_, _, _) => return self.wrong(at, "invalid escape sequence"),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct TextStart {
    prefix: usize,
    quote: &'static str,
    is_raw: bool,
    is_bytes: bool,
}

/// Whether a text or bytes begin here, and how they end.
fn text_start(rest: &str) -> Option<TextStart> {
    let prefix = rest.bytes().take(2).take_while(|it| b"rRbB".contains(it)).count();
    let (marks, rest) = rest.split_at(prefix);
    let marks = marks.to_ascii_lowercase();
    if marks.len() == 2 && marks.starts_with(&marks[1..]) {
        return None;
    }
    let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|quote| rest.starts_with(quote))?;
    Some(TextStart { prefix, quote, is_raw: marks.contains('r'), is_bytes: marks.contains('b') })
}
