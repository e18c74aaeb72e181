//! From one type to another, and what is said of a value: `size`, `type`, `dyn`.

use super::super::functions::{Overload, Ran, function, method};
use super::super::meter::{Failure, Meter};
use super::super::types::Pattern as P;
use super::super::value::Val;
use super::time;

pub(in super::super) static ALL: &[Overload] = &[
    function("size", &[P::Text], P::Int, size),
    function("size", &[P::Bytes], P::Int, size),
    function("size", &[P::List(&P::Any)], P::Int, size),
    function("size", &[P::Map(&P::Any, &P::Other)], P::Int, size),
    method("size", &[P::Text], P::Int, size),
    method("size", &[P::Bytes], P::Int, size),
    method("size", &[P::List(&P::Any)], P::Int, size),
    method("size", &[P::Map(&P::Any, &P::Other)], P::Int, size),
    function("dyn", &[P::Any], P::Dyn, same),
    function("type", &[P::Any], P::Type, |args, _| Ok(Val::Type(args[0].type_name()))),
    function("bool", &[P::Bool], P::Bool, same),
    function("bool", &[P::Text], P::Bool, |args, _| match args[0].as_text()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
        _ => Err(Failure::said("type conversion error from 'string' to 'bool'")),
    }),
    function("int", &[P::Int], P::Int, same),
    function("int", &[P::Uint], P::Int, to_int),
    function("int", &[P::Double], P::Int, to_int),
    function("int", &[P::Text], P::Int, to_int),
    function("int", &[P::Timestamp], P::Int, to_int),
    function("int", &[P::Duration], P::Int, to_int),
    function("uint", &[P::Uint], P::Uint, same),
    function("uint", &[P::Int], P::Uint, to_uint),
    function("uint", &[P::Double], P::Uint, to_uint),
    function("uint", &[P::Text], P::Uint, to_uint),
    function("double", &[P::Double], P::Double, same),
    function("double", &[P::Int], P::Double, to_double),
    function("double", &[P::Uint], P::Double, to_double),
    function("double", &[P::Text], P::Double, to_double),
    function("string", &[P::Text], P::Text, same),
    function("string", &[P::Bool], P::Text, to_text),
    function("string", &[P::Int], P::Text, to_text),
    function("string", &[P::Uint], P::Text, to_text),
    function("string", &[P::Double], P::Text, to_text),
    function("string", &[P::Timestamp], P::Text, to_text),
    function("string", &[P::Duration], P::Text, to_text),
    function("string", &[P::Bytes], P::Text, |args, _| match &args[0] {
        Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Val::text(text)),
            Err(_) => Err(Failure::said("invalid UTF-8 in bytes, cannot convert to string")),
        },
        _ => Err(Failure::NoOverload),
    }),
    function("bytes", &[P::Bytes], P::Bytes, same),
    function("bytes", &[P::Text], P::Bytes, |args, _| Ok(Val::Bytes(args[0].as_text()?.as_bytes().into()))),
];

fn same<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    Ok(args[0].clone())
}

fn size<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    let size = match &args[0] {
        Val::Text(text) => text.chars().count(),
        Val::Bytes(bytes) => bytes.len(),
        Val::List(list) => list.len(),
        Val::Map(map) => map.len(),
        _ => return Err(Failure::NoOverload),
    };
    i64::try_from(size).map(Val::Int).map_err(|_| Failure::said("integer overflow"))
}

fn to_int<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    let number = match &args[0] {
        Val::Uint(number) => i64::try_from(*number).ok(),
        Val::Double(number) if number.abs() < 9_223_372_036_854_775_808.0 => Some(*number as i64),
        Val::Text(text) => {
            let wrong = || Failure::said("type conversion error from 'string' to 'int'");
            return text.parse().map(Val::Int).map_err(|_| wrong());
        }
        Val::Timestamp(time) => Some(time.as_second()),
        Val::Duration(nanos) => Some(*nanos),
        _ => None,
    };
    number.map(Val::Int).ok_or_else(|| Failure::said("integer overflow"))
}

fn to_uint<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    let number = match &args[0] {
        Val::Int(number) => u64::try_from(*number).ok(),
        Val::Double(number) if *number >= 0.0 && *number < 18_446_744_073_709_551_616.0 => {
            Some(*number as u64)
        }
        Val::Text(text) => {
            let wrong = || Failure::said("type conversion error from 'string' to 'uint'");
            return text.parse().map(Val::Uint).map_err(|_| wrong());
        }
        _ => None,
    };
    number.map(Val::Uint).ok_or_else(|| Failure::said("unsigned integer overflow"))
}

fn to_double<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    match &args[0] {
        Val::Int(number) => Ok(Val::Double(*number as f64)),
        Val::Uint(number) => Ok(Val::Double(*number as f64)),
        Val::Text(text) => {
            let wrong = || Failure::said("type conversion error from 'string' to 'double'");
            text.trim_start_matches('+').parse().map(Val::Double).map_err(|_| wrong())
        }
        _ => Err(Failure::NoOverload),
    }
}

fn to_text<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    Ok(Val::text(printed(&args[0])))
}

/// A scalar as `string()` writes it; what is none by the name of its type.
pub(in super::super) fn printed(value: &Val<'_>) -> String {
    match value {
        Val::Null => "null".to_owned(),
        Val::Bool(flag) => flag.to_string(),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => double(*number),
        Val::Text(text) => text.to_string(),
        Val::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Duration(nanos) => time::print_duration(*nanos),
        Val::Timestamp(time) => time.to_string(),
        Val::Type(name) => (*name).to_owned(),
        Val::Ip(address) => address.to_string(),
        Val::Cidr(network) => network.to_string(),
        Val::Url(url) => url.text.clone(),
        Val::Quantity(quantity) => quantity.to_string(),
        Val::Semver(version) => version.to_string(),
        Val::List(_) | Val::Map(_) | Val::Object(_) | Val::Optional(_) | Val::Format(_) => {
            value.type_name().to_owned()
        }
    }
}

/// As Go writes one: with an exponent when it is large or small.
pub(super) fn double(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if size == 0.0 || (1e-4..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}
