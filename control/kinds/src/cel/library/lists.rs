//! Lists: Kubernetes' functions, and CEL's extension in version 3.

use std::cmp::Ordering;

use super::super::equality::{equal, order};
use super::super::functions::{Overload, Ran, function, method};
use super::super::meter::{Failure, Meter};
use super::super::operators::sum as added;
use super::super::types::Pattern as P;
use super::super::value::{List, Val};

const ANY: P = P::List(&P::Any);
const ORDERED: P = P::List(&P::Ordered);

pub(in super::super) static ALL: &[Overload] = &[
    method("isSorted", &[ORDERED], P::Bool, is_sorted),
    method("sum", &[P::List(&P::Int)], P::Int, |args, meter| total(args, meter, Val::Int(0))),
    method("sum", &[P::List(&P::Uint)], P::Uint, |args, meter| total(args, meter, Val::Uint(0))),
    method("sum", &[P::List(&P::Double)], P::Double, |args, meter| total(args, meter, Val::Double(0.0))),
    method("sum", &[P::List(&P::Duration)], P::Duration, |args, meter| total(args, meter, Val::Duration(0))),
    method("min", &[ORDERED], P::Ordered, |args, meter| extreme(args, meter, Ordering::Less)),
    method("max", &[ORDERED], P::Ordered, |args, meter| extreme(args, meter, Ordering::Greater)),
    method("indexOf", &[ANY, P::Any], P::Int, |args, meter| index_of(args, meter, false)),
    method("lastIndexOf", &[ANY, P::Any], P::Int, |args, meter| index_of(args, meter, true)),
    method("slice", &[ANY, P::Int, P::Int], ANY, slice),
    method("flatten", &[P::List(&P::Dyn)], P::List(&P::Dyn), flatten),
    method("flatten", &[P::List(&P::Dyn), P::Int], P::List(&P::Dyn), flatten),
    method("distinct", &[ANY], ANY, distinct),
    method("reverse", &[ANY], ANY, |args, meter| {
        let mut items = taken(&args[0], meter)?;
        items.reverse();
        Ok(Val::list(items))
    }),
    method("sort", &[ORDERED], ORDERED, |args, meter| {
        let items = taken(&args[0], meter)?;
        sorted(items.into_iter().map(|item| (item.clone(), item)).collect(), meter)
    }),
    method("first", &[ANY], P::Optional(&P::Any), |args, _| at_end(args[0].as_list()?, false)),
    method("last", &[ANY], P::Optional(&P::Any), |args, _| at_end(args[0].as_list()?, true)),
    function("lists.range", &[P::Int], P::List(&P::Int), |args, meter| {
        let count = args[0].as_int()?;
        meter.spend(usize::try_from(count).unwrap_or_default())?;
        Ok(Val::list((0..count).map(Val::Int).collect()))
    }),
];

fn taken<'a>(list: &Val<'a>, meter: &mut Meter) -> Result<Vec<Val<'a>>, Failure> {
    let list = list.as_list()?;
    meter.spend(list.len())?;
    list.iter().collect()
}

/// Which comes first, for values that must have an order.
fn ordered(a: &Val<'_>, b: &Val<'_>, meter: &mut Meter) -> Result<Ordering, Failure> {
    meter.spend(1)?;
    meter.spend_bytes(a.bytes().min(b.bytes()))?;
    order(a, b).ok_or(Failure::NoOverload)
}

fn is_sorted<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let items = taken(&args[0], meter)?;
    for pair in items.windows(2) {
        if ordered(&pair[0], &pair[1], meter)?.is_gt() {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn total<'a>(args: &[Val<'a>], meter: &mut Meter, zero: Val<'a>) -> Ran<'a> {
    let mut items = taken(&args[0], meter)?.into_iter();
    let first = items.next().unwrap_or(zero);
    items.try_fold(first, |sum, item| added(&[sum, item], meter))
}

fn extreme<'a>(args: &[Val<'a>], meter: &mut Meter, wanted: Ordering) -> Ran<'a> {
    let mut items = taken(&args[0], meter)?.into_iter();
    let name = if wanted.is_lt() { "min" } else { "max" };
    let Some(mut best) = items.next() else {
        return Err(Failure::said(format!("{name} called on empty list")));
    };
    for item in items {
        if ordered(&item, &best, meter)? == wanted {
            best = item;
        }
    }
    Ok(best)
}

fn index_of<'a>(args: &[Val<'a>], meter: &mut Meter, is_last: bool) -> Ran<'a> {
    let list = args[0].as_list()?;
    for step in 0..list.len() {
        let index = if is_last { list.len() - 1 - step } else { step };
        if equal(&list.get(index)?, &args[1], meter)? {
            return Ok(Val::Int(i64::try_from(index).unwrap_or(-1)));
        }
    }
    Ok(Val::Int(-1))
}

fn slice<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let items = taken(&args[0], meter)?;
    let (from, to) = (args[1].as_int()?, args[2].as_int()?);
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    match range.filter(|(from, to)| from <= to && *to <= items.len()) {
        Some((from, to)) => Ok(Val::list(items[from..to].to_vec())),
        None => Err(Failure::said(format!("cannot slice({from}, {to}), list is length {}", items.len()))),
    }
}

fn flatten<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let depth = args.get(1).map_or(Ok(1), Val::as_int)?;
    if depth < 0 {
        return Err(Failure::said("level must be non-negative"));
    }
    let mut items = taken(&args[0], meter)?;
    // A list can be in no more lists than values nest, so this ends when nothing is left to unpack.
    for _ in 0..depth {
        if !items.iter().any(|item| matches!(item, Val::List(_))) {
            break;
        }
        let mut next = Vec::new();
        for item in items {
            match &item {
                Val::List(_) => next.extend(taken(&item, meter)?),
                _ => next.push(item),
            }
            meter.spend(1)?;
        }
        items = next;
    }
    Ok(Val::list(items))
}

fn distinct<'a>(args: &[Val<'a>], meter: &mut Meter) -> Ran<'a> {
    let mut out: Vec<Val<'a>> = Vec::new();
    for item in taken(&args[0], meter)? {
        let mut is_known = false;
        for known in &out {
            is_known = is_known || equal(known, &item, meter)?;
        }
        if !is_known {
            out.push(item);
        }
    }
    Ok(Val::list(out))
}

/// Values in the order of their keys.
pub(in super::super) fn sorted<'a>(mut items: Vec<(Val<'a>, Val<'a>)>, meter: &mut Meter) -> Ran<'a> {
    let rounds = usize::BITS - items.len().leading_zeros();
    let bytes: usize = items.iter().map(|(key, _)| key.bytes()).sum();
    meter.spend(items.len().saturating_mul(rounds as usize))?;
    meter.spend_bytes(bytes.saturating_mul(rounds as usize))?;
    // Keys of one order only: then the comparison below never guesses.
    for pair in items.windows(2) {
        let is_number = |value: &Val<'_>| matches!(value, Val::Int(_) | Val::Uint(_));
        let alike = pair[0].0.type_name() == pair[1].0.type_name();
        if !(alike || is_number(&pair[0].0) && is_number(&pair[1].0))
            || order(&pair[0].0, &pair[1].0).is_none()
        {
            return Err(Failure::said("list elements must have the same type"));
        }
    }
    items.sort_by(|(a, _), (b, _)| order(a, b).unwrap_or(Ordering::Equal));
    Ok(Val::list(items.into_iter().map(|(_, item)| item).collect()))
}

fn at_end<'a>(list: &List<'a>, is_last: bool) -> Ran<'a> {
    match list.len() {
        0 => Ok(Val::Optional(None)),
        count => Ok(Val::some(list.get(if is_last { count - 1 } else { 0 })?)),
    }
}
