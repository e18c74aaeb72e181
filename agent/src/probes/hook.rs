//! What postStart and preStop do: a command, an HTTP request, or a pause.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use super::check::Target;
use super::http;
use crate::runtime::{Runtime, RuntimeError};

/// Runs a lifecycle hook to its end; a caller that cannot wait so long drops it.
///
/// # Errors
/// Says what went wrong. `tcpSocket` always does: Kubernetes keeps the field and does not support it.
pub(crate) async fn hook(
    runtime: &dyn Runtime,
    hook: &LifecycleHandler,
    target: &Target<'_>,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        match runtime.exec(target.id, &command, timeout).await {
            Ok(outcome) if outcome.code == 0 => Ok(()),
            Ok(outcome) => {
                let words = command.join(" ");
                Err(format!(
                    "command '{words}' exited with {}: {}",
                    outcome.code,
                    super::check::shorten(outcome.text())
                ))
            }
            Err(RuntimeError::ExecTimeout(limit)) => {
                Err(format!("command '{}' timed out after {}s", command.join(" "), limit.as_secs()))
            }
            Err(error) => Err(error.to_string()),
        }
    } else if let Some(action) = &hook.http_get {
        match tokio::time::timeout(timeout, http::get(action, target)).await {
            Ok(got) => got,
            Err(_) => Err("no answer in time".to_owned()),
        }
    } else if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        Ok(())
    } else if hook.tcp_socket.is_some() {
        Err("tcpSocket is not supported as a lifecycle hook".to_owned())
    } else {
        Err("the hook has no handler".to_owned())
    }
}
