//! Regular expressions as schemas write them: Go's syntax (RE2), put into the words of the crate `regex`, which also
//! takes time linear in the text.
//!
//! The two differ in little: Go's `\d`, `\w`, `\s` and `\b` know ASCII only, `{` may stand for itself, and within brackets
//! `[`, `&` and `~` are letters like others. What cannot be said in both is an error, never a pattern that means something
//! else.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// How large a compiled pattern may be.
const BYTES_MAX: usize = 1 << 20;
/// How deep groups may be within each other.
const DEPTH_MAX: u32 = 100;
/// How often a repetition may ask for something, as in Go.
const REPEAT_MAX: u32 = 1000;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    compiled: Regex,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct PatternError(String);

impl Pattern {
    /// # Errors
    /// The text is no pattern that is understood here.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut builder = RegexBuilder::new(&translated(text)?);
        let compiled = builder.size_limit(BYTES_MAX).nest_limit(DEPTH_MAX).build();
        let compiled = compiled.map_err(|error| PatternError(last_line(&error.to_string())))?;
        Ok(Self { text: text.to_owned(), compiled })
    }

    /// The text that it was compiled from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether any part of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The parts of `text` that match, from the left, none within another.
    pub(crate) fn finds<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        self.compiled.find_iter(text).map(|found| found.as_str())
    }
}

/// Of an error that shows the pattern with a mark below, what is wrong.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The same pattern in the words of the crate.
fn translated(text: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => escape(&mut letters, &mut out, Place::Outside)?,
            '[' => brackets(&mut letters, &mut out)?,
            '{' => braces(&mut letters, &mut out)?,
            '(' => group(&letters, &mut out)?,
            other => out.push(other),
        }
    }
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// Within brackets.
    Inside,
}

/// What follows a backslash.
fn escape(letters: &mut Peekable<Chars<'_>>, out: &mut String, place: Place) -> Result<(), PatternError> {
    let Some(letter) = letters.next() else {
        return Err(PatternError("trailing backslash at end of expression".to_owned()));
    };
    match (letter, place) {
        ('d', _) => out.push_str("[0-9]"),
        ('D', _) => out.push_str("[^0-9]"),
        ('w', _) => out.push_str("[0-9A-Za-z_]"),
        ('W', _) => out.push_str("[^0-9A-Za-z_]"),
        ('s', _) => out.push_str(r"[\t\n\f\r ]"),
        ('S', _) => out.push_str(r"[^\t\n\f\r ]"),
        ('b', Place::Outside) => out.push_str(r"(?-u:\b)"),
        // Edges of words that Go does not know, and none where it knows them.
        ('<' | '>', _) => out.push(letter),
        ('x' | 'p' | 'P', _) => {
            out.extend(['\\', letter]);
            if letters.peek() == Some(&'{') {
                out.extend(std::iter::from_fn(|| letters.next_if(|letter| *letter != '}')));
            }
        }
        ('a' | 'f' | 't' | 'n' | 'r' | 'v', _) | ('A' | 'z', Place::Outside) => {
            out.extend(['\\', letter]);
        }
        (letter, _) if letter.is_ascii_punctuation() => out.extend(['\\', letter]),
        (letter, _) => return Err(PatternError(format!("invalid escape sequence: `\\{letter}`"))),
    }
    Ok(())
}

/// The rest of a class after its first bracket.
fn brackets(letters: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), PatternError> {
    out.push('[');
    if letters.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut is_first = true;
    while let Some(letter) = letters.next() {
        match letter {
            ']' if !is_first => {
                out.push(']');
                return Ok(());
            }
            ']' => out.push_str(r"\]"),
            '\\' => escape(letters, out, Place::Inside)?,
            '[' if letters.peek() == Some(&':') => {
                out.push('[');
                out.extend(std::iter::from_fn(|| letters.next_if(|letter| *letter != ']')));
                out.extend(letters.next());
            }
            '-' if letters.peek() == Some(&'-') => {
                return Err(PatternError("`--` within brackets".to_owned()));
            }
            '[' | '&' | '~' => out.extend(['\\', letter]),
            other => out.push(other),
        }
        is_first = false;
    }
    Err(PatternError("missing closing ]".to_owned()))
}

/// The rest of a repetition after its brace, or a brace that means itself.
fn braces(letters: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), PatternError> {
    let ahead: String = letters.clone().take_while(|letter| *letter != '}').collect();
    let is_closed = letters.clone().nth(ahead.chars().count()) == Some('}');
    let (least, most) = ahead.split_once(',').unwrap_or((&ahead, ""));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_closed || !is_number(least) || !(most.is_empty() || is_number(most)) {
        out.push_str(r"\{");
        return Ok(());
    }
    let is_allowed = |text: &str| text.parse::<u32>().is_ok_and(|times| times <= REPEAT_MAX);
    if !is_allowed(least) || !(most.is_empty() || is_allowed(most)) {
        return Err(PatternError(format!("invalid repeat count: `{{{ahead}}}`")));
    }
    out.push('{');
    Ok(())
}

/// A group, whose flags both must know.
fn group(after: &Peekable<Chars<'_>>, out: &mut String) -> Result<(), PatternError> {
    let mut after = after.clone();
    if after.next_if_eq(&'?').is_some() && after.peek().is_some_and(|letter| !matches!(letter, 'P' | '<')) {
        let flags: String = after.take_while(|letter| !matches!(letter, ':' | ')')).collect();
        if let Some(at) = flags.find(|flag| !matches!(flag, 'i' | 'm' | 's' | 'U' | '-')) {
            let front: String = flags[at..].chars().take(1).collect();
            let shown = format!("(?{}{front}", &flags[..at]);
            return Err(PatternError(format!("invalid or unsupported Perl syntax: `{shown}`")));
        }
    }
    out.push('(');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, good: &[&str], bad: &[&str]) {
        let compiled = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for text in good {
            assert!(compiled.is_match(text), "{pattern} should match {text:?}");
        }
        for text in bad {
            assert!(!compiled.is_match(text), "{pattern} should not match {text:?}");
        }
    }

    #[test]
    fn patterns_of_real_definitions() {
        let schedule = r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$";
        matches(schedule, &["* * * * */5", "1 2 3 4 5"], &["* * * *", "* * * * */", "a * * * *"]);
        let label = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
        matches(label, &["a", "a-b", "0"], &["-a", "a-", "A", ""]);
        let duration = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$";
        matches(duration, &["5m", "1.5h30m", "10ms"], &["", "5", "m", "5d"]);
        matches("^(?i)https?://.+$", &["http://a", "HTTPS://b"], &["ftp://a", "http://"]);
        matches(r"^\$\{[A-Z_]+\}$", &["${A_B}"], &["{A}"]);
        matches("^.{1,3}$", &["a", "äöü"], &["", "abcd", "a\n"]);
    }

    #[test]
    fn every_form_of_the_syntax() {
        matches("a|b|", &["", "a", "x"], &[]);
        matches("^(?:ab){2,}?$", &["abab", "ababab"], &["ab", "aba"]);
        matches("^a{0}b{2}$", &["bb"], &["abb", "b"]);
        matches(r"\bfoo", &["a foo", "foox"], &["xfoo"]);
        matches("^[^a-c\\]]+$", &["xyz"], &["a", "x]"]);
        matches("^[]a]$", &["]", "a"], &["b"]);
        matches("^[a-]$", &["-", "a"], &["b"]);
        matches("^[[:alpha:]\\d]+$", &["a1"], &["_"]);
        matches(r"^\x41\x{e4}$", &["Aä"], &["A"]);
        matches("(?m)^b$", &["a\nb\nc"], &["ab"]);
        matches("(?s)^a.b$", &["a\nb"], &["ab"]);
        matches("^(?P<year>[0-9]{4})$", &["2026"], &["26"]);
        matches("x*", &["", "y"], &[]);
        matches("a{,2}", &["a{,2}"], &["aa"]);
        matches("(a*)*b", &["b", "aab"], &["a"]);
        matches(r"^\p{Lu}\pL$", &["Äö"], &["äö"]);
    }

    #[test]
    fn what_the_two_languages_say_differently() {
        matches(r"^\d\w\s$", &["1a "], &["\u{661}a ", "1ä ", "1a\u{a0}"]);
        matches(r"^[\w.-]+$", &["a.b-c"], &["ä"]);
        matches(r"^[^\d]$", &["a", "\u{661}"], &["1"]);
        matches("^[[a]$", &["[", "a"], &["]"]);
        matches("^[a&&b~~]+$", &["a&b~"], &["c"]);
        matches("^{a}$", &["{a}"], &["a"]);
        matches(r"^\<a\>$", &["<a>"], &["a"]);
        matches("^a{2,x}$", &["a{2,x}"], &["aa"]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in [
            "(",
            ")",
            "[a",
            "\\",
            "(?=a)",
            "(?x)a b",
            r"\1",
            r"\B",
            r"\p{Nothing}",
            "a{1001}",
            "[b-a]",
            "[!--]",
            "*",
            "((a{100}){100}){100}",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_text_is_slow() {
        let pattern = Pattern::parse("^(a|a)*(a?){50}b$").expect("a pattern");
        assert!(!pattern.is_match(&"a".repeat(5_000)));
    }
}
