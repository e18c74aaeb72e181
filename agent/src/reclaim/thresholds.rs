//! How little of memory, disk and process ids may be free before the node acts: parsed, compared. Pure.
//!
//! Names and syntax are those of the kubelet's `--eviction-hard`: `memory.available<100Mi,nodefs.available<10%`.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::cgroups::resource_amount;
use crate::node::Usage;

/// Kubernetes' defaults. Images lie on the same file system as everything else, so there is one for both.
pub const DEFAULT: &str = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,pid.available<5%";

/// From when on the node is under pressure, and for how long that is said after it has passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    list: Vec<(Signal, Amount)>,
    pub transition: Duration,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    Memory,
    Storage,
    Inodes,
    Pids,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    /// Bytes, inodes or processes.
    Absolute(u64),
    Percent(f64),
}

/// A threshold that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossed {
    pub(crate) signal: Signal,
    pub(crate) threshold: u64,
    pub(crate) available: u64,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ThresholdError {
    #[error("a threshold looks like memory.available<100Mi, not like {0:?}")]
    Syntax(String),
    #[error("nothing is known of the eviction signal {0:?}")]
    Signal(String),
    #[error("{0:?} is neither an amount nor a share of the whole like 10%")]
    Amount(String),
}

impl Default for Thresholds {
    fn default() -> Self {
        // The default is a constant that the tests parse.
        Self::parse(DEFAULT).unwrap_or(Self { list: Vec::new(), transition: Duration::from_secs(300) })
    }
}

impl Thresholds {
    /// # Errors
    /// Says which part of `text` is wrong. An empty text is no threshold at all.
    pub fn parse(text: &str) -> Result<Self, ThresholdError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let list = parts.map(parse_one).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { list, transition: Duration::from_secs(300) })
    }

    /// What is too little now.
    pub(crate) fn crossed(&self, usage: &Usage) -> Vec<Crossed> {
        let all = self.list.iter().filter_map(|(signal, amount)| {
            let (available, capacity) = signal.read(usage);
            let threshold = amount.of(capacity);
            // What is not known is no reason to stop anything.
            (capacity > 0 && available < threshold).then_some(Crossed {
                signal: *signal,
                threshold,
                available,
            })
        });
        all.collect()
    }

    /// What may not be given to pods, of so much.
    pub(crate) fn reserved(&self, signal: Signal, capacity: u64) -> u64 {
        let of_signal = self.list.iter().filter(|(known, _)| *known == signal);
        of_signal.map(|(_, amount)| amount.of(capacity)).max().unwrap_or(0)
    }
}

impl Signal {
    fn read(self, usage: &Usage) -> (u64, u64) {
        match self {
            Self::Memory => (usage.memory_free_bytes, usage.memory_bytes),
            Self::Storage => (usage.storage_free_bytes, usage.storage_bytes),
            Self::Inodes => (usage.inodes_free, usage.inodes),
            Self::Pids => (usage.pids_max.saturating_sub(usage.pids), usage.pids_max),
        }
    }

    /// The resource that is short, as messages name it.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Storage => "ephemeral-storage",
            Self::Inodes => "inodes",
            Self::Pids => "pids",
        }
    }
}

impl Amount {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of at most 100 % of bytes, where a byte more or less is nothing"
    )]
    fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Absolute(amount) => amount,
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }
}

impl fmt::Display for Crossed {
    /// `Threshold quantity: 100Mi, available: 50Mi. `
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |amount: u64| match self.signal {
            Signal::Memory | Signal::Storage => binary(amount),
            Signal::Inodes | Signal::Pids => amount.to_string(),
        };
        write!(f, "Threshold quantity: {}, available: {}. ", shown(self.threshold), shown(self.available))
    }
}

fn parse_one(text: &str) -> Result<(Signal, Amount), ThresholdError> {
    let (signal, amount) = text.split_once('<').ok_or_else(|| ThresholdError::Syntax(text.to_owned()))?;
    let signal = match signal.trim() {
        "memory.available" => Signal::Memory,
        "nodefs.available" | "imagefs.available" => Signal::Storage,
        "nodefs.inodesFree" | "imagefs.inodesFree" => Signal::Inodes,
        "pid.available" => Signal::Pids,
        other => return Err(ThresholdError::Signal(other.to_owned())),
    };
    let wrong = || ThresholdError::Amount(amount.to_owned());
    let parsed = match amount.trim().strip_suffix('%') {
        Some(percent) => {
            let percent: f64 = percent.parse().map_err(|_| wrong())?;
            Amount::Percent(
                Some(percent).filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(wrong)?,
            )
        }
        None => {
            let thousandths = resource_amount(amount.trim()).ok_or_else(wrong)?;
            Amount::Absolute(u64::try_from(thousandths / 1000).map_err(|_| wrong())?)
        }
    };
    Ok((signal, parsed))
}

/// Bytes as Kubernetes prints them: in the largest unit that leaves a whole number.
pub(crate) fn binary(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes, 0);
    while number > 0 && number.is_multiple_of(1024) && unit < 6 {
        number /= 1024;
        unit += 1;
    }
    format!("{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        Usage {
            memory_bytes: 1 << 30,
            memory_free_bytes: 64 << 20,
            storage_bytes: 1000,
            storage_free_bytes: 100,
            inodes: 1000,
            inodes_free: 49,
            ..Usage::default()
        }
    }

    #[test]
    fn what_is_below_its_threshold_is_crossed() {
        let crossed = Thresholds::default().crossed(&usage());
        let shown: Vec<String> =
            crossed.iter().map(|crossed| format!("{}: {crossed}", crossed.signal.resource())).collect();
        assert_eq!(
            shown,
            [
                "memory: Threshold quantity: 100Mi, available: 64Mi. ",
                "inodes: Threshold quantity: 50, available: 49. "
            ]
        );
        assert!(Thresholds::parse("").unwrap().crossed(&usage()).is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for wrong in ["memory.available", "memory.free<1", "memory.available<much", "nodefs.available<110%"] {
            assert!(Thresholds::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Thresholds::parse(" imagefs.available<15% , ").unwrap().list.len(), 1);
        assert_eq!(Thresholds::default().list.len(), 4);
    }

    #[test]
    fn quantities_have_the_largest_whole_unit() {
        let shown = [0, 1023, 1024, 1536, 100 << 20, 3 << 30].map(binary);
        assert_eq!(shown, ["0", "1023", "1Ki", "1536", "100Mi", "3Gi"]);
    }
}
