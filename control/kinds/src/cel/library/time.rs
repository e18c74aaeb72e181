//! Durations and points in time. Zones are UTC and offsets such as `+02:00`: this room reads no zone files.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::super::functions::{Overload, Ran, function, method};
use super::super::meter::Failure;
use super::super::types::Pattern as P;
use super::super::value::Val;

const UNITS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];
/// The years 1 to 9999, in seconds.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

pub(in super::super) static ALL: &[Overload] = &[
    function("duration", &[P::Duration], P::Duration, |args, _| Ok(args[0].clone())),
    function("duration", &[P::Text], P::Duration, |args, _| {
        let text = args[0].as_text()?;
        let wrong = || Failure::said(format!("time: invalid duration {text:?}"));
        parse_duration(text).map(Val::Duration).ok_or_else(wrong)
    }),
    function("timestamp", &[P::Timestamp], P::Timestamp, |args, _| Ok(args[0].clone())),
    function("timestamp", &[P::Text], P::Timestamp, |args, _| {
        parse_timestamp(args[0].as_text()?).map(Val::Timestamp)
    }),
    function("timestamp", &[P::Int], P::Timestamp, |args, _| {
        in_range(Timestamp::from_second(args[0].as_int()?).ok()).map(Val::Timestamp)
    }),
    method("getFullYear", &[P::Timestamp], P::Int, |args, _| read(args, |at| i64::from(at.year()))),
    method("getFullYear", &[P::Timestamp, P::Text], P::Int, |args, _| read(args, |at| i64::from(at.year()))),
    method("getMonth", &[P::Timestamp], P::Int, |args, _| read(args, |at| i64::from(at.month()) - 1)),
    method("getMonth", &[P::Timestamp, P::Text], P::Int, |args, _| {
        read(args, |at| i64::from(at.month()) - 1)
    }),
    method("getDayOfYear", &[P::Timestamp], P::Int, |args, _| {
        read(args, |at| i64::from(at.day_of_year()) - 1)
    }),
    method("getDayOfYear", &[P::Timestamp, P::Text], P::Int, |args, _| {
        read(args, |at| i64::from(at.day_of_year()) - 1)
    }),
    method("getDayOfMonth", &[P::Timestamp], P::Int, |args, _| read(args, |at| i64::from(at.day()) - 1)),
    method("getDayOfMonth", &[P::Timestamp, P::Text], P::Int, |args, _| {
        read(args, |at| i64::from(at.day()) - 1)
    }),
    method("getDate", &[P::Timestamp], P::Int, |args, _| read(args, |at| i64::from(at.day()))),
    method("getDate", &[P::Timestamp, P::Text], P::Int, |args, _| read(args, |at| i64::from(at.day()))),
    method("getDayOfWeek", &[P::Timestamp], P::Int, |args, _| read(args, weekday)),
    method("getDayOfWeek", &[P::Timestamp, P::Text], P::Int, |args, _| read(args, weekday)),
    method("getHours", &[P::Timestamp], P::Int, |args, _| read(args, |at| i64::from(at.hour()))),
    method("getHours", &[P::Timestamp, P::Text], P::Int, |args, _| read(args, |at| i64::from(at.hour()))),
    method("getHours", &[P::Duration], P::Int, |args, _| part(args, 3_600_000_000_000)),
    method("getMinutes", &[P::Timestamp], P::Int, |args, _| read(args, |at| i64::from(at.minute()))),
    method("getMinutes", &[P::Timestamp, P::Text], P::Int, |args, _| read(args, |at| i64::from(at.minute()))),
    method("getMinutes", &[P::Duration], P::Int, |args, _| part(args, 60_000_000_000)),
    method("getSeconds", &[P::Timestamp], P::Int, |args, _| read(args, |at| i64::from(at.second()))),
    method("getSeconds", &[P::Timestamp, P::Text], P::Int, |args, _| read(args, |at| i64::from(at.second()))),
    method("getSeconds", &[P::Duration], P::Int, |args, _| part(args, 1_000_000_000)),
    method("getMilliseconds", &[P::Timestamp], P::Int, |args, _| {
        read(args, |at| i64::from(at.millisecond()))
    }),
    method("getMilliseconds", &[P::Timestamp, P::Text], P::Int, |args, _| {
        read(args, |at| i64::from(at.millisecond()))
    }),
    method("getMilliseconds", &[P::Duration], P::Int, |args, _| match &args[0] {
        Val::Duration(nanos) => Ok(Val::Int(nanos / 1_000_000)),
        _ => Err(Failure::NoOverload),
    }),
];

fn weekday(at: &jiff::Zoned) -> i64 {
    i64::from(at.weekday().to_sunday_zero_offset())
}

fn read<'a>(args: &[Val<'a>], what: fn(&jiff::Zoned) -> i64) -> Ran<'a> {
    let Val::Timestamp(time) = &args[0] else { return Err(Failure::NoOverload) };
    let zone = match args.get(1) {
        Some(zone) => zone_of(zone.as_text()?)?,
        None => TimeZone::UTC,
    };
    Ok(Val::Int(what(&time.to_zoned(zone))))
}

fn zone_of(text: &str) -> Result<TimeZone, Failure> {
    if matches!(text, "UTC" | "Z" | "") {
        return Ok(TimeZone::UTC);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let parts = rest.split_once(':').map(|(hours, minutes)| (hours.parse::<u8>(), minutes.parse::<u8>()));
    let offset = match parts {
        Some((Ok(hours), Ok(minutes))) if hours < 24 && minutes < 60 => {
            Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok()
        }
        _ => None,
    };
    offset.map(TimeZone::fixed).ok_or_else(|| Failure::said(format!("unknown time zone {text}")))
}

fn part<'a>(args: &[Val<'a>], nanos: i64) -> Ran<'a> {
    match &args[0] {
        Val::Duration(duration) => Ok(Val::Int(duration / nanos)),
        _ => Err(Failure::NoOverload),
    }
}

fn in_range(time: Option<Timestamp>) -> Result<Timestamp, Failure> {
    let good = time.filter(|time| (FIRST..=LAST).contains(&time.as_second()));
    good.ok_or_else(|| Failure::said("timestamp overflow"))
}

/// The time so many nanoseconds later.
pub(in super::super) fn later<'a>(time: Timestamp, nanos: i128) -> Ran<'a> {
    in_range(Timestamp::from_nanosecond(time.as_nanosecond() + nanos).ok()).map(Val::Timestamp)
}

pub(in super::super) fn parse_timestamp(text: &str) -> Result<Timestamp, Failure> {
    let wrong = || Failure::said(format!("parsing time {text:?}: cannot be read as RFC 3339"));
    let is_plain =
        text.as_bytes().get(10).is_some_and(|it| *it == b'T' || *it == b't') && !text.contains('[');
    let time = text.parse::<Timestamp>().ok().filter(|_| is_plain);
    in_range(Some(time.ok_or_else(wrong)?))
}

/// In nanoseconds, as Go reads it: `1h30m`, `-1.5s`.
pub(in super::super) fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
        let part = whole.checked_mul(*nanos as i128)?.checked_add((fraction * nanos) as i128)?;
        total = total.checked_add(part)?;
        rest = after;
    }
    i64::try_from(total * sign).ok()
}

/// In seconds: `90s`, `1.5s`.
pub(super) fn print_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, fraction) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    match fraction {
        0 => format!("{sign}{whole}s"),
        fraction => format!("{sign}{whole}.{}s", format!("{fraction:09}").trim_end_matches('0')),
    }
}
