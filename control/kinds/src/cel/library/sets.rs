//! Lists as sets.

use super::super::equality::contains;
use super::super::functions::{Overload, function};
use super::super::meter::{Failure, Meter};
use super::super::types::Pattern as P;
use super::super::value::{List, Val};

const LISTS: &[P] = &[P::List(&P::Any), P::List(&P::Any)];

pub(in super::super) static ALL: &[Overload] = &[
    function("sets.contains", LISTS, P::Bool, |args, meter| {
        Ok(Val::Bool(holds_all(args[0].as_list()?, args[1].as_list()?, meter)?))
    }),
    function("sets.equivalent", LISTS, P::Bool, |args, meter| {
        let (a, b) = (args[0].as_list()?, args[1].as_list()?);
        Ok(Val::Bool(holds_all(a, b, meter)? && holds_all(b, a, meter)?))
    }),
    function("sets.intersects", LISTS, P::Bool, |args, meter| {
        let (a, b) = (args[0].as_list()?, args[1].as_list()?);
        for item in a.iter() {
            if contains(b, &item?, meter)? {
                return Ok(Val::Bool(true));
            }
        }
        Ok(Val::Bool(false))
    }),
];

fn holds_all(list: &List<'_>, wanted: &List<'_>, meter: &mut Meter) -> Result<bool, Failure> {
    for item in wanted.iter() {
        if !contains(list, &item?, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}
