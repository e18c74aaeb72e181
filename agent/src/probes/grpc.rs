//! gRPC health checks of containers (the gRPC health checking protocol), without TLS as the kubelet makes them.

use std::time::Duration;

use k8s_openapi::api::core::v1::GRPCAction;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proto::health::HealthCheckRequest;
use proto::health::health_check_response::ServingStatus;
use proto::health::health_client::HealthClient;
use tonic::transport::Endpoint;

use super::check::{Outcome, Target, authority, dial_error};

pub(super) async fn probe(action: &GRPCAction, target: &Target<'_>, timeout: Duration) -> Outcome {
    let port = match target.port(&IntOrString::Int(action.port)) {
        Ok(port) => port,
        Err(problem) => return Outcome::Errored(problem),
    };
    let service = action.service.clone().unwrap_or_default();
    let at = authority(target.pod_ip, port);
    let seconds = timeout.as_secs();
    let endpoint = match Endpoint::from_shared(format!("http://{at}")) {
        Ok(endpoint) => endpoint,
        Err(error) => return Outcome::Errored(error.to_string()),
    };
    let deadline = tokio::time::Instant::now() + timeout;
    let channel = match tokio::time::timeout_at(deadline, endpoint.connect()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => {
            let cause = io_cause(&error)
                .map_or_else(|| error.to_string(), |cause| dial_error(target.pod_ip, port, cause));
            return Outcome::Failure(format!("error: failed to connect service at {at:?}: {cause}"));
        }
        Err(_) => {
            let what = format!("timeout: failed to connect service {at:?} within {seconds}s");
            return Outcome::Failure(format!("{what}: context deadline exceeded"));
        }
    };
    let asking = async move { HealthClient::new(channel).check(HealthCheckRequest { service }).await };
    match tokio::time::timeout_at(deadline, asking).await {
        Ok(Ok(answer)) => judge(answer.into_inner().status()),
        Ok(Err(status)) => Outcome::Failure(refused(&status, seconds)),
        Err(_) => Outcome::Failure(format!("timeout: health rpc did not complete within {seconds}s")),
    }
}

fn judge(status: ServingStatus) -> Outcome {
    match status {
        ServingStatus::Serving => Outcome::Success,
        ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => {
            Outcome::Failure(format!("service unhealthy (responded with {:?})", status.as_str_name()))
        }
    }
}

fn refused(status: &tonic::Status, seconds: u64) -> String {
    let message = status.message();
    match status.code() {
        tonic::Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        ),
        tonic::Code::DeadlineExceeded => format!("timeout: health rpc did not complete within {seconds}s"),
        code => format!("error: health rpc probe failed: rpc error: code = {code:?} desc = {message}"),
    }
}

fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref() {
            return Some(cause);
        }
        next = error.source();
    }
    None
}
