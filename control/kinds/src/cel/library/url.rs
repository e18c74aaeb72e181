//! URLs as Go's `ParseRequestURI` reads them: with a scheme, or a path from the root.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::functions::{Overload, Ran, function, method};
use super::super::meter::{Failure, Meter};
use super::super::types::Pattern as P;
use super::super::value::{Key, Val};

pub(in super::super) static ALL: &[Overload] = &[
    function("url", &[P::Text], P::Url, |args, _| match Url::parse(args[0].as_text()?) {
        Ok(url) => Ok(Val::Url(Arc::new(url))),
        Err(why) => {
            let text = args[0].as_text()?;
            Err(Failure::said(format!(
                "URL parse error during conversion from string: parse {text:?}: {why}"
            )))
        }
    }),
    function("isURL", &[P::Text], P::Bool, |args, _| Ok(Val::Bool(Url::parse(args[0].as_text()?).is_ok()))),
    method("getScheme", &[P::Url], P::Text, |args, _| Ok(Val::text(&*of(args)?.scheme))),
    method("getHost", &[P::Url], P::Text, |args, _| Ok(Val::text(&*of(args)?.host))),
    method("getHostname", &[P::Url], P::Text, |args, _| Ok(Val::text(of(args)?.host_and_port().0))),
    method("getPort", &[P::Url], P::Text, |args, _| Ok(Val::text(of(args)?.host_and_port().1))),
    method("getEscapedPath", &[P::Url], P::Text, |args, _| Ok(Val::text(&*of(args)?.path))),
    method("getQuery", &[P::Url], P::Map(&P::Text, &P::List(&P::Text)), query),
];

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub text: String,
    scheme: String,
    host: String,
    /// Escaped.
    path: String,
    query: String,
}

fn of<'v>(args: &'v [Val<'_>]) -> Result<&'v Url, Failure> {
    match args {
        [Val::Url(url), ..] => Ok(url),
        _ => Err(Failure::NoOverload),
    }
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty url".to_owned());
        }
        if text.chars().any(|it| it.is_ascii_control()) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (before, _fragment) = text.split_once('#').unwrap_or((text, ""));
        let (scheme, rest) = scheme(before)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Self {
            text: text.to_owned(),
            scheme: scheme.to_ascii_lowercase(),
            host: String::new(),
            path: String::new(),
            query: query.to_owned(),
        };
        if !rest.starts_with('/') {
            return match scheme {
                "" => Err("invalid URI for request".to_owned()),
                _ => Ok(url),
            };
        }
        let mut path = rest;
        if let Some(after) = rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            let end = after.find('/').unwrap_or(after.len());
            let authority = &after[..end];
            path = &after[end..];
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            url.host = checked_host(host)?;
        }
        decoded(path, false).ok_or_else(|| "invalid URL escape".to_owned())?;
        url.path = escaped(path);
        Ok(url)
    }

    fn host_and_port(&self) -> (&str, &str) {
        let (name, port) = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) && !port.contains(']') => {
                (name, port)
            }
            _ => (self.host.as_str(), ""),
        };
        (name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name), port)
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    match text.find(|it: char| !it.is_ascii_alphanumeric() && !"+-.".contains(it)) {
        Some(0) if text.starts_with(':') => Err("missing protocol scheme".to_owned()),
        Some(at) if text[at..].starts_with(':') && text.starts_with(|it: char| it.is_ascii_alphabetic()) => {
            Ok((&text[..at], &text[at + 1..]))
        }
        _ => Ok(("", text)),
    }
}

fn checked_host(host: &str) -> Result<String, String> {
    let (name, port) = match host.rfind(']') {
        Some(end) => host.split_at(end + 1),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if host.starts_with('[') != host.contains(']') {
        return Err("missing ']' in host".to_owned());
    }
    let is_port = port.is_empty() || port.starts_with(':') && port[1..].bytes().all(|it| it.is_ascii_digit());
    if !is_port {
        return Err(format!("invalid port {port:?} after host"));
    }
    let name = decoded(name, false).ok_or_else(|| "invalid URL escape".to_owned())?;
    match name.chars().find(|it| " \"<>^`{|}\\%".contains(*it)) {
        Some(letter) => Err(format!("invalid character {letter:?} in host name")),
        None => Ok(format!("{name}{port}")),
    }
}

/// With what is behind each `%`; none when that is no number.
fn decoded(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits)
                    .ok()
                    .filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
            }
            b'+' if plus_is_blank => out.push(b' '),
            byte => out.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// With all that may not stand in a path behind a `%`.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*%[]".contains(&b) => {
                out.push(char::from(b))
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn query<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let mut found: BTreeMap<String, Vec<Val<'a>>> = BTreeMap::new();
    for part in of(args)?.query.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
        meter.spend(1)?;
        meter.spend_bytes(part.len())?;
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if let (Some(key), Some(value)) = (decoded(key, true), decoded(value, true)) {
            found.entry(key).or_default().push(Val::text(value));
        }
    }
    Ok(Val::map(found.into_iter().map(|(key, values)| (Key::Text(key.into()), Val::list(values))).collect()))
}
