//! One probe, once: an HTTP request, a TCP connection or a command. Also what postStart and preStop do.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ContainerPort, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::runtime::{Runtime, RuntimeError};

/// As much of an answer as an event shows.
const SHOWN_BYTES_MAX: usize = 1024;
/// A status line is far shorter.
const HEAD_BYTES_MAX: usize = 8192;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(String),
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
        http(action, target, timeout).await
    } else if let Some(action) = &probe.tcp_socket {
        tcp(action, target, timeout).await
    } else {
        Outcome::Failure("this kind of probe is not supported by this node".to_owned())
    }
}

/// A lifecycle hook.
pub(crate) async fn hook(
    runtime: &dyn Runtime,
    hook: &LifecycleHandler,
    target: &Target<'_>,
    timeout: Duration,
) -> Outcome {
    if let Some(action) = &hook.exec {
        exec(runtime, action, target, timeout).await
    } else if let Some(action) = &hook.http_get {
        http(action, target, timeout).await
    } else if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0)).min(timeout)).await;
        Outcome::Success
    } else {
        Outcome::Failure("this kind of hook is not supported by this node".to_owned())
    }
}

async fn exec(runtime: &dyn Runtime, action: &ExecAction, target: &Target<'_>, timeout: Duration) -> Outcome {
    let command = action.command.clone().unwrap_or_default();
    match runtime.exec(target.id, &command, timeout).await {
        Ok(outcome) if outcome.code == 0 => Outcome::Success,
        Ok(outcome) => Outcome::Failure(shorten(outcome.text())),
        Err(RuntimeError::ExecTimeout(limit)) => {
            Outcome::Failure(format!("command {command:?} timed out after {}s", limit.as_secs()))
        }
        Err(error) => Outcome::Failure(shorten(error.to_string())),
    }
}

async fn tcp(action: &TCPSocketAction, target: &Target<'_>, timeout: Duration) -> Outcome {
    let host = action.host.as_deref().unwrap_or(target.pod_ip);
    let Some(port) = port(&action.port, target) else { return unknown_port(&action.port) };
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(format!("dial tcp {host}:{port}: {error}")),
        Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

async fn http(action: &HTTPGetAction, target: &Target<'_>, timeout: Duration) -> Outcome {
    if action.scheme.as_deref() == Some("HTTPS") {
        return Outcome::Failure("HTTPS probes are not supported by this node".to_owned());
    }
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.pod_ip);
    let Some(port) = port(&action.port, target) else { return unknown_port(&action.port) };
    let path = action.path.as_deref().filter(|path| path.starts_with('/')).unwrap_or("/");
    let url = format!("http://{host}:{port}{path}");
    let mut headers = String::new();
    let mut named_host = None;
    for header in action.http_headers.iter().flatten() {
        // A line break would make two headers of one.
        if header.name.contains(['\r', '\n']) || header.value.contains(['\r', '\n']) {
            continue;
        }
        if header.name.eq_ignore_ascii_case("host") {
            named_host = Some(header.value.clone());
        } else {
            headers += &format!("{}: {}\r\n", header.name, header.value);
        }
    }
    let named_host = named_host.unwrap_or_else(|| format!("{host}:{port}"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {named_host}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n{headers}Connection: close\r\n\r\n"
    );
    match tokio::time::timeout(timeout, status_of(host, port, &request)).await {
        Ok(Ok(Some(code))) if (200..400).contains(&code) => Outcome::Success,
        Ok(Ok(Some(code))) => Outcome::Failure(format!("HTTP probe failed with statuscode: {code}")),
        Ok(Ok(None)) => Outcome::Failure(format!("Get \"{url}\": malformed HTTP response")),
        Ok(Err(error)) => Outcome::Failure(format!("Get \"{url}\": dial tcp {host}:{port}: {error}")),
        Err(_) => Outcome::Failure(format!("Get \"{url}\": context deadline exceeded")),
    }
}

async fn status_of(host: &str, port: u16, request: &str) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.contains(&b'\n') && head.len() < HEAD_BYTES_MAX {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..read]);
    }
    Ok(status_code(&head))
}

/// The code in `HTTP/1.1 200 OK`.
fn status_code(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

fn port(port: &IntOrString, target: &Target<'_>) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = target.ports.iter().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => u16::try_from(port.container_port).ok(),
                None => name.parse().ok(),
            }
        }
    }
}

fn unknown_port(port: &IntOrString) -> Outcome {
    Outcome::Failure(format!("the port {port:?} is not known"))
}

fn shorten(mut text: String) -> String {
    let mut end = text.len().min(SHOWN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use base::SystemClock;
    use serde_json::json;
    use std::sync::Arc;

    use super::*;
    use crate::runtime::hollow::HollowRuntime;

    async fn outcome(probe_json: serde_json::Value) -> Outcome {
        let spec: Probe = serde_json::from_value(probe_json).unwrap();
        let runtime = HollowRuntime::new(Arc::new(SystemClock), "node");
        let target = Target { id: "c", pod_ip: "127.0.0.1", ports: &[] };
        probe(&runtime, &spec, &target, Duration::from_secs(2)).await
    }

    async fn server(answer: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tasks = base::Tasks::new(tokio_util::sync::CancellationToken::new());
        tasks.spawn_infallible("answers once", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let _read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        // Dropping the set would end the server.
        std::mem::forget(tasks);
        port
    }

    #[tokio::test]
    async fn http_takes_200_to_399() {
        for (answer, good) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\n\r\n", false),
            ("hello\n", false),
        ] {
            let port = server(answer).await;
            let outcome = outcome(json!({"httpGet": {"port": port, "path": "/"}})).await;
            assert_eq!(outcome == Outcome::Success, good, "{answer:?} gave {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_fails_a_tcp_probe() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = closed.local_addr().unwrap().port();
        assert_eq!(outcome(json!({"tcpSocket": {"port": port}})).await, Outcome::Success);
        drop(closed);
        assert!(matches!(outcome(json!({"tcpSocket": {"port": port}})).await, Outcome::Failure(_)));
    }
}
