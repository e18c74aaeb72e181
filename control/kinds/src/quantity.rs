//! Quantities of resources: `100m`, `1.5Gi`, `2e3`.
//!
//! Exact to a billionth, rounded away from zero below that. Two quantities compare by amount, not by spelling;
//! the spelling is kept by [`Quantity`]'s format and printed in canonical form.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::{Field, FieldError, FieldErrors, names};

/// Billionths in one.
const ONE: i128 = 1_000_000_000;
/// What Kubernetes caps amounts at.
const WHOLE_MAX: i128 = i64::MAX as i128;
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How an amount was written, and is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Binary,
    Decimal,
    Exponent,
}

/// An amount of a resource.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

impl Quantity {
    pub const ZERO: Self = Self { nano: 0, format: Format::Decimal };

    pub fn whole(number: i64) -> Self {
        Self { nano: i128::from(number) * ONE, format: Format::Decimal }
    }

    pub fn milli(thousandths: i64) -> Self {
        Self { nano: i128::from(thousandths) * (ONE / 1000), format: Format::Decimal }
    }

    /// From an object's field: text or number. None when it is neither or no quantity.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The amount in ones, rounded up.
    pub fn to_whole(self) -> i64 {
        clamp(-((-self.nano).div_euclid(ONE)))
    }

    /// The amount in thousandths, rounded up.
    pub fn to_milli(self) -> i64 {
        clamp(-((-self.nano).div_euclid(ONE / 1000)))
    }

    /// The amount in ones, as near as a double comes.
    pub fn to_float(self) -> f64 {
        self.nano as f64 / ONE as f64
    }

    pub fn is_zero(self) -> bool {
        self.nano == 0
    }

    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    pub fn is_whole(self) -> bool {
        self.nano % ONE == 0
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    /// The sum, in the left side's format unless that is zero.
    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nano: self.nano.saturating_add(other.nano), format }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self { nano: -other.nano, ..other }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::Format);
        }
        let (format, scale) = scale_of(suffix)?;
        let nano = amount(whole, fraction, scale).min(WHOLE_MAX * ONE);
        Ok(Self { nano: if text.starts_with('-') { -nano } else { nano }, format })
    }
}

/// What one unit of the suffix is, as two to the power or ten to the power.
#[derive(Clone, Copy)]
enum Scale {
    Two(u32),
    Ten(i32),
}

fn scale_of(suffix: &str) -> Result<(Format, Scale), QuantityError> {
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Binary, Scale::Two(*power)));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Decimal, Scale::Ten(*power)));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let power: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
    Ok((Format::Exponent, Scale::Ten(power.clamp(-40, 40))))
}

/// The billionths of `whole.fraction × scale`, rounded up, capped where arithmetic ends.
fn amount(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let mut digits: String = whole.to_owned();
    digits.push_str(fraction);
    let digits = digits.trim_start_matches('0');
    let mut ten = 9 - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let mut factor: i128 = 1;
    match scale {
        Scale::Two(power) => factor = 1_i128 << power,
        Scale::Ten(power) => ten = ten.saturating_add(power),
    }
    let kept = &digits[..digits.len().min(28)];
    let dropped = digits.len() - kept.len();
    ten = ten.saturating_add(i32::try_from(dropped).unwrap_or(i32::MAX));
    let number: i128 = if kept.is_empty() { 0 } else { kept.parse().unwrap_or(i128::MAX) };
    let exact = number.saturating_mul(factor);
    match u32::try_from(ten) {
        Ok(ten) if exact != 0 => exact.saturating_mul(10_i128.checked_pow(ten).unwrap_or(i128::MAX)),
        Ok(_) => 0,
        Err(_) => match 10_i128.checked_pow(ten.unsigned_abs()) {
            Some(divisor) => exact / divisor + i128::from(exact % divisor != 0),
            None => i128::from(exact != 0),
        },
    }
}

/// The canonical spelling: no fraction, the largest suffix that allows it.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let binary = self.format == Format::Binary && self.is_whole() && self.nano.abs() >= 1024 * ONE;
        if binary {
            let (mut number, mut suffix) = (self.nano / ONE, "");
            for (name, _) in BINARY {
                if number % 1024 != 0 {
                    break;
                }
                (number, suffix) = (number / 1024, name);
            }
            return write!(f, "{number}{suffix}");
        }
        let (mut number, mut power) = (self.nano, -9);
        while number % 1000 == 0 && power < 18 {
            (number, power) = (number / 1000, power + 3);
        }
        match self.format {
            Format::Exponent if power != 0 => write!(f, "{number}e{power}"),
            Format::Exponent | Format::Decimal | Format::Binary => {
                let suffix = DECIMAL.iter().find(|(_, of)| *of == power).map_or("", |(name, _)| name);
                write!(f, "{number}{suffix}")
            }
        }
    }
}

fn clamp(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// Refuses amounts below zero, and names that no resource has.
pub(crate) fn validate_resources(amounts: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (resource, amount) in amounts.entries() {
        let wrong = names::qualified(resource).into_iter();
        errors.extend(wrong.map(|wrong| FieldError::invalid(&amount.path, resource, wrong)));
        errors.extend(not_negative(&amount));
    }
    errors
}

/// Refuses an amount below zero at this field.
pub(crate) fn not_negative(field: &Field<'_>) -> Option<FieldError> {
    let amount = Quantity::of(field.value).filter(|amount| amount.is_negative())?;
    let detail = "must be greater than or equal to 0";
    Some(FieldError::invalid(&field.path, amount.to_string(), detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_print_in_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("100Mi", "100Mi"),
            ("0.5Ki", "512"),
            ("0.3Ki", "307200m"),
            ("1e3", "1e3"),
            ("1.5e3", "1500"),
            ("12E6", "12e6"),
            ("+5k", "5k"),
            ("5000", "5k"),
            ("-1.5", "-1500m"),
            ("0.0000000001", "1n"),
            (".5", "500m"),
            ("5.", "5"),
            ("10Ei", "9223372036854775807"),
        ] {
            let quantity: Quantity = text.parse().expect(text);
            assert_eq!(quantity.to_string(), canonical, "{text}");
        }
        for bad in ["", "a", "1.2.3", "1x", "1ki", "1 ", "e3", "1e", "--1"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_round_up_and_add() {
        let of = |text: &str| text.parse::<Quantity>().expect(text);
        assert_eq!(of("1.1").to_whole(), 2);
        assert_eq!(of("0.0001").to_milli(), 1);
        assert_eq!(of("-1.1").to_whole(), -1);
        assert_eq!((of("1Gi") + of("512Mi")).to_string(), "1536Mi");
        assert_eq!((of("1") - of("250m")).to_string(), "750m");
        assert!(of("1Gi") > of("1G") && of("1000m") == of("1"));
    }

    proptest! {
        #[test]
        fn canonical_form_is_stable(number in 0_i64..1_000_000_000, suffix in "(n|u|m||k|M|G|Ki|Mi|Gi|e3|e-3)") {
            let quantity: Quantity = format!("{number}{suffix}").parse().unwrap();
            let again: Quantity = quantity.to_string().parse().unwrap();
            prop_assert_eq!(quantity, again);
            prop_assert_eq!(quantity.to_string(), again.to_string());
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eEinumkKMGTP]{0,60}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
