//! `"%s of %d".format([a, b])`.

use super::super::meter::{Failure, Meter};
use super::super::value::{List, Val};
use super::conversions::{double, printed};

/// Digits after the point, at most.
const PRECISION_MAX: usize = 100;

pub(super) fn format(form: &str, args: &List<'_>, meter: &mut Meter) -> Result<String, Failure> {
    let mut out = String::new();
    let mut letters = form.chars().peekable();
    let mut next = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        if letters.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut precision = None;
        if letters.next_if_eq(&'.').is_some() {
            let digits: String = std::iter::from_fn(|| letters.next_if(char::is_ascii_digit)).collect();
            match digits.parse() {
                Ok(digits) if digits <= PRECISION_MAX => precision = Some(digits),
                _ => {
                    return Err(Failure::said(
                        "error during formatting: unable to convert precision specifier",
                    ));
                }
            }
        }
        let Some(verb) = letters.next() else {
            return Err(Failure::said("error during formatting: unexpected end of string"));
        };
        if next >= args.len() {
            return Err(Failure::said(format!("error during formatting: index {next} out of range")));
        }
        let value = args.get(next)?;
        next += 1;
        let before = out.len();
        written(&mut out, verb, precision.unwrap_or(6), &value, meter)?;
        meter.spend(1)?;
        meter.spend_bytes(out.len() - before)?;
    }
    Ok(out)
}

fn written(
    out: &mut String,
    verb: char,
    precision: usize,
    value: &Val<'_>,
    meter: &mut Meter,
) -> Result<(), Failure> {
    match (verb, value) {
        ('s', value) => return text(out, value, meter),
        ('d', Val::Int(_) | Val::Uint(_)) => out.push_str(&printed(value)),
        ('d', Val::Double(number)) if !number.is_finite() => out.push_str(&double(*number)),
        ('f', value) => out.push_str(&format!("{:.precision$}", number(value)?)),
        ('e', value) => out.push_str(&exponent(&format!("{:.precision$e}", number(value)?))),
        ('b', Val::Int(number)) => signed(out, *number, format!("{:b}", number.unsigned_abs())),
        ('b', Val::Uint(number)) => out.push_str(&format!("{number:b}")),
        ('b', Val::Bool(flag)) => out.push(if *flag { '1' } else { '0' }),
        ('o', Val::Int(number)) => signed(out, *number, format!("{:o}", number.unsigned_abs())),
        ('o', Val::Uint(number)) => out.push_str(&format!("{number:o}")),
        ('x', Val::Int(number)) => signed(out, *number, format!("{:x}", number.unsigned_abs())),
        ('X', Val::Int(number)) => signed(out, *number, format!("{:X}", number.unsigned_abs())),
        ('x', Val::Uint(number)) => out.push_str(&format!("{number:x}")),
        ('X', Val::Uint(number)) => out.push_str(&format!("{number:X}")),
        ('x' | 'X', Val::Text(_) | Val::Bytes(_)) => {
            let text = printed(value);
            let bytes = match value {
                Val::Bytes(bytes) => bytes,
                _ => text.as_bytes(),
            };
            meter.spend_bytes(2 * bytes.len())?;
            for byte in bytes {
                out.push_str(&if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") });
            }
        }
        (verb @ ('d' | 'b' | 'o' | 'x' | 'X'), value) => {
            let given = value.type_name();
            return Err(Failure::said(format!("error during formatting: %{verb} cannot be given {given}")));
        }
        (verb, _) => {
            return Err(Failure::said(format!(
                "error during formatting: could not parse formatting clause: unrecognized formatting clause {verb:?}"
            )));
        }
    }
    Ok(())
}

fn number(value: &Val<'_>) -> Result<f64, Failure> {
    match value {
        Val::Double(number) => Ok(*number),
        Val::Int(number) => Ok(*number as f64),
        Val::Uint(number) => Ok(*number as f64),
        value => {
            let given = value.type_name();
            Err(Failure::said(format!("error during formatting: a number was expected, not {given}")))
        }
    }
}

fn signed(out: &mut String, number: i64, digits: String) {
    if number < 0 {
        out.push('-');
    }
    out.push_str(&digits);
}

/// Go writes at least two digits, and the sign always.
fn exponent(text: &str) -> String {
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text.to_owned(),
    }
}

/// Anything as text: lists and maps with all that they hold.
fn text(out: &mut String, value: &Val<'_>, meter: &mut Meter) -> Result<(), Failure> {
    meter.spend(1)?;
    meter.spend_bytes(value.bytes())?;
    match value {
        Val::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                text(out, &item?, meter)?;
            }
            out.push(']');
        }
        Val::Map(map) => {
            out.push('{');
            for (index, key) in map.keys().into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                text(out, &key, meter)?;
                out.push_str(": ");
                text(out, &map.get(&key)?.unwrap_or(Val::Null), meter)?;
            }
            out.push('}');
        }
        Val::Object(_) | Val::Optional(_) | Val::Format(_) => {
            let given = value.type_name();
            return Err(Failure::said(format!(
                "error during formatting: string clause cannot be given {given}"
            )));
        }
        value => out.push_str(&printed(value)),
    }
    Ok(())
}
