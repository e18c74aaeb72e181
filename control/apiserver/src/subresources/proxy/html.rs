//! Links in pages that come through a proxy, rewritten as the page passes by.
//!
//! As in Kubernetes, only attributes that hold one URL are looked at; scripts and styles stay as they are. No more
//! than one tag is held, and of that no more than [`TAG_BYTES_MAX`]: a longer one stays as it is.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use http_body_util::BodyExt;

use super::headers::Links;
use crate::body::{Body, BoxError, stream};

const TAG_BYTES_MAX: usize = 64 * 1024;
/// Of what is packed, as much is unpacked at a time: it may become a thousand times as large.
const PACKED_BYTES_MAX: usize = 2 * 1024;

/// Elements and those of their attributes that are URLs (HTML 4.01, index of attributes; WHATWG's beside it).
const URLS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];
/// Elements in which nothing is a tag but their own end.
const RAW: &[&str] =
    &["iframe", "noembed", "noframes", "noscript", "script", "style", "textarea", "title", "xmp"];

/// How a page is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
}

impl Packing {
    /// `None` of what is not understood.
    pub(super) fn of(content_encoding: &str) -> Option<Self> {
        match content_encoding {
            "" | "identity" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// The same page with other links.
pub(super) fn rewriting(body: Body, links: Links, packing: Packing) -> Body {
    let page = Page { links, state: State::Text, held: Vec::new(), out: Vec::new() };
    let writer = match packing {
        Packing::Plain => Writer::Plain(page),
        Packing::Gzip => Writer::Gzip(Box::new(MultiGzDecoder::new(Packed { page, gzip: gzip() }))),
    };
    let pieces = futures::stream::try_unfold(Some((body, Bytes::new(), writer)), |state| async move {
        let Some((mut body, mut waiting, mut writer)) = state else { return Ok::<_, BoxError>(None) };
        while waiting.is_empty() {
            match body.frame().await {
                Some(frame) => waiting = frame?.into_data().unwrap_or_default(),
                None => return Ok(Some((Bytes::from(writer.end()?), None))),
            }
        }
        let piece = waiting.split_to(waiting.len().min(writer.piece_bytes_max()));
        let rewritten = Bytes::from(writer.write(&piece)?);
        Ok(Some((rewritten, Some((body, waiting, writer)))))
    });
    stream(pieces)
}

fn gzip() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

enum Writer {
    Plain(Page),
    Gzip(Box<MultiGzDecoder<Packed>>),
}

impl Writer {
    fn piece_bytes_max(&self) -> usize {
        match self {
            Self::Plain(_) => usize::MAX,
            Self::Gzip(_) => PACKED_BYTES_MAX,
        }
    }

    fn write(&mut self, piece: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain(page) => {
                page.feed(piece);
                Ok(std::mem::take(&mut page.out))
            }
            Self::Gzip(unpacking) => {
                unpacking.write_all(piece)?;
                unpacking.flush()?;
                Ok(std::mem::take(unpacking.get_mut().gzip.get_mut()))
            }
        }
    }

    fn end(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain(mut page) => {
                page.end();
                Ok(page.out)
            }
            Self::Gzip(unpacking) => {
                let mut packed = (*unpacking).finish()?;
                packed.page.end();
                packed.gzip.write_all(&packed.page.out)?;
                packed.gzip.finish()
            }
        }
    }
}

/// What is unpacked, rewritten, and packed again.
struct Packed {
    page: Page,
    gzip: GzEncoder<Vec<u8>>,
}

impl Write for Packed {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.page.feed(piece);
        self.gzip.write_all(&std::mem::take(&mut self.page.out))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.gzip.flush()
    }
}

/// Where in a page the next byte is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Text,
    Comment,
    /// In an element of [`RAW`].
    Raw(&'static str),
}

/// A page on its way.
struct Page {
    links: Links,
    state: State,
    /// What cannot be judged before more is here.
    held: Vec<u8>,
    out: Vec<u8>,
}

impl Page {
    fn feed(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
        let mut held = std::mem::take(&mut self.held);
        let mut at = 0;
        while let Some(read) = self.step(&held[at..]) {
            at += read;
        }
        held.drain(..at);
        self.held = held;
    }

    fn end(&mut self) {
        self.out.append(&mut self.held);
    }

    /// Passes on the next part, and tells its length; `None` when more is needed.
    fn step(&mut self, rest: &[u8]) -> Option<usize> {
        if rest.is_empty() {
            return None;
        }
        let state = self.state.clone();
        match state {
            State::Text => match rest.iter().position(|byte| *byte == b'<') {
                Some(0) => self.tag(rest),
                before => Some(self.pass(&rest[..before.unwrap_or(rest.len())])),
            },
            State::Comment => self.until(rest, b"-->"),
            State::Raw(name) => self.until(rest, format!("</{name}").as_bytes()),
        }
    }

    /// Passes on up to `end`, after which all is text again.
    fn until(&mut self, rest: &[u8], end: &[u8]) -> Option<usize> {
        match rest.windows(end.len()).position(|part| part.eq_ignore_ascii_case(end)) {
            Some(at) => {
                self.state = State::Text;
                // An end tag is itself text that begins a tag; the end of a comment is not.
                let through = if end.starts_with(b"<") { at } else { at + end.len() };
                Some(self.pass(&rest[..through]))
            }
            None => {
                let sure = (rest.len() + 1).saturating_sub(end.len());
                (sure > 0).then(|| self.pass(&rest[..sure]))
            }
        }
    }

    fn tag(&mut self, rest: &[u8]) -> Option<usize> {
        if rest.len() < 4 && b"<!--".starts_with(rest) {
            return None;
        }
        if rest.starts_with(b"<!--") {
            self.state = State::Comment;
            return Some(self.pass(&rest[..4]));
        }
        if !rest[1].is_ascii_alphabetic() {
            return Some(self.pass(&rest[..1]));
        }
        let Some(end) = tag_end(rest) else {
            // Too long to be held: it goes as it is.
            return (rest.len() > TAG_BYTES_MAX).then(|| self.pass(rest));
        };
        let tag = &rest[..end];
        let name_end =
            tag.iter().position(|byte| is_space(*byte) || matches!(byte, b'/' | b'>')).unwrap_or(end);
        let name = String::from_utf8_lossy(&tag[1..name_end]).to_ascii_lowercase();
        if let Some(raw) = RAW.iter().find(|raw| **raw == name) {
            self.state = State::Raw(raw);
        }
        match URLS.iter().find(|(element, _)| *element == name) {
            Some((_, attributes)) => self.rewrite(tag, name_end, attributes),
            None => drop(self.pass(tag)),
        }
        Some(end)
    }

    /// A tag, the values of some of its attributes rewritten.
    fn rewrite(&mut self, tag: &[u8], name_end: usize, urls: &[&str]) {
        let mut written = 0;
        for Attribute { name, value } in attributes(tag, name_end) {
            let name = String::from_utf8_lossy(&tag[name]).to_ascii_lowercase();
            let Ok(link) = std::str::from_utf8(&tag[value.clone()]) else { continue };
            if link.is_empty() || !urls.contains(&name.as_str()) {
                continue;
            }
            let prefix = escaped(&self.links.prefix);
            let links = Links { prefix, ..self.links.clone() };
            self.out.extend_from_slice(&tag[written..value.start]);
            self.out.extend_from_slice(links.rewritten(link).as_bytes());
            written = value.end;
        }
        self.out.extend_from_slice(&tag[written..]);
    }

    fn pass(&mut self, part: &[u8]) -> usize {
        self.out.extend_from_slice(part);
        part.len()
    }
}

/// Behind the `>` that ends the tag; one in quotes does not.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut after_equals = false;
    for (at, byte) in tag.iter().enumerate() {
        match (quote, *byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => continue,
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') if after_equals => quote = Some(*byte),
            (None, _) => {}
        }
        after_equals = *byte == b'=' || after_equals && is_space(*byte);
    }
    None
}

/// Where an attribute is in its tag.
struct Attribute {
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

/// Those that have a value.
fn attributes(tag: &[u8], from: usize) -> Vec<Attribute> {
    let mut found = Vec::new();
    let mut at = from;
    let skip = |mut at: usize, is: fn(u8) -> bool| {
        while tag.get(at).is_some_and(|byte| is(*byte)) {
            at += 1;
        }
        at
    };
    while at < tag.len() {
        let begin = skip(at, |byte| is_space(byte) || matches!(byte, b'/' | b'>'));
        let end = skip(begin, |byte| !is_space(byte) && !matches!(byte, b'/' | b'>' | b'='));
        let equals = skip(end, is_space);
        if tag.get(equals) != Some(&b'=') {
            at = equals.max(at + 1);
            continue;
        }
        let value = skip(equals + 1, is_space);
        let range = match tag.get(value) {
            Some(quote @ (b'"' | b'\'')) => {
                let length = tag[value + 1..].iter().position(|byte| byte == quote);
                value + 1..value + 1 + length.unwrap_or(tag.len() - value - 1)
            }
            _ => value..skip(value, |byte| !is_space(byte) && byte != b'>'),
        };
        at = range.end + 1;
        found.push(Attribute { name: begin..end, value: range });
    }
    found
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

/// As it may stand in any attribute: the prefix is what a client made of it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('\'', "&#39;")
        .replace('"', "&#34;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
