//! Asks whichever server the session is with for tokens of service accounts.

use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use proto::agent::TokenRequest;
use tokio::sync::watch;

use super::session::Caller;
use crate::tokens::{IssuedToken, TokenAsk, TokenSource};

/// How long to wait for a server while there is none, and for its answer.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The gateway as a source of tokens. Clones share the session.
#[derive(Clone, Debug)]
pub struct GatewayTokens {
    callers: watch::Receiver<Option<Caller>>,
}

impl GatewayTokens {
    pub(super) fn over(callers: watch::Receiver<Option<Caller>>) -> Self {
        Self { callers }
    }
}

#[async_trait]
impl TokenSource for GatewayTokens {
    async fn issue(&self, ask: &TokenAsk) -> Result<IssuedToken, String> {
        let mut callers = self.callers.clone();
        let found = tokio::time::timeout(SERVER_WAIT_MAX, callers.wait_for(Option::is_some)).await;
        let caller = found.ok().and_then(Result::ok).and_then(|caller| caller.clone());
        let Some(Caller { mut client, node, instance }) = caller else {
            return Err("no server can be reached".to_owned());
        };
        let request = TokenRequest {
            node,
            instance,
            namespace: ask.namespace.clone(),
            pod: ask.pod.clone(),
            pod_uid: ask.pod_uid.clone(),
            audience: ask.audience.clone(),
            expiration_seconds: ask.lifetime_seconds,
        };
        let answer = match tokio::time::timeout(ANSWER_MAX, client.token(request)).await {
            Err(_elapsed) => return Err("the server did not answer in time".to_owned()),
            Ok(Err(status)) => return Err(status.message().to_owned()),
            Ok(Ok(answer)) => answer.into_inner(),
        };
        let expires_at = Timestamp::from_second(answer.expires_at);
        Ok(IssuedToken {
            token: answer.token,
            expires_at: expires_at.map_err(|_| "the server gave a token without an end".to_owned())?,
            lifetime: Duration::from_secs(u64::try_from(answer.lifetime_seconds).unwrap_or(0)),
        })
    }
}
