//! Semantic versions (semver.org, 2.0.0). A second argument asks for leniency: `v1`, `01.2`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::super::functions::{Overload, Ran, function, method};
use super::super::meter::{Failure, Meter};
use super::super::types::Pattern as P;
use super::super::value::Val;

const PAIR: &[P] = &[P::Semver, P::Semver];

pub(in super::super) static ALL: &[Overload] = &[
    function("semver", &[P::Text], P::Semver, parsed),
    function("semver", &[P::Text, P::Bool], P::Semver, parsed),
    function("isSemver", &[P::Text], P::Bool, |args, meter| Ok(Val::Bool(parsed(args, meter).is_ok()))),
    function("isSemver", &[P::Text, P::Bool], P::Bool, |args, meter| {
        Ok(Val::Bool(parsed(args, meter).is_ok()))
    }),
    method("major", &[P::Semver], P::Int, |args, _| number(of(&args[0])?.numbers[0])),
    method("minor", &[P::Semver], P::Int, |args, _| number(of(&args[0])?.numbers[1])),
    method("patch", &[P::Semver], P::Int, |args, _| number(of(&args[0])?.numbers[2])),
    method("isGreaterThan", PAIR, P::Bool, |args, _| {
        Ok(Val::Bool(of(&args[0])?.order(of(&args[1])?).is_gt()))
    }),
    method("isLessThan", PAIR, P::Bool, |args, _| Ok(Val::Bool(of(&args[0])?.order(of(&args[1])?).is_lt()))),
    method("compareTo", PAIR, P::Int, |args, _| Ok(Val::Int(of(&args[0])?.order(of(&args[1])?) as i64))),
];

#[derive(Debug)]
pub(crate) struct Semver {
    numbers: [u64; 3],
    before: Vec<String>,
    build: Option<String>,
}

impl Semver {
    fn parse(text: &str, is_lenient: bool) -> Option<Self> {
        let text = if is_lenient { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build.to_owned())),
            None => (text, None),
        };
        let (core, before) = match text.split_once('-') {
            Some((core, before)) => (core, before.split('.').map(str::to_owned).collect()),
            None => (text, Vec::new()),
        };
        let good =
            |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        let plain = |part: &String| !is_number(part) || part == "0" || !part.starts_with('0');
        if !before.iter().all(|part| good(part) && plain(part))
            || !build.iter().all(|it| it.split('.').all(good))
        {
            return None;
        }
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 || parts.len() < 3 && !is_lenient {
            return None;
        }
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(parts) {
            if !is_number(part) || !is_lenient && part != "0" && part.starts_with('0') {
                return None;
            }
            *number = part.parse().ok()?;
        }
        Some(Self { numbers, before, build })
    }

    /// By precedence, to which the build says nothing.
    fn order(&self, other: &Self) -> Ordering {
        let parts = || {
            for (a, b) in self.before.iter().zip(&other.before) {
                let order = match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => a.cmp(b),
                };
                if order.is_ne() {
                    return order;
                }
            }
            match (self.before.is_empty(), other.before.is_empty()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (_, _) => self.before.len().cmp(&other.before.len()),
            }
        };
        self.numbers.cmp(&other.numbers).then_with(parts)
    }
}

impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.before.is_empty() {
            write!(f, "-{}", self.before.join("."))?;
        }
        match &self.build {
            Some(build) => write!(f, "+{build}"),
            None => Ok(()),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

fn parsed<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    let text = args[0].as_text()?;
    let is_lenient = args.get(1).map_or(Ok(false), Val::as_bool)?;
    match Semver::parse(text, is_lenient) {
        Some(version) => Ok(Val::Semver(Arc::new(version))),
        None => Err(Failure::said(format!("{text:?} is no semantic version"))),
    }
}

fn of<'v>(value: &'v Val<'_>) -> Result<&'v Semver, Failure> {
    match value {
        Val::Semver(version) => Ok(version),
        _ => Err(Failure::NoOverload),
    }
}

fn number<'a>(number: u64) -> Ran<'a> {
    i64::try_from(number).map(Val::Int).map_err(|_| Failure::said("integer overflow"))
}
