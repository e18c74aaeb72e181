//! JSON for `elle-cli`: an array of the invocations and completions of list transactions, one to a line.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Moment, moments};
use crate::check::append::{Happened, Micro, Transaction, transactions};
use crate::history::History;

pub(super) fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    let transactions = transactions(&history.operations());
    let life = |transaction: &Transaction| {
        (transaction.lines.first().copied().unwrap_or_default(), transaction.lines.get(1).copied())
    };
    out.write_all(b"[")?;
    for (index, (line, moment)) in moments(transactions.iter().map(life)).into_iter().enumerate() {
        let (transaction, is_end) = match moment {
            Moment::Invoked(place) => (&transactions[place], false),
            Moment::Returned(place) => (&transactions[place], true),
        };
        let time = usize::try_from(line).ok().and_then(|line| history.lines().get(line)).map(|line| line.at);
        let mut told = told(transaction, is_end);
        told["index"] = index.into();
        told["time"] = time.into();
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &told)?;
    }
    out.write_all(b"\n]\n")
}

fn told(transaction: &Transaction, is_end: bool) -> Value {
    let kind = match (is_end, transaction.happened) {
        (false, _) => "invoke",
        (true, Happened::Yes) => "ok",
        (true, Happened::No) => "fail",
        (true, Happened::Maybe) => "info",
    };
    let micros = transaction.micros.iter().map(|micro| match micro {
        Micro::Append { key, element } => json!(["append", key, element]),
        Micro::Read { key, list } if kind == "ok" => json!(["r", key, list]),
        Micro::Read { key, .. } => json!(["r", key, null]),
    });
    let value: Vec<Value> = micros.collect();
    json!({ "type": kind, "process": transaction.process, "f": "txn", "value": value })
}
