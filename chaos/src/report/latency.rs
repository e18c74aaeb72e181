//! How long calls took: quantiles by kind, and a map of time against latency whose size does not grow with the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::calls::Call;

/// Of the calls of one kind that were answered with success; in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub kind: String,
    pub count: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// Every kind that was answered at all, by name.
pub(super) fn by_kind(calls: &[Call<'_>]) -> Vec<Latency> {
    let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for call in calls {
        if let Some(latency_ns) = call.latency_ns() {
            kinds.entry(call.kind()).or_default().push(latency_ns);
        }
    }
    kinds
        .into_iter()
        .map(|(kind, mut all)| {
            all.sort_unstable();
            let at = |percent| quantile(&all, percent).unwrap_or_default() / 1_000;
            let (p50_us, p99_us, max_us) = (at(50), at(99), at(100));
            Latency { kind: kind.to_owned(), count: all.len() as u64, p50_us, p99_us, max_us }
        })
        .collect()
}

/// The smallest number that is no smaller than so many percent of all.
pub(super) fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied()
}

/// Successful calls in columns of equal time and rows of equal ratio.
#[derive(Debug)]
pub(super) struct HeatMap {
    pub(super) columns: Vec<Column>,
    /// How many rows there are, and the row that holds the smallest latency.
    pub(super) rows: usize,
    pub(super) lowest: usize,
    /// The fullest cell.
    pub(super) most: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    /// Calls in each row, from `HeatMap::lowest` on.
    pub(super) cells: Vec<u64>,
    /// None where nothing ended; in nanoseconds.
    pub(super) p50_ns: Option<u64>,
    pub(super) p99_ns: Option<u64>,
}

/// Rows in which a latency grows tenfold.
pub(super) const ROWS_PER_DECADE: usize = 10;

impl HeatMap {
    /// A call stands in the column in which it ended.
    pub(super) fn of(calls: &[Call<'_>], end: u64, columns: usize) -> Option<Self> {
        let mut latencies: Vec<Vec<u64>> = vec![Vec::new(); columns];
        for call in calls {
            let (Some(latency), Some(at)) = (call.latency_ns(), call.end) else { continue };
            latencies[column_of(at, end, columns)].push(latency);
        }
        let all = || latencies.iter().flatten().copied();
        let (lowest, highest) = (row_of(all().min()?), row_of(all().max()?));
        let columns: Vec<Column> =
            latencies.into_iter().map(|column| Column::of(column, lowest, highest)).collect();
        let most = columns.iter().flat_map(|column| &column.cells).copied().max()?;
        Some(Self { columns, rows: highest - lowest + 1, lowest, most })
    }

    /// Height of a latency above the lowest row's floor, in rows.
    pub(super) fn height(&self, latency_ns: u64) -> f64 {
        decades(latency_ns) * ROWS_PER_DECADE as f64 - self.lowest as f64
    }
}

impl Column {
    fn of(mut latencies: Vec<u64>, lowest: usize, highest: usize) -> Self {
        latencies.sort_unstable();
        let mut cells = vec![0; highest - lowest + 1];
        for latency in &latencies {
            cells[row_of(*latency) - lowest] += 1;
        }
        let at = |percent| quantile(&latencies, percent);
        Self { cells, p50_ns: at(50), p99_ns: at(99) }
    }
}

/// Which of so many columns of equal time this moment falls into.
pub(super) fn column_of(at: u64, end: u64, columns: usize) -> usize {
    let place = u128::from(at) * columns as u128 / u128::from(end.max(1));
    usize::try_from(place).unwrap_or(columns).min(columns.saturating_sub(1))
}

fn row_of(latency_ns: u64) -> usize {
    (decades(latency_ns) * ROWS_PER_DECADE as f64) as usize
}

/// Above a microsecond: what is faster stands in the lowest row.
fn decades(latency_ns: u64) -> f64 {
    (latency_ns.max(1_000) as f64 / 1_000.0).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_number_of_the_list() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!([50, 99, 100].map(|percent| quantile(&hundred, percent)), [Some(50), Some(99), Some(100)]);
        assert_eq!(quantile(&[7], 50), Some(7));
        assert_eq!(quantile(&[], 99), None);
    }

    #[test]
    fn the_last_moment_falls_into_the_last_column() {
        assert_eq!([0, 49, 50, 100, 900].map(|at| column_of(at, 100, 2)), [0, 0, 1, 1, 1]);
        assert_eq!(column_of(0, 0, 3), 0);
    }
}
