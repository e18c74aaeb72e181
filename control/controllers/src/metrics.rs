//! This crate's metrics.

use metrics::{describe_counter, describe_histogram};

pub(crate) const NAVARCH_CONTROLLERS_RECONCILE_ERRORS_TOTAL: &str =
    "navarch_controllers_reconcile_errors_total";
pub(crate) const NAVARCH_CONTROLLERS_BEHIND_SECONDS: &str = "navarch_controllers_behind_seconds";

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(NAVARCH_CONTROLLERS_RECONCILE_ERRORS_TOTAL, "Reconciles that failed, by controller.");
    describe_histogram!(
        NAVARCH_CONTROLLERS_BEHIND_SECONDS,
        metrics::Unit::Seconds,
        "How long a reconcile waited for the cache to see the controller's own last write."
    );
}
