//! Logs and metrics of this process.

mod lines;
mod process;

use std::sync::Arc;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
pub(crate) use lines::LastWords;
use lines::Lines;

/// The seconds that latency histograms are cut at; the API server's own.
const LATENCY_BUCKETS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Sends log lines to standard error, as long as what is returned is there.
pub(crate) fn start_logging(filter: &str, format: LogFormat) -> Result<LastWords> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter} is no filter"))?;
    let (lines, last_words) = Lines::to(std::io::stderr()).context("cannot start a thread")?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    match format {
        LogFormat::Text => subscriber.with_ansi(false).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    }
    .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    Ok(last_words)
}

pub(crate) use store::rpc::RenderMetrics;

/// Starts collecting metrics.
pub(crate) fn start_metrics() -> Result<RenderMetrics> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS)
        .context("cannot set the buckets of histograms")?
        .install_recorder()
        .context("cannot start collecting metrics")?;
    process::describe();
    Ok(Arc::new(move || {
        process::observe();
        handle.render()
    }))
}
