//! The figures of a run.

use std::time::Duration;

use serde_json::{Value, json};

/// What clients did in some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// How long each request took.
    pub(crate) times: Vec<Duration>,
    pub(crate) elapsed: Duration,
    pub(crate) bytes: usize,
}

#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Value>,
}

impl Table {
    pub(crate) fn load(&mut self, what: &str, mut measured: Measured) {
        measured.times.sort_unstable();
        let seconds = measured.elapsed.as_secs_f64();
        let at = |percent: usize| {
            let last = measured.times.len().saturating_sub(1);
            let time = measured.times.get((measured.times.len() * percent / 100).min(last));
            (time.copied().unwrap_or_default().as_secs_f64() * 10_000.0).round() / 10.0
        };
        let mut row = json!({
            "what": what,
            "per second": rounded(measured.times.len() as f64 / seconds),
            "p50 ms": at(50),
            "p99 ms": at(99),
        });
        if measured.bytes > 0 {
            row["MB/s"] = rounded(measured.bytes as f64 / seconds / 1e6).into();
        }
        self.push(row);
    }

    pub(crate) fn rate(&mut self, what: &str, per_second: f64) {
        self.push(json!({"what": what, "per second": rounded(per_second)}));
    }

    pub(crate) fn memory(&mut self, when: &str, mib: &[u64]) {
        if !mib.is_empty() {
            self.push(json!({"what": format!("resident memory, {when}"), "MiB": mib}));
        }
    }

    fn push(&mut self, row: Value) {
        eprintln!("  {row}");
        self.rows.push(row);
    }

    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", Value::from(self.rows.clone()));
            return;
        }
        let columns = ["what", "per second", "p50 ms", "p99 ms", "MB/s", "MiB"];
        println!("| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
        for row in &self.rows {
            let cells = columns.map(|column| match &row[column] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            println!("| {} |", cells.join(" | "));
        }
    }
}

fn rounded(value: f64) -> f64 {
    if value < 100.0 { (value * 10.0).round() / 10.0 } else { value.round() }
}
