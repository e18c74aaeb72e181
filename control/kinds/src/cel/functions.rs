//! What functions there are: one table for the checker, which asks what they take, and for the evaluator, which runs them.

use super::library;
use super::meter::{Failure, Meter};
use super::operators;
use super::types::Pattern;
use super::value::Val;

pub(super) type Ran<'a> = Result<Val<'a>, Failure>;
pub(super) type Run = for<'a> fn(&[Val<'a>], &mut Meter) -> Ran<'a>;

/// One meaning of a function: the target of a method is its first argument.
#[derive(Debug)]
pub(super) struct Overload {
    pub name: &'static str,
    pub is_method: bool,
    pub takes: &'static [Pattern],
    pub gives: Pattern,
    pub run: Run,
}

pub(super) const fn function(
    name: &'static str,
    takes: &'static [Pattern],
    gives: Pattern,
    run: Run,
) -> Overload {
    Overload { name, is_method: false, takes, gives, run }
}

pub(super) const fn method(
    name: &'static str,
    takes: &'static [Pattern],
    gives: Pattern,
    run: Run,
) -> Overload {
    Overload { name, is_method: true, takes, gives, run }
}

static ALL: &[&[Overload]] = &[
    operators::ALL,
    library::conversions::ALL,
    library::strings::ALL,
    library::lists::ALL,
    library::sets::ALL,
    library::time::ALL,
    library::regex::ALL,
    library::optional::ALL,
    library::net::ALL,
    library::url::ALL,
    library::quantity::ALL,
    library::semver::ALL,
    library::format::ALL,
];

/// All meanings of a name, as a function or as a method.
pub(super) fn named(name: &str, is_method: bool) -> Vec<&'static Overload> {
    let all = ALL.iter().copied().flatten();
    all.filter(|overload| overload.name == name && overload.is_method == is_method).collect()
}

/// Whether anything is called so.
pub(super) fn is_known(name: &str) -> bool {
    ALL.iter().copied().flatten().any(|overload| overload.name == name)
}
