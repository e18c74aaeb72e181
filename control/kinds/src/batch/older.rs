//! CronJob in v1beta1, for clients from before 1.21.

use super::cron_job::CRON_JOB;
use crate::{Conversion, Kind, Subresource};

pub static CRON_JOB_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.batch.v1beta1.CronJob",
    subresources: &[Subresource::status("batch", "CronJob").at("v1beta1")],
    conversion: Some(&Conversion::same(&CRON_JOB)),
    ..CRON_JOB
};
