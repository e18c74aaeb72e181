//! Quantities of resources, as everywhere in the API.

use super::super::functions::{Overload, function, method};
use super::super::meter::Failure;
use super::super::types::Pattern as P;
use super::super::value::Val;
use crate::quantity::Quantity;

const PAIR: &[P] = &[P::Quantity, P::Quantity];

pub(in super::super) static ALL: &[Overload] = &[
    function("quantity", &[P::Text], P::Quantity, |args, _| match args[0].as_text()?.parse() {
        Ok(quantity) => Ok(Val::Quantity(quantity)),
        Err(error) => Err(Failure::said(crate::quantity::QuantityError::to_string(&error))),
    }),
    function("isQuantity", &[P::Text], P::Bool, |args, _| {
        Ok(Val::Bool(args[0].as_text()?.parse::<Quantity>().is_ok()))
    }),
    function("sign", &[P::Quantity], P::Int, |args, _| Ok(Val::Int(sign(of(&args[0])?)))),
    method("sign", &[P::Quantity], P::Int, |args, _| Ok(Val::Int(sign(of(&args[0])?)))),
    method("isGreaterThan", PAIR, P::Bool, |args, _| Ok(Val::Bool(of(&args[0])? > of(&args[1])?))),
    method("isLessThan", PAIR, P::Bool, |args, _| Ok(Val::Bool(of(&args[0])? < of(&args[1])?))),
    method("compareTo", PAIR, P::Int, |args, _| Ok(Val::Int(of(&args[0])?.cmp(&of(&args[1])?) as i64))),
    method("asApproximateFloat", &[P::Quantity], P::Double, |args, _| {
        Ok(Val::Double(of(&args[0])?.to_float()))
    }),
    method("asInteger", &[P::Quantity], P::Int, |args, _| {
        let quantity = of(&args[0])?;
        match quantity.is_whole() {
            true => Ok(Val::Int(quantity.to_whole())),
            false => Err(Failure::said("cannot convert value to integer")),
        }
    }),
    method("isInteger", &[P::Quantity], P::Bool, |args, _| Ok(Val::Bool(of(&args[0])?.is_whole()))),
    method("add", PAIR, P::Quantity, |args, _| Ok(Val::Quantity(of(&args[0])? + of(&args[1])?))),
    method("add", &[P::Quantity, P::Int], P::Quantity, |args, _| {
        Ok(Val::Quantity(of(&args[0])? + Quantity::whole(args[1].as_int()?)))
    }),
    method("sub", PAIR, P::Quantity, |args, _| Ok(Val::Quantity(of(&args[0])? - of(&args[1])?))),
    method("sub", &[P::Quantity, P::Int], P::Quantity, |args, _| {
        Ok(Val::Quantity(of(&args[0])? - Quantity::whole(args[1].as_int()?)))
    }),
];

fn of(value: &Val<'_>) -> Result<Quantity, Failure> {
    match value {
        Val::Quantity(quantity) => Ok(*quantity),
        _ => Err(Failure::NoOverload),
    }
}

fn sign(quantity: Quantity) -> i64 {
    quantity.cmp(&Quantity::ZERO) as i64
}
