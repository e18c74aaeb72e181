//! `/livez`, `/readyz`, `/healthz`: is this process alive, and can it serve.

use std::time::Duration;

use http::{Response, StatusCode};

use crate::body::{Body, full};
use crate::reply::respond;
use crate::request::Query;
use crate::server::Shared;

/// How long the store may take to prove that it has a leader.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// The process answers.
    Ping,
    /// The store has a leader and a quorum.
    Store,
    /// The server has not been told to stop.
    Shutdown,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Store => "store",
            Self::Shutdown => "shutdown",
        }
    }

    async fn passes(self, server: &Shared) -> bool {
        match self {
            Self::Ping => true,
            Self::Store => {
                let barrier = server.storage.store.read_barrier();
                tokio::time::timeout(STORE_TIMEOUT, barrier).await.is_ok_and(|read| read.is_ok())
            }
            Self::Shutdown => !server.stop.is_cancelled(),
        }
    }
}

/// A server without a leader is alive: restarting it would not help.
const LIVE: &[Check] = &[Check::Ping];
const READY: &[Check] = &[Check::Ping, Check::Store, Check::Shutdown];

pub(super) fn is_health(path: &str) -> bool {
    checks(path).is_some()
}

fn checks(path: &str) -> Option<(&'static str, &'static [Check], Option<&str>)> {
    let mut segments = path.split('/').skip(1);
    let (endpoint, checks) = match segments.next()? {
        "livez" => ("livez", LIVE),
        "readyz" => ("readyz", READY),
        "healthz" => ("healthz", READY),
        _ => return None,
    };
    let one = segments.next();
    let known = one.is_none_or(|one| checks.iter().any(|check| check.name() == one));
    (known && segments.next().is_none()).then_some((endpoint, checks, one))
}

pub(super) async fn answer(server: &Shared, path: &str, query: &Query) -> Response<Body> {
    let Some((endpoint, checks, one)) = checks(path) else { return super::page_not_found() };
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut report = String::new();
    let mut healthy = true;
    let asked: Vec<Check> =
        checks.iter().copied().filter(|check| one.is_none_or(|one| one == check.name())).collect();
    for check in asked {
        let name = check.name();
        if excluded.contains(&name) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if check.passes(server).await {
            report.push_str(&format!("[+]{name} ok\n"));
        } else {
            healthy = false;
            report.push_str(&format!("[-]{name} failed: reason withheld\n"));
        }
    }
    let text = match (healthy, query.find("verbose").is_some()) {
        (true, false) => "ok".to_owned(),
        (true, true) => format!("{report}{endpoint} check passed\n"),
        (false, _) => format!("{report}{endpoint} check failed\n"),
    };
    let code = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    respond(code, "text/plain; charset=utf-8", full(text))
}
