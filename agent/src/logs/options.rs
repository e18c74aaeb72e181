//! The query of a log request, as in Kubernetes' PodLogOptions.

use std::str::FromStr;
use std::time::Duration;

use base::Timestamp;
use thiserror::Error;

/// What part of a log is wanted, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) follow: bool,
    pub(crate) previous: bool,
    pub(crate) timestamps: bool,
    pub(crate) tail_lines: Option<u64>,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) since_seconds: Option<u64>,
    pub(crate) since_time: Option<Timestamp>,
}

/// A query that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid value {value:?} for {name}")]
pub(crate) struct OptionsError {
    name: String,
    value: String,
}

impl LogOptions {
    /// Reads a query string. Parameters that it does not know are left alone.
    pub(crate) fn parse(query: &str) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            let invalid = || OptionsError { name: name.to_owned(), value: value.clone() };
            match name {
                "follow" => options.follow = flag(&value).ok_or_else(invalid)?,
                "previous" => options.previous = flag(&value).ok_or_else(invalid)?,
                "timestamps" => options.timestamps = flag(&value).ok_or_else(invalid)?,
                "tailLines" => options.tail_lines = Some(number(&value).ok_or_else(invalid)?),
                "limitBytes" => options.limit_bytes = Some(number(&value).ok_or_else(invalid)?),
                "sinceSeconds" => options.since_seconds = Some(number(&value).ok_or_else(invalid)?),
                "sinceTime" => options.since_time = Some(number(&value).ok_or_else(invalid)?),
                _ => {}
            }
        }
        Ok(options)
    }

    /// Lines before this are not wanted.
    pub(crate) fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let ago = self.since_seconds.map(|seconds| now.checked_sub(Duration::from_secs(seconds)));
        ago.map(|ago| ago.unwrap_or(Timestamp::MIN)).or(self.since_time)
    }
}

/// As Go's `strconv.ParseBool`; a bare `follow` counts as true.
fn flag(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn number<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

/// Undoes the encoding of a query value (RFC 3986, and `+` for a space).
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = if *first == b'%' {
            after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok())
        } else {
            None
        };
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_option() {
        let query = "container=c&follow=true&previous=1&timestamps=false&tailLines=5&limitBytes=7\
                     &sinceTime=2026-11-21T02%3A00%3A00Z";
        let options = LogOptions::parse(query).expect("valid");
        let wanted = LogOptions {
            follow: true,
            previous: true,
            tail_lines: Some(5),
            limit_bytes: Some(7),
            since_time: Some("2026-11-21T02:00:00Z".parse().expect("a time")),
            ..LogOptions::default()
        };
        assert_eq!(options, wanted);
        assert_eq!(LogOptions::parse("").expect("valid"), LogOptions::default());
    }

    #[test]
    fn names_what_is_wrong() {
        for (query, said) in [
            ("tailLines=-1", r#"invalid value "-1" for tailLines"#),
            ("follow=yes", r#"invalid value "yes" for follow"#),
            ("sinceTime=today", r#"invalid value "today" for sinceTime"#),
        ] {
            assert_eq!(LogOptions::parse(query).expect_err("refused").to_string(), said);
        }
    }

    #[test]
    fn seconds_count_back_from_now() {
        let now: Timestamp = "2026-11-21T02:00:00Z".parse().expect("a time");
        let options = LogOptions { since_seconds: Some(60), ..LogOptions::default() };
        assert_eq!(options.since(now).map(|t| t.to_string()).as_deref(), Some("2026-11-21T01:59:00Z"));
        let ages = LogOptions { since_seconds: Some(u64::MAX / 2), ..LogOptions::default() };
        assert_eq!(ages.since(now), Some(Timestamp::MIN));
    }

    #[test]
    fn decodes_what_is_encoded_and_leaves_the_rest() {
        assert_eq!(decode("a%3Ab+c%2"), "a:b c%2");
        assert_eq!(decode("%zz%C3%A9"), "%zzé");
    }
}
