//! Scalars that JSON writes as text with a syntax of their own: times, quantities, durations, bytes.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::Value;

use super::decode::DecodeError;
use crate::quantity::Quantity;

const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// A time as Kubernetes writes it: UTC, whole seconds.
pub(super) fn time(text: &str) -> Result<String, DecodeError> {
    Ok(write_seconds(parse_time(text, RFC3339)?))
}

/// A time as Kubernetes writes it where microseconds matter.
pub(super) fn micro_time(text: &str) -> Result<String, DecodeError> {
    Ok(write_micros(parse_time(text, RFC3339_MICRO)?))
}

pub(super) fn write_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) fn write_micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Checks the layout first, since the error names the part that did not fit, then leaves the calendar to jiff.
fn parse_time(text: &str, layout: &str) -> Result<Timestamp, DecodeError> {
    let fail = |rest: &str, part: &str| DecodeError::Time {
        text: text.to_owned(),
        layout: layout.to_owned(),
        problem: format!(": cannot parse {rest:?} as {part:?}"),
    };
    let mut rest = text;
    for part in ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"] {
        let head = rest.get(..part.len()).ok_or_else(|| fail(rest, part))?;
        let digits = part.as_bytes()[0].is_ascii_digit();
        let fits = if digits { head.bytes().all(|byte| byte.is_ascii_digit()) } else { head == part };
        if !fits {
            return Err(fail(rest, part));
        }
        rest = &rest[part.len()..];
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let after = fraction.trim_start_matches(|letter: char| letter.is_ascii_digit());
        if after.len() == fraction.len() {
            return Err(fail(rest, "Z07:00"));
        }
        rest = after;
    }
    if !is_zone(rest) {
        return Err(fail(rest, "Z07:00"));
    }
    text.parse().map_err(|_| DecodeError::Time {
        text: text.to_owned(),
        layout: layout.to_owned(),
        problem: ": out of range".to_owned(),
    })
}

fn is_zone(text: &str) -> bool {
    match text.as_bytes() {
        [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// A number as Go writes a float64: without a fraction when it has none.
pub(super) fn double(number: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT_MAX {
        return (number as i64).into();
    }
    number.into()
}

/// The quantity in canonical form, which is how Kubernetes writes it again: `1000m` is `1`.
pub(super) fn quantity(text: &str) -> Result<String, DecodeError> {
    text.parse::<Quantity>().map(|quantity| quantity.to_string()).map_err(DecodeError::Quantity)
}

/// Checks Go's base64, which allows line breaks inside, and drops them.
pub(super) fn bytes(text: &str) -> Result<String, DecodeError> {
    let compact: String;
    let bare = if text.contains(['\n', '\r']) {
        compact = text.replace(['\n', '\r'], "");
        &compact
    } else {
        text
    };
    match base64::engine::general_purpose::STANDARD.decode(bare) {
        Ok(_) => Ok(bare.to_owned()),
        Err(broken) => Err(DecodeError::Base64 { offset: offset(&broken, bare) }),
    }
}

fn offset(broken: &base64::DecodeError, text: &str) -> usize {
    match broken {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    }
}

/// Nanoseconds as Go writes a duration: `1h2m3.5s`, `0s`, `1.5µs`.
pub(super) fn duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let rest = format!("{:0digits$}", value % unit);
        let rest = rest.trim_end_matches('0');
        let point = if unit == 1 || rest.is_empty() { String::new() } else { format!(".{rest}") };
        format!("{}{point}{name}", value / unit)
    };
    let text = match all {
        0..1_000 => format!("{all}ns"),
        1_000..1_000_000 => fraction(all, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(all, 1_000_000, "ms"),
        _ => {
            let minutes = all / 60_000_000_000;
            let seconds = fraction(all % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}
