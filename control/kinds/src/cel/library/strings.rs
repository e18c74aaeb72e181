//! Text: CEL's own functions, and its extension in version 2. Positions count letters.

use super::super::functions::{Overload, Ran, function, method};
use super::super::meter::{Failure, Meter};
use super::super::types::Pattern as P;
use super::super::value::Val;
use super::printf;

pub(in super::super) static ALL: &[Overload] = &[
    method("contains", &[P::Text, P::Text], P::Bool, |args, meter| {
        let (text, part) = (args[0].as_text()?, args[1].as_text()?);
        meter.spend_bytes(text.len())?;
        Ok(Val::Bool(text.contains(part)))
    }),
    method("startsWith", &[P::Text, P::Text], P::Bool, |args, _| {
        Ok(Val::Bool(args[0].as_text()?.starts_with(args[1].as_text()?)))
    }),
    method("endsWith", &[P::Text, P::Text], P::Bool, |args, _| {
        Ok(Val::Bool(args[0].as_text()?.ends_with(args[1].as_text()?)))
    }),
    method("charAt", &[P::Text, P::Int], P::Text, char_at),
    method("indexOf", &[P::Text, P::Text], P::Int, index_of),
    method("indexOf", &[P::Text, P::Text, P::Int], P::Int, index_of),
    method("lastIndexOf", &[P::Text, P::Text], P::Int, last_index_of),
    method("lastIndexOf", &[P::Text, P::Text, P::Int], P::Int, last_index_of),
    method("join", &[P::List(&P::Text)], P::Text, join),
    method("join", &[P::List(&P::Text), P::Text], P::Text, join),
    method("lowerAscii", &[P::Text], P::Text, |args, _| {
        Ok(Val::text(args[0].as_text()?.to_ascii_lowercase()))
    }),
    method("upperAscii", &[P::Text], P::Text, |args, _| {
        Ok(Val::text(args[0].as_text()?.to_ascii_uppercase()))
    }),
    method("trim", &[P::Text], P::Text, |args, _| Ok(Val::text(args[0].as_text()?.trim()))),
    method("replace", &[P::Text, P::Text, P::Text], P::Text, replace),
    method("replace", &[P::Text, P::Text, P::Text, P::Int], P::Text, replace),
    method("split", &[P::Text, P::Text], P::List(&P::Text), split),
    method("split", &[P::Text, P::Text, P::Int], P::List(&P::Text), split),
    method("substring", &[P::Text, P::Int], P::Text, substring),
    method("substring", &[P::Text, P::Int, P::Int], P::Text, substring),
    method("format", &[P::Text, P::List(&P::Dyn)], P::Text, |args, meter| {
        printf::format(args[0].as_text()?, args[1].as_list()?, meter).map(Val::text)
    }),
    function("strings.quote", &[P::Text], P::Text, |args, _| Ok(Val::text(quoted(args[0].as_text()?)))),
];

fn letters(value: &Val<'_>, meter: &mut Meter) -> Result<Vec<char>, Failure> {
    let text = value.as_text()?;
    meter.spend_bytes(4 * text.len())?;
    Ok(text.chars().collect())
}

fn out_of_range<T>(index: i64) -> Result<T, Failure> {
    Err(Failure::said(format!("index out of range: {index}")))
}

/// An optional position: no less than 0, no more than `end`.
fn position(value: Option<&Val<'_>>, default: usize, end: usize) -> Result<usize, Failure> {
    let Some(value) = value else { return Ok(default) };
    let index = value.as_int()?;
    match usize::try_from(index) {
        Ok(index) if index <= end => Ok(index),
        _ => out_of_range(index),
    }
}

fn index<'a>(found: Option<usize>) -> Ran<'a> {
    Ok(Val::Int(found.and_then(|found| i64::try_from(found).ok()).unwrap_or(-1)))
}

fn char_at<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let letters = letters(&args[0], meter)?;
    let at = position(args.get(1), 0, letters.len())?;
    Ok(Val::text(letters.get(at).map(char::to_string).unwrap_or_default()))
}

fn windows(text: &[char], part: &[char], meter: &mut Meter) -> Result<(), Failure> {
    meter.spend_bytes(text.len().saturating_mul(part.len()))
}

fn index_of<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let (text, part) = (letters(&args[0], meter)?, letters(&args[1], meter)?);
    let from = position(args.get(2), 0, text.len())?;
    windows(&text, &part, meter)?;
    let last = text.len().checked_sub(part.len());
    index(last.and_then(|last| (from..=last).find(|at| text[*at..].starts_with(&part))))
}

fn last_index_of<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let (text, part) = (letters(&args[0], meter)?, letters(&args[1], meter)?);
    let from = position(args.get(2), text.len(), text.len())?;
    windows(&text, &part, meter)?;
    let last = text.len().checked_sub(part.len()).map(|last| last.min(from));
    index(last.and_then(|last| (0..=last).rev().find(|at| text[*at..].starts_with(&part))))
}

fn join<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let between = args.get(1).map_or(Ok(""), Val::as_text)?;
    let mut out = String::new();
    for (index, item) in args[0].as_list()?.iter().enumerate() {
        let item = item?;
        let text = item.as_text()?;
        meter.spend(1)?;
        meter.spend_bytes(text.len() + between.len())?;
        if index > 0 {
            out.push_str(between);
        }
        out.push_str(text);
    }
    Ok(Val::text(out))
}

/// How many at most; a number below zero means all.
fn limit(value: Option<&Val<'_>>) -> Result<usize, Failure> {
    Ok(match value {
        Some(value) => usize::try_from(value.as_int()?).unwrap_or(usize::MAX),
        None => usize::MAX,
    })
}

fn replace<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let (text, old, new) = (args[0].as_text()?, args[1].as_text()?, args[2].as_text()?);
    let limit = limit(args.get(3))?;
    meter.spend_bytes(text.len())?;
    let count = text.matches(old).count().min(limit);
    meter.spend_bytes(count.saturating_mul(new.len()))?;
    Ok(Val::text(text.replacen(old, new, count)))
}

fn split<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let (text, by) = (args[0].as_text()?, args[1].as_text()?);
    let limit = limit(args.get(2))?;
    meter.spend_bytes(text.len())?;
    let mut out = Vec::new();
    if limit == 0 {
        return Ok(Val::list(out));
    }
    if by.is_empty() {
        // Every letter, and the rest in the last.
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            meter.spend(1)?;
            if out.len() + 1 == limit {
                out.push(Val::text(rest));
                break;
            }
            let (first, others) = rest.split_at(letter.len_utf8());
            out.push(Val::text(first));
            rest = others;
        }
        return Ok(Val::list(out));
    }
    for part in text.splitn(limit, by) {
        meter.spend(1)?;
        out.push(Val::text(part));
    }
    Ok(Val::list(out))
}

fn substring<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let letters = letters(&args[0], meter)?;
    let from = position(args.get(1), 0, letters.len())?;
    let to = position(args.get(2), letters.len(), letters.len())?;
    if from > to {
        return Err(Failure::said(format!("invalid substring range. start: {from}, end: {to}")));
    }
    Ok(Val::text(letters[from..to].iter().collect::<String>()))
}

pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
