//! JSON for porcupine, a line for each operation, with the fields of its `Operation`: `ClientId`, `Input`, `Call`,
//! `Output`, `Return`.
//!
//! `Input` is `{"f": "read"|"write"|"cas", "key", "value" | "from", "to"}`, or for all else `{"f": "other", "op"}`;
//! `Output` is `{"value"}` of a read, `{"set"}` of a compare-and-set, and `null` when the outcome is unknown, in which
//! case `Return` is after everything. What certainly did not happen is left out.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::register::{Ended, Values, View, ended};
use crate::history::{History, Outcome};

pub(super) fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    let operations = history.operations();
    let values = Values::of(&operations);
    for operation in operations.iter().filter(|operation| !matches!(operation.outcome, Outcome::Refused(_))) {
        let view = values.view(operation.op);
        let (ended, returned) = match (ended(operation), operation.returned) {
            (Ended::Unknown, _) | (_, None) => (Ended::Unknown, i64::MAX.unsigned_abs()),
            (ended, Some(place)) => (ended, place.at),
        };
        let line = json!({
            "ClientId": operation.process,
            "Input": input(view)?,
            "Call": operation.invoked.at,
            "Output": output(view, ended),
            "Return": returned,
        });
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn input(view: View<'_>) -> io::Result<Value> {
    Ok(match view {
        View::Read { key } => json!({ "f": "read", "key": key }),
        View::Write { key, value } => json!({ "f": "write", "key": key, "value": value }),
        View::CompareAndSet { key, from, to } => json!({ "f": "cas", "key": key, "from": from, "to": to }),
        View::Other(op) => json!({ "f": "other", "op": serde_json::to_value(op)? }),
    })
}

fn output(view: View<'_>, ended: Ended<'_>) -> Value {
    match (view, ended) {
        (_, Ended::Unknown) => Value::Null,
        (View::Read { .. }, Ended::Ok(seen)) => json!({ "value": seen }),
        (View::CompareAndSet { .. }, ended) => json!({ "set": matches!(ended, Ended::Ok(_)) }),
        (View::Read { .. } | View::Write { .. } | View::Other(_), _) => json!({}),
    }
}
