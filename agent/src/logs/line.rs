//! One line of a log file: `<RFC 3339 time> stdout|stderr P|F <text>`.

use base::Timestamp;

/// A line without its newline, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    time: &'a [u8],
    /// False for a piece of a longer line, which the next entry continues.
    whole: bool,
    text: &'a [u8],
}

impl<'a> Line<'a> {
    /// `None` when the runtime did not write this.
    pub(super) fn parse(raw: &'a [u8]) -> Option<Self> {
        let mut parts = raw.splitn(4, |byte| *byte == b' ');
        let time = parts.next()?;
        let stream = parts.next()?;
        let tags = parts.next()?;
        // An empty line may have lost its last space.
        let text = parts.next().unwrap_or_default();
        if !matches!(stream, b"stdout" | b"stderr") {
            return None;
        }
        // Tags may grow, separated by colons; the first one says whether the line is whole.
        let whole = match tags.split(|byte| *byte == b':').next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { time, whole, text })
    }

    /// Whether it was written at or after `since`.
    pub(super) fn is_since(&self, since: Timestamp) -> bool {
        let time = std::str::from_utf8(self.time).ok().and_then(|time| time.parse::<Timestamp>().ok());
        time.is_none_or(|time| time >= since)
    }

    /// Appends it as a client sees it.
    pub(super) fn write(&self, with_time: bool, out: &mut Vec<u8>) {
        if with_time {
            out.extend_from_slice(self.time);
            out.push(b' ');
        }
        out.extend_from_slice(self.text);
        if self.whole {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "expect! makes values")]
    fn check(raw: &str, expected: Expect) {
        let shown = Line::parse(raw.as_bytes()).map(|line| {
            let mut out = Vec::new();
            line.write(false, &mut out);
            out.push(b'|');
            line.write(true, &mut out);
            String::from_utf8(out).expect("text")
        });
        expected.assert_eq(&format!("{shown:?}"));
    }

    #[test]
    fn cuts_a_line_into_its_parts() {
        check(
            "2026-11-21T02:00:00.99340829Z stdout F hello  world",
            expect![[r#"Some("hello  world\n|2026-11-21T02:00:00.99340829Z hello  world\n")"#]],
        );
        check("2026-11-21T02:00:00Z stderr P half", expect![[r#"Some("half|2026-11-21T02:00:00Z half")"#]]);
        check("2026-11-21T02:00:00Z stdout F ", expect![[r#"Some("\n|2026-11-21T02:00:00Z \n")"#]]);
        check("2026-11-21T02:00:00Z stdout F", expect![[r#"Some("\n|2026-11-21T02:00:00Z \n")"#]]);
        check("2026-11-21T02:00:00Z stdout F:x y", expect![[r#"Some("y\n|2026-11-21T02:00:00Z y\n")"#]]);
        check("2026-11-21T02:00:00Z stdin F y", expect!["None"]);
        check("garbage", expect!["None"]);
        check("", expect!["None"]);
    }

    #[test]
    fn compares_times() {
        let since: Timestamp = "2026-11-21T02:00:00.5Z".parse().expect("a time");
        let at = |time: &str| {
            let raw = format!("{time} stdout F x");
            Line::parse(raw.as_bytes()).expect("a line").is_since(since)
        };
        assert!(!at("2026-11-21T02:00:00.49999Z"));
        assert!(at("2026-11-21T02:00:00.5Z"));
        assert!(at("2026-11-21T03:00:00.6+01:00"));
    }
}
