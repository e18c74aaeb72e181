//! Equality and order of values. Lists that are sets, or maps by keys, are equal in any order.

use std::cmp::Ordering;

use super::meter::{Failure, Meter};
use super::value::{List, Object, Val};
use super::view::{type_of, view};
use crate::schema::ListKind;

/// Whether two values are the same. Values of different types are not, numbers aside.
pub(super) fn equal(a: &Val<'_>, b: &Val<'_>, meter: &mut Meter) -> Result<bool, Failure> {
    meter.spend(1)?;
    meter.spend_bytes(a.bytes().min(b.bytes()))?;
    match (a, b) {
        (Val::Null, Val::Null) => Ok(true),
        (Val::List(a), Val::List(b)) => lists_equal(a, b, meter),
        (Val::Map(a), Val::Map(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            meter.spend(a.len())?;
            for key in a.keys() {
                match (a.get(&key)?, b.get(&key)?) {
                    (Some(a), Some(b)) if equal(&a, &b, meter)? => {}
                    (_, _) => return Ok(false),
                }
            }
            Ok(true)
        }
        (Val::Object(a), Val::Object(b)) => {
            for name in a.shape.names() {
                if !fields_equal(a, b, name, meter)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Val::Optional(None), Val::Optional(None)) => Ok(true),
        (Val::Optional(Some(a)), Val::Optional(Some(b))) => equal(a, b, meter),
        (Val::Type(a), Val::Type(b)) => Ok(a == b),
        (Val::Ip(a), Val::Ip(b)) => Ok(a == b),
        (Val::Cidr(a), Val::Cidr(b)) => Ok(a == b),
        (Val::Url(a), Val::Url(b)) => Ok(a == b),
        (Val::Quantity(a), Val::Quantity(b)) => Ok(a == b),
        (Val::Semver(a), Val::Semver(b)) => Ok(a == b),
        (Val::Format(a), Val::Format(b)) => Ok(std::ptr::eq(*a, *b)),
        (a, b) => Ok(order(a, b) == Some(Ordering::Equal)),
    }
}

fn fields_equal(a: &Object<'_>, b: &Object<'_>, name: &str, meter: &mut Meter) -> Result<bool, Failure> {
    meter.spend(1)?;
    match (a.fields.get(name), b.fields.get(name)) {
        (None, None) => Ok(true),
        (Some(value), Some(other)) => match (a.shape.place(name), b.shape.place(name)) {
            (Some(place), Some(place_b)) if type_of(place).is_some() => {
                equal(&view(value, place)?, &view(other, place_b)?, meter)
            }
            (_, _) => same_tree(value, other, meter),
        },
        (_, _) => Ok(false),
    }
}

/// Fields that rules do not see are compared as they stand.
fn same_tree(a: &serde_json::Value, b: &serde_json::Value, meter: &mut Meter) -> Result<bool, Failure> {
    use serde_json::Value;
    meter.spend(1)?;
    match (a, b) {
        (Value::String(a), Value::String(b)) => {
            meter.spend_bytes(a.len().min(b.len()))?;
            Ok(a == b)
        }
        (Value::Number(a), Value::Number(b)) => Ok(a == b || a.as_f64() == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => {
            for (a, b) in a.iter().zip(b) {
                if !same_tree(a, b, meter)? {
                    return Ok(false);
                }
            }
            Ok(a.len() == b.len())
        }
        (Value::Object(a), Value::Object(b)) => {
            for (key, a) in a {
                match b.get(key) {
                    Some(b) if same_tree(a, b, meter)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(a.len() == b.len())
        }
        (a, b) => Ok(a == b),
    }
}

fn lists_equal(a: &List<'_>, b: &List<'_>, meter: &mut Meter) -> Result<bool, Failure> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let kind = a.schema.or(b.schema).and_then(|schema| schema.list.as_ref());
    if !matches!(kind, Some(ListKind::Set | ListKind::Map { .. })) {
        for (a, b) in a.iter().zip(b.iter()) {
            if !equal(&a?, &b?, meter)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for item in a.iter() {
        if !contains(b, &item?, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn contains(list: &List<'_>, wanted: &Val<'_>, meter: &mut Meter) -> Result<bool, Failure> {
    for item in list.iter() {
        if equal(&item?, wanted, meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which comes first; none when the two have no order.
pub(super) fn order(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Text(a), Val::Text(b)) => Some((**a).cmp(&**b)),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Double(a), b) => Some(whole_against(whole(b)?, *a)?.reverse()),
        (a, Val::Double(b)) => whole_against(whole(a)?, *b),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

fn whole(value: &Val<'_>) -> Option<i128> {
    match value {
        Val::Int(number) => Some(i128::from(*number)),
        Val::Uint(number) => Some(i128::from(*number)),
        _ => None,
    }
}

/// Exact: a large whole number is not put into the fewer digits of a double.
fn whole_against(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    let floor = double.floor();
    // Beyond 128 bits this is the nearest end, which is what comparing needs.
    let order = whole.cmp(&(floor as i128));
    Some(if order == Ordering::Equal && double > floor { Ordering::Less } else { order })
}
