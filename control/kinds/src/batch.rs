//! The kinds of the group batch: work that ends.

pub mod cron_job;
pub mod job;
pub mod older;
mod schedule;
mod spec;

#[cfg(test)]
mod tests;
