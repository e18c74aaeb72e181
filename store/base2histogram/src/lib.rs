//! Counts values by their power of two: as much of the crate of this name as openraft is compiled against.

use std::fmt;
use std::marker::PhantomData;

/// 0, then one for each bit that can be a value's highest.
const COUNTERS: usize = u64::BITS as usize + 1;

/// How often values of each order were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counters: [u64; COUNTERS],
    slots: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing was recorded yet.
    pub fn new() -> Self {
        Self { counters: [0; COUNTERS], slots: PhantomData }
    }

    /// One more value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// The same value, `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let order = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(counter) = self.counters.get_mut(order) {
            *counter = counter.saturating_add(count);
        }
    }

    /// What openraft shows of a histogram.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.counters.iter().sum(),
            p50: self.at_most(500),
            p90: self.at_most(900),
            p99: self.at_most(990),
            p99_9: self.at_most(999),
        }
    }

    /// What so many of a thousand values do not exceed, to the next power of two.
    fn at_most(&self, thousandths: u128) -> u64 {
        let samples: u64 = self.counters.iter().sum();
        let mut left = (u128::from(samples) * thousandths).div_ceil(1000);
        for (order, counter) in (0_u32..).zip(self.counters) {
            match left.checked_sub(u128::from(counter)) {
                Some(rest) if rest > 0 => left = rest,
                _ => return u64::MAX.checked_shr(u64::BITS - order).unwrap_or(0),
            }
        }
        u64::MAX
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// How values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values.
    pub samples: u64,
    /// What half of them do not exceed.
    pub p50: u64,
    /// What 90 of 100 do not exceed.
    pub p90: u64,
    /// What 99 of 100 do not exceed.
    pub p99: u64,
    /// What 999 of 1,000 do not exceed.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p90, p99, p99_9 } = self;
        write!(f, "[samples: {samples}, P50: {p50}, P90: {p90}, P99: {p99}, P99.9: {p99_9}]")
    }
}

/// Histograms below each other: for each its name, and how many values there are of each order.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart(Vec<(String, Histogram)>);

impl AsciiChart {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more line.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.0.push((name.into(), histogram));
        self
    }

    /// There is one way to show it.
    pub fn detailed(&self) -> &Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.0 {
            let used = histogram.counters.iter().rposition(|counter| *counter > 0).map_or(0, |last| last + 1);
            writeln!(f, "{name}: {:?}", &histogram.counters[..used])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_their_highest_bit() {
        let mut histogram = Histogram::new();
        for value in [0, 1, 2, 3, 4] {
            histogram.record(value);
        }
        assert_eq!(AsciiChart::new().add("sizes", histogram).to_string(), "sizes: [1, 1, 2, 1]\n");
    }

    #[test]
    fn percentiles_are_right_to_the_next_power_of_two() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p99_9, 0);
        histogram.record_n(5, 95);
        histogram.record_n(100, 4);
        histogram.record(u64::MAX);
        let expected = PercentileStats { samples: 100, p50: 7, p90: 7, p99: 127, p99_9: u64::MAX };
        assert_eq!(histogram.percentile_stats(), expected);
    }
}
