//! Values that may be absent. `or` and `orValue` do not look at what they do not need; the evaluator sees to that.

use super::super::functions::{Overload, function, method};
use super::super::meter::Failure;
use super::super::types::Pattern as P;
use super::super::value::Val;

const SOME: P = P::Optional(&P::Any);

pub(in super::super) static ALL: &[Overload] = &[
    function("optional.of", &[P::Any], SOME, |args, _| Ok(Val::some(args[0].clone()))),
    function("optional.ofNonZeroValue", &[P::Any], SOME, |args, _| match is_zero(&args[0]) {
        true => Ok(Val::Optional(None)),
        false => Ok(Val::some(args[0].clone())),
    }),
    function("optional.none", &[], P::Optional(&P::Dyn), |_, _| Ok(Val::Optional(None))),
    method("hasValue", &[SOME], P::Bool, |args, _| Ok(Val::Bool(matches!(&args[0], Val::Optional(Some(_)))))),
    method("value", &[SOME], P::Any, |args, _| match &args[0] {
        Val::Optional(Some(value)) => Ok((**value).clone()),
        _ => Err(Failure::said("optional.none() dereference")),
    }),
    method("or", &[SOME, SOME], SOME, |args, _| match &args[0] {
        Val::Optional(None) => Ok(args[1].clone()),
        some => Ok(some.clone()),
    }),
    method("orValue", &[SOME, P::Any], P::Any, |args, _| match &args[0] {
        Val::Optional(Some(value)) => Ok((**value).clone()),
        _ => Ok(args[1].clone()),
    }),
];

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null
        | Val::Bool(false)
        | Val::Int(0)
        | Val::Uint(0)
        | Val::Duration(0)
        | Val::Optional(None) => true,
        Val::Double(number) => *number == 0.0,
        Val::Text(text) => text.is_empty(),
        Val::Bytes(bytes) => bytes.is_empty(),
        Val::List(list) => list.len() == 0,
        Val::Map(map) => map.len() == 0,
        Val::Object(object) => object.fields.is_empty(),
        _ => false,
    }
}
