//! The libraries of functions, one file each: CEL's own, and those that Kubernetes adds.

pub(super) mod conversions;
pub(super) mod format;
pub(super) mod lists;
pub(super) mod net;
pub(super) mod optional;
pub(super) mod quantity;
pub(super) mod regex;
pub(super) mod semver;
pub(super) mod sets;
pub(super) mod strings;
pub(super) mod time;
pub(super) mod url;

mod printf;

pub(super) use format::Format;
pub(super) use net::Network;
pub(super) use semver::Semver;
pub(super) use url::Url;

/// The arguments put into a form, for tests.
#[cfg(test)]
pub(super) fn print(form: &str, args: &super::value::List<'_>) -> Result<String, super::Failure> {
    printf::format(form, args, &mut super::Meter::of(u64::MAX))
}
