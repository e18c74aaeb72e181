//! Reads a YAML document into a [`Node`], with YAML 1.1's plain scalars (`yes`, `on`, `0644`), as Kubernetes reads them.
//!
//! The parser gives events only; which plain scalar means what is decided here. Aliases are expanded within a budget,
//! so that a small document cannot become a large one. Only the first document of a stream counts.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::decode::DecodeError;
use super::node::{DEPTH_MAX, Node};

/// How many nodes aliases may add to a document.
const ALIASED_NODES_MAX: usize = 100_000;
const CORE_TAGS: &str = "tag:yaml.org,2002:";

pub(super) fn read(text: &[u8]) -> Result<Node<'_>, DecodeError> {
    let text = std::str::from_utf8(text).map_err(|_| yaml("invalid Unicode character"))?;
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        budget: ALIASED_NODES_MAX,
    };
    loop {
        match reader.next()? {
            Event::StreamEnd | Event::DocumentEnd => return Ok(Node::Null),
            event @ (Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..)
            | Event::Alias(_)) => {
                return reader.node(event, 0);
            }
            _ => {}
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node<'a>>,
    budget: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, DecodeError> {
        match self.events.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(broken)) => Err(yaml(&broken.to_string())),
            None => Ok(Event::StreamEnd),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node<'a>, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.object(depth)?, anchor),
            Event::Alias(id) => return self.aliased(id, depth),
            _ => return Err(yaml("did not find expected node content")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn aliased(&mut self, id: usize, depth: usize) -> Result<Node<'a>, DecodeError> {
        let node = self.anchors.get(&id).ok_or_else(|| yaml("anchor value contains itself"))?;
        let (size, height) = measure(node);
        if depth + height > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        let left = self.budget.checked_sub(size);
        self.budget = left.ok_or_else(|| yaml("document contains excessive aliasing"))?;
        Ok(node.clone())
    }

    fn list(&mut self, depth: usize) -> Result<Node<'a>, DecodeError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Node::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, DecodeError> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        loop {
            let event = match self.next()? {
                Event::MappingEnd => break,
                event => event,
            };
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = self.node(event, depth + 1)?;
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if is_merge {
                merge_sources(value, &mut merged)?;
            } else {
                entries.push((key_text(key)?, value));
            }
        }
        for (key, value) in merged {
            if !entries.iter().any(|(present, _)| *present == key) {
                entries.push((key, value));
            }
        }
        Ok(Node::Object(entries))
    }
}

type Entries<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

fn merge_sources<'a>(value: Node<'a>, into: &mut Entries<'a>) -> Result<(), DecodeError> {
    match value {
        Node::Object(entries) => into.extend(entries),
        Node::List(items) => {
            for item in items {
                match item {
                    Node::Object(entries) => into.extend(entries),
                    _ => return Err(yaml("map merge requires map or sequence of maps as the value")),
                }
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => {
            return Err(yaml("map merge requires map or sequence of maps as the value"));
        }
    }
    Ok(())
}

fn key_text(key: Node<'_>) -> Result<Cow<'_, str>, DecodeError> {
    match key {
        Node::String(text) | Node::Number(text) => Ok(text),
        Node::Bool(flag) => Ok(Cow::Borrowed(if flag { "true" } else { "false" })),
        Node::Null => Ok(Cow::Borrowed("null")),
        Node::List(_) | Node::Object(_) => Err(yaml("invalid map key")),
    }
}

/// How many nodes a tree has, and how deep it is.
fn measure(node: &Node<'_>) -> (usize, usize) {
    let add = |(size, height): (usize, usize), child: &Node<'_>| {
        let (more, deep) = measure(child);
        (size + more, height.max(deep + 1))
    };
    match node {
        Node::List(items) => items.iter().fold((1, 1), add),
        Node::Object(entries) => entries.iter().map(|(_, value)| value).fold((1, 1), add),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => (1, 1),
    }
}

fn scalar<'a>(text: Cow<'a, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node<'a>, DecodeError> {
    let tag = tag.map(|tag| tag.original());
    let tag = tag
        .as_deref()
        .map(|tag| tag.strip_prefix("!!").or_else(|| tag.strip_prefix(CORE_TAGS)).unwrap_or(tag));
    match tag {
        Some("str" | "!" | "timestamp") => return Ok(Node::String(text)),
        Some("binary") => return binary(&text),
        Some(_) => return Ok(plain(text)),
        None => {}
    }
    Ok(if style == ScalarStyle::Plain { plain(text) } else { Node::String(text) })
}

fn binary(text: &str) -> Result<Node<'static>, DecodeError> {
    use base64::Engine as _;
    let compact: String = text.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(compact)
        .map_err(|_| yaml("!!binary value contains invalid base64 data"))?;
    Ok(Node::String(String::from_utf8_lossy(&bytes).into_owned().into()))
}

/// What a plain scalar means in YAML 1.1, except that dates stay text and there are no sexagesimal numbers.
fn plain(text: Cow<'_, str>) -> Node<'_> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Node::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Node::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Node::String(text);
    }
    match number(&text) {
        Some(canonical) if canonical == *text => Node::Number(text),
        Some(canonical) => Node::Number(canonical.into()),
        None => Node::String(text),
    }
}

/// The number as JSON writes it.
fn number(text: &str) -> Option<String> {
    let digits = text.replace('_', "");
    if let Some(whole) = integer(&digits) {
        return Some(whole.to_string());
    }
    let shape = digits.trim_start_matches(['+', '-']);
    let numeric = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | 'e' | 'E' | '+' | '-');
    if !shape.starts_with(|first: char| first.is_ascii_digit() || first == '.') || !shape.chars().all(numeric)
    {
        return None;
    }
    let value: f64 = digits.parse().ok()?;
    value.is_finite().then(|| {
        if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { value.to_string() }
    })
}

fn integer(digits: &str) -> Option<i128> {
    let (negative, rest) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    let lower = rest.to_ascii_lowercase();
    let (radix, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, &*lower)
    };
    if body.starts_with(['+', '-']) {
        return None;
    }
    let whole = i128::from(u64::from_str_radix(body, radix).ok()?);
    Some(if negative { -whole } else { whole })
}

fn yaml(problem: &str) -> DecodeError {
    DecodeError::Yaml { problem: problem.to_owned() }
}
