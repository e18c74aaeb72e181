//! Regular expressions in Go's syntax. A pattern that stands in a rule is compiled with it; others are compiled, and paid
//! for, each time.

use super::super::functions::{Overload, Ran, function, method};
use super::super::meter::{Failure, Meter};
use super::super::types::Pattern as P;
use super::super::value::Val;
use crate::custom::Pattern;

/// Steps for compiling one; it takes about a tenth of a millisecond, in the worst case some.
const COMPILING: usize = 5_000;

pub(in super::super) static ALL: &[Overload] = &[
    function("matches", &[P::Text, P::Text], P::Bool, matches),
    method("matches", &[P::Text, P::Text], P::Bool, matches),
    method("find", &[P::Text, P::Text], P::Text, |args, meter| run(args, None, Verb::Find, meter)),
    method("findAll", &[P::Text, P::Text], P::List(&P::Text), |args, meter| {
        run(args, None, Verb::FindAll, meter)
    }),
    method("findAll", &[P::Text, P::Text, P::Int], P::List(&P::Text), |args, meter| {
        run(args, None, Verb::FindAll, meter)
    }),
];

#[derive(Clone, Copy)]
enum Verb {
    Matches,
    Find,
    FindAll,
}

fn matches<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    run(args, None, Verb::Matches, meter)
}

/// Whether the second argument of a function of this name is a pattern.
pub(in super::super) fn takes_pattern(name: &str) -> bool {
    matches!(name, "matches" | "find" | "findAll")
}

/// A call whose pattern was compiled before.
pub(in super::super) fn run_compiled<'a>(
    name: &str,
    args: &[Val<'a>],
    pattern: &Pattern,
    meter: &mut Meter,
) -> Ran<'a> {
    let verb = match name {
        "find" => Verb::Find,
        "findAll" => Verb::FindAll,
        _ => Verb::Matches,
    };
    run(args, Some(pattern), verb, meter)
}

fn run<'a>(args: &[Val<'a>], compiled: Option<&Pattern>, verb: Verb, meter: &mut Meter) -> Ran<'a> {
    let (text, pattern) = (args[0].as_text()?, args[1].as_text()?);
    // Linear in the text for one pattern, so in their product at worst.
    meter.spend(1 + text.len().saturating_mul(pattern.len()) / 40)?;
    let made;
    let pattern = match compiled {
        Some(pattern) => pattern,
        None => {
            meter.spend(COMPILING + pattern.len())?;
            made = Pattern::parse(pattern).map_err(|error| Failure::said(error.to_string()))?;
            &made
        }
    };
    match verb {
        Verb::Matches => Ok(Val::Bool(pattern.is_match(text))),
        Verb::Find => Ok(Val::text(pattern.finds(text).next().unwrap_or_default())),
        Verb::FindAll => {
            let limit = args.get(2).map_or(Ok(-1), Val::as_int)?;
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let mut found = Vec::new();
            for part in pattern.finds(text).take(limit) {
                meter.spend(1)?;
                meter.spend_bytes(part.len())?;
                found.push(Val::text(part));
            }
            Ok(Val::list(found))
        }
    }
}
