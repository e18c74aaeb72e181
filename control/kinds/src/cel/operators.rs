//! Operators: arithmetic that tells of an overflow, comparison, membership.

use std::cmp::Ordering;
use std::sync::Arc;

use super::equality::{contains, equal, order};
use super::functions::{Overload, Ran, function};
use super::library::time;
use super::meter::{Failure, Meter};
use super::types::Pattern as P;
use super::value::{Items, List, Val};
use crate::schema::ListKind;

pub(super) static ALL: &[Overload] = &[
    function("_==_", &[P::Any, P::Any], P::Bool, |args, meter| {
        Ok(Val::Bool(equal(&args[0], &args[1], meter)?))
    }),
    function("_!=_", &[P::Any, P::Any], P::Bool, |args, meter| {
        Ok(Val::Bool(!equal(&args[0], &args[1], meter)?))
    }),
    function("_<_", &[P::Ordered, P::Ordered], P::Bool, less),
    function("_<_", &[P::Number, P::Number], P::Bool, less),
    function("_<=_", &[P::Ordered, P::Ordered], P::Bool, less_or_equal),
    function("_<=_", &[P::Number, P::Number], P::Bool, less_or_equal),
    function("_>_", &[P::Ordered, P::Ordered], P::Bool, greater),
    function("_>_", &[P::Number, P::Number], P::Bool, greater),
    function("_>=_", &[P::Ordered, P::Ordered], P::Bool, greater_or_equal),
    function("_>=_", &[P::Number, P::Number], P::Bool, greater_or_equal),
    function("@in", &[P::Any, P::List(&P::Any)], P::Bool, |args, meter| {
        Ok(Val::Bool(contains(args[1].as_list()?, &args[0], meter)?))
    }),
    function("@in", &[P::Any, P::Map(&P::Any, &P::Dyn)], P::Bool, |args, _| match &args[1] {
        Val::Map(map) => Ok(Val::Bool(map.get(&args[0])?.is_some())),
        _ => Err(Failure::NoOverload),
    }),
    function("!_", &[P::Bool], P::Bool, |args, _| Ok(Val::Bool(!args[0].as_bool()?))),
    function("-_", &[P::Int], P::Int, negated),
    function("-_", &[P::Double], P::Double, negated),
    function("_+_", &[P::Int, P::Int], P::Int, sum),
    function("_+_", &[P::Uint, P::Uint], P::Uint, sum),
    function("_+_", &[P::Double, P::Double], P::Double, sum),
    function("_+_", &[P::Text, P::Text], P::Text, sum),
    function("_+_", &[P::Bytes, P::Bytes], P::Bytes, sum),
    function("_+_", &[P::Duration, P::Duration], P::Duration, sum),
    function("_+_", &[P::Timestamp, P::Duration], P::Timestamp, sum),
    function("_+_", &[P::Duration, P::Timestamp], P::Timestamp, sum),
    function("_+_", &[P::List(&P::Any), P::List(&P::Any)], P::List(&P::Any), sum),
    function("_-_", &[P::Int, P::Int], P::Int, difference),
    function("_-_", &[P::Uint, P::Uint], P::Uint, difference),
    function("_-_", &[P::Double, P::Double], P::Double, difference),
    function("_-_", &[P::Duration, P::Duration], P::Duration, difference),
    function("_-_", &[P::Timestamp, P::Timestamp], P::Duration, difference),
    function("_-_", &[P::Timestamp, P::Duration], P::Timestamp, difference),
    function("_*_", &[P::Int, P::Int], P::Int, product),
    function("_*_", &[P::Uint, P::Uint], P::Uint, product),
    function("_*_", &[P::Double, P::Double], P::Double, product),
    function("_/_", &[P::Int, P::Int], P::Int, quotient),
    function("_/_", &[P::Uint, P::Uint], P::Uint, quotient),
    function("_/_", &[P::Double, P::Double], P::Double, quotient),
    function("_%_", &[P::Int, P::Int], P::Int, remainder),
    function("_%_", &[P::Uint, P::Uint], P::Uint, remainder),
    function("_[_]", &[P::List(&P::Any), P::Number], P::Any, at_index),
    function("_[_]", &[P::Map(&P::Any, &P::Other), P::Any], P::Other, at_key),
];

fn compared(args: &[Val<'_>], good: fn(Ordering) -> bool) -> Result<bool, Failure> {
    // Numbers that are none compare with nothing; values of other kinds cannot be compared.
    match (order(&args[0], &args[1]), &args[0], &args[1]) {
        (Some(order), _, _) => Ok(good(order)),
        (None, Val::Double(_), _) | (None, _, Val::Double(_)) => Ok(false),
        (None, _, _) => Err(Failure::NoOverload),
    }
}

fn less<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    compared(args, Ordering::is_lt).map(Val::Bool)
}

fn less_or_equal<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    compared(args, Ordering::is_le).map(Val::Bool)
}

fn greater<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    compared(args, Ordering::is_gt).map(Val::Bool)
}

fn greater_or_equal<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    compared(args, Ordering::is_ge).map(Val::Bool)
}

fn int<'a>(number: Option<i64>) -> Ran<'a> {
    number.map(Val::Int).ok_or_else(|| Failure::said("integer overflow"))
}

fn uint<'a>(number: Option<u64>) -> Ran<'a> {
    number.map(Val::Uint).ok_or_else(|| Failure::said("unsigned integer overflow"))
}

fn duration<'a>(nanos: Option<i64>) -> Ran<'a> {
    nanos.map(Val::Duration).ok_or_else(|| Failure::said("duration overflow"))
}

fn negated<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    match &args[0] {
        Val::Int(number) => int(number.checked_neg()),
        Val::Double(number) => Ok(Val::Double(-number)),
        _ => Err(Failure::NoOverload),
    }
}

pub(super) fn sum<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_add(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_add(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::Text(a), Val::Text(b)) => Ok(Val::text([&**a, &**b].concat())),
        (Val::Bytes(a), Val::Bytes(b)) => Ok(Val::Bytes([&**a, &**b].concat().into())),
        (Val::Duration(a), Val::Duration(b)) => duration(a.checked_add(*b)),
        (Val::Timestamp(time), Val::Duration(nanos)) | (Val::Duration(nanos), Val::Timestamp(time)) => {
            time::later(*time, i128::from(*nanos))
        }
        (Val::List(a), Val::List(b)) => lists_joined(a, b, meter),
        (_, _) => Err(Failure::NoOverload),
    }
}

/// Sets get what they lack; maps by keys put what has the keys of theirs in its place.
fn lists_joined<'a>(a: &List<'a>, b: &List<'a>, meter: &mut Meter) -> Ran<'a> {
    meter.spend(a.len() + b.len())?;
    let schema = a.schema.filter(|schema| matches!(schema.list, Some(ListKind::Set | ListKind::Map { .. })));
    let mut items = a.iter().collect::<Result<Vec<_>, _>>()?;
    let Some(kind) = schema.and_then(|schema| schema.list.as_ref()) else {
        for item in b.iter() {
            items.push(item?);
        }
        return Ok(Val::list(items));
    };
    for item in b.iter() {
        let item = item?;
        let mut found = None;
        for (index, known) in items.iter().enumerate() {
            let is_same = match kind {
                ListKind::Set => equal(known, &item, meter)?,
                ListKind::Map { keys } => same_keys(known, &item, keys, meter)?,
                ListKind::Atomic => false,
            };
            if is_same {
                found = Some(index);
                break;
            }
        }
        match found {
            Some(index) => items[index] = item,
            None => items.push(item),
        }
    }
    Ok(Val::List(List { items: Items::Own(Arc::new(items)), schema }))
}

fn same_keys<S: AsRef<str>>(
    a: &Val<'_>,
    b: &Val<'_>,
    keys: &[S],
    meter: &mut Meter,
) -> Result<bool, Failure> {
    let (Val::Object(a), Val::Object(b)) = (a, b) else { return Ok(false) };
    for key in keys {
        meter.spend(1)?;
        if a.fields.get(key.as_ref()) != b.fields.get(key.as_ref()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn difference<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_sub(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_sub(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a - b)),
        (Val::Duration(a), Val::Duration(b)) => duration(a.checked_sub(*b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => {
            duration(i64::try_from(a.as_nanosecond() - b.as_nanosecond()).ok())
        }
        (Val::Timestamp(time), Val::Duration(nanos)) => time::later(*time, -i128::from(*nanos)),
        (_, _) => Err(Failure::NoOverload),
    }
}

fn product<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_mul(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_mul(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a * b)),
        (_, _) => Err(Failure::NoOverload),
    }
}

fn quotient<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    match (&args[0], &args[1]) {
        (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => Err(Failure::said("division by zero")),
        (Val::Int(a), Val::Int(b)) => int(a.checked_div(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_div(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a / b)),
        (_, _) => Err(Failure::NoOverload),
    }
}

fn remainder<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    match (&args[0], &args[1]) {
        (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => Err(Failure::said("modulus by zero")),
        (Val::Int(a), Val::Int(b)) => int(a.checked_rem(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_rem(*b)),
        (_, _) => Err(Failure::NoOverload),
    }
}

fn at_index<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    let list = args[0].as_list()?;
    let index = match &args[1] {
        Val::Int(index) => Some(*index),
        Val::Uint(index) => i64::try_from(*index).ok(),
        Val::Double(index) if index.fract() == 0.0 => Some(*index as i64),
        _ => None,
    };
    let Some(index) = index else { return Err(Failure::said("unsupported index value")) };
    match usize::try_from(index).ok().filter(|index| *index < list.len()) {
        Some(index) => list.get(index),
        None => Err(Failure::OutOfBounds(index)),
    }
}

fn at_key<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    let Val::Map(map) = &args[0] else { return Err(Failure::NoOverload) };
    match map.get(&args[1])? {
        Some(value) => Ok(value),
        None => Err(Failure::NoKey(super::library::conversions::printed(&args[1]))),
    }
}
