//! One probe, once: a command, an HTTP request, a TCP connection or a gRPC health check.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerPort, ExecAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::{grpc, http};
use crate::runtime::{Runtime, RuntimeError};

/// As much of an answer as an event shows (the kubelet reads no more of it).
const SHOWN_BYTES_MAX: usize = 10 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// A success that deserves an event.
    Warning(String),
    Failure(String),
    /// The probe itself could not be made, which says nothing about the container.
    Errored(String),
}

/// What is probed.
pub(crate) struct Target<'a> {
    /// The container.
    pub(crate) id: &'a str,
    pub(crate) pod_ip: &'a str,
    /// To find a port by its name.
    pub(crate) ports: &'a [ContainerPort],
}

pub(super) async fn probe(
    runtime: &dyn Runtime,
    probe: &Probe,
    target: &Target<'_>,
    timeout: Duration,
) -> Outcome {
    if let Some(action) = &probe.exec {
        exec(runtime, action, target, timeout).await
    } else if let Some(action) = &probe.http_get {
        http::probe(action, target, timeout).await
    } else if let Some(action) = &probe.tcp_socket {
        tcp(action, target, timeout).await
    } else if let Some(action) = &probe.grpc {
        grpc::probe(action, target, timeout).await
    } else {
        Outcome::Errored("missing probe handler".to_owned())
    }
}

async fn exec(runtime: &dyn Runtime, action: &ExecAction, target: &Target<'_>, timeout: Duration) -> Outcome {
    let command = action.command.clone().unwrap_or_default();
    match runtime.exec(target.id, &command, timeout).await {
        Ok(outcome) if outcome.code == 0 => Outcome::Success,
        Ok(outcome) => Outcome::Failure(shorten(outcome.text())),
        Err(RuntimeError::ExecTimeout(limit)) => {
            let seconds = limit.as_secs();
            Outcome::Failure(format!("command timed out: {:?} timed out after {seconds}s", command.join(" ")))
        }
        Err(error) => Outcome::Errored(shorten(error.to_string())),
    }
}

async fn tcp(action: &TCPSocketAction, target: &Target<'_>, timeout: Duration) -> Outcome {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.pod_ip);
    let port = match target.port(&action.port) {
        Ok(port) => port,
        Err(problem) => return Outcome::Errored(problem),
    };
    match tokio::time::timeout(timeout, TcpStream::connect((bare(host), port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(dial_error(host, port, &error)),
        Err(_) => Outcome::Failure(format!("dial tcp {}: i/o timeout", authority(host, port))),
    }
}

impl Target<'_> {
    /// A number, or the name of one of the container's ports.
    pub(super) fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let valid = |number: i32| {
            u16::try_from(number)
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| format!("invalid port number: {number}"))
        };
        match port {
            IntOrString::Int(number) => valid(*number),
            IntOrString::String(name) => {
                let named = self.ports.iter().find(|port| port.name.as_deref() == Some(name));
                match (named, name.parse()) {
                    (Some(port), _) => valid(port.container_port),
                    (None, Ok(number)) => valid(number),
                    (None, Err(_)) => Err(format!("port {name} not found")),
                }
            }
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn authority(host: &str, port: u16) -> String {
    if bare(host).contains(':') { format!("[{}]:{port}", bare(host)) } else { format!("{host}:{port}") }
}

/// Without the brackets of an IPv6 address.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// In the words that users of Kubernetes look for.
pub(crate) fn dial_error(host: &str, port: u16, error: &std::io::Error) -> String {
    let at = authority(host, port);
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("dial tcp {at}: connect: connection refused"),
        std::io::ErrorKind::HostUnreachable => format!("dial tcp {at}: connect: no route to host"),
        std::io::ErrorKind::NetworkUnreachable => format!("dial tcp {at}: connect: network is unreachable"),
        _ => format!("dial tcp {at}: {error}"),
    }
}

pub(super) fn shorten(mut text: String) -> String {
    let mut end = text.len().min(SHOWN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests;
