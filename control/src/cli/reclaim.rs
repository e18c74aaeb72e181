//! When a node removes images and evicts pods, as flags. The kubelet's names and defaults.

use std::time::Duration;

use agent::reclaim::{DEFAULT_THRESHOLDS, ImagePolicy, ReclaimPolicy, ThresholdError, Thresholds};
use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct ReclaimArgs {
    /// How little may be free before pods are evicted, as SIGNAL<AMOUNT, comma-separated; of memory.available,
    /// nodefs.available, nodefs.inodesFree and pid.available
    #[arg(long, value_name = "THRESHOLDS", default_value = DEFAULT_THRESHOLDS, value_parser = thresholds)]
    pub(crate) eviction_hard: Thresholds,
    /// Seconds for which the node tells a pressure after it has passed
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) eviction_pressure_transition_period: u64,
    /// Percent of the disk above which unused images are removed
    #[arg(long, value_name = "PERCENT", default_value_t = ImagePolicy::default().high_percent)]
    pub(crate) image_gc_high_threshold: u64,
    /// Percent of the disk below which no more images are removed
    #[arg(long, value_name = "PERCENT", default_value_t = ImagePolicy::default().low_percent)]
    pub(crate) image_gc_low_threshold: u64,
    /// Seconds for which an unused image stays at least
    #[arg(long, value_name = "SECONDS", default_value_t = ImagePolicy::default().age_min.as_secs())]
    pub(crate) minimum_image_ttl_duration: u64,
}

impl ReclaimArgs {
    pub(crate) fn policy(&self) -> ReclaimPolicy {
        let mut thresholds = self.eviction_hard.clone();
        thresholds.transition = Duration::from_secs(self.eviction_pressure_transition_period);
        let images = ImagePolicy {
            high_percent: self.image_gc_high_threshold,
            low_percent: self.image_gc_low_threshold,
            age_min: Duration::from_secs(self.minimum_image_ttl_duration),
        };
        ReclaimPolicy { thresholds, images }
    }
}

fn thresholds(text: &str) -> Result<Thresholds, ThresholdError> {
    Thresholds::parse(text)
}
