//! Tokens of service accounts, for the volumes of pods: asked for when a pod needs one, kept in memory, asked
//! for anew long before they expire.
//!
//! A token that cannot be renewed stays until it has expired: a lost control plane takes nothing away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::{Clock, Entropy, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use tracing::warn;

/// A token older than this is renewed, however long it would live (as the kubelet does).
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Up to this much sooner, so that a node's tokens are not all renewed together.
const JITTER_MAX: Duration = Duration::from_secs(10);
/// After a renewal that failed, while the old token is good.
const RETRY: Duration = Duration::from_secs(30);
/// When a volume does not say; the API's own default.
const LIFETIME_SECONDS_DEFAULT: i64 = 60 * 60;

/// Who makes tokens.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// The error is for people.
    async fn issue(&self, ask: &TokenAsk) -> Result<IssuedToken, String>;
}

/// Which token a pod needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenAsk {
    pub pod_uid: String,
    pub namespace: String,
    pub pod: String,
    /// Empty: the API itself.
    pub audience: String,
    pub lifetime_seconds: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    pub token: String,
    pub expires_at: Timestamp,
    /// What it was given for. The server's clock may differ from ours, this does not.
    pub lifetime: Duration,
}

/// What a pod's volumes are to hold, by audience and wanted lifetime: tokens, or why there is none.
pub(crate) type PodTokens = BTreeMap<(String, i64), Result<String, String>>;

pub(crate) struct Tokens {
    source: Arc<dyn TokenSource>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    held: Mutex<BTreeMap<TokenAsk, Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    issued: IssuedToken,
    renew_at: Timestamp,
}

impl Tokens {
    pub(crate) fn new(
        source: Arc<dyn TokenSource>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { source, clock, entropy, held: Mutex::default() }
    }

    /// Everything that the pod's volumes ask for. Asks the control plane only for what is missing or old.
    pub(crate) async fn of_pod(&self, pod: &Pod) -> PodTokens {
        let mut tokens = PodTokens::new();
        for ask in asks(pod) {
            let token = self.token(&ask).await;
            tokens.insert((ask.audience, ask.lifetime_seconds), token);
        }
        tokens
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, pod_uid: &str) {
        self.lock().retain(|ask, _| ask.pod_uid != pod_uid);
    }

    async fn token(&self, ask: &TokenAsk) -> Result<String, String> {
        let now = self.clock.now();
        let held = self.lock().get(ask).cloned();
        if let Some(held) = held.as_ref().filter(|held| now < held.renew_at) {
            return Ok(held.issued.token.clone());
        }
        match self.source.issue(ask).await {
            Ok(issued) => {
                let token = issued.token.clone();
                let jitter = Duration::from_millis(self.entropy.u64() % as_millis(JITTER_MAX));
                let renew_at = renewal(&issued, self.clock.now(), jitter);
                self.lock().insert(ask.clone(), Held { issued, renew_at });
                Ok(token)
            }
            Err(why) => match held.filter(|held| now < held.issued.expires_at) {
                Some(held) => {
                    let (namespace, pod) = (&ask.namespace, &ask.pod);
                    warn!(%namespace, %pod, error = %why, "cannot renew a token, the old one stays");
                    let renew_at = now + self.entropy.jittered(RETRY);
                    self.lock().insert(ask.clone(), Held { issued: held.issued.clone(), renew_at });
                    Ok(held.issued.token)
                }
                None => Err(why),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TokenAsk, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lifetime that a volume asks for.
pub(crate) fn lifetime_seconds(source: &ServiceAccountTokenProjection) -> i64 {
    source.expiration_seconds.unwrap_or(LIFETIME_SECONDS_DEFAULT)
}

fn asks(pod: &Pod) -> Vec<TokenAsk> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.iter().flatten())
        .filter_map(|source| source.service_account_token.as_ref());
    let ask = |source: &ServiceAccountTokenProjection| TokenAsk {
        pod_uid: text(&pod.metadata.uid),
        namespace: text(&pod.metadata.namespace),
        pod: text(&pod.metadata.name),
        audience: text(&source.audience),
        lifetime_seconds: lifetime_seconds(source),
    };
    sources.map(ask).collect()
}

/// When 80 % of a token's life are over, or a day.
fn renewal(issued: &IssuedToken, now: Timestamp, jitter: Duration) -> Timestamp {
    let age = (issued.lifetime * 4 / 5).min(AGE_MAX);
    now + age.saturating_sub(jitter)
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, SeededEntropy};
    use serde_json::json;

    use super::*;

    /// Numbers the tokens that it makes; fails while it is told to.
    #[derive(Default)]
    struct Mint {
        made: Mutex<u32>,
        fails: Mutex<bool>,
    }

    #[async_trait]
    impl TokenSource for (Arc<Mint>, Arc<ManualClock>) {
        async fn issue(&self, ask: &TokenAsk) -> Result<IssuedToken, String> {
            if *self.0.fails.lock().unwrap() {
                return Err("away".to_owned());
            }
            let mut made = self.0.made.lock().unwrap();
            *made += 1;
            let lifetime = Duration::from_secs(u64::try_from(ask.lifetime_seconds).unwrap());
            let token = format!("{}-{made}", ask.audience);
            Ok(IssuedToken { token, expires_at: self.1.now() + lifetime, lifetime })
        }
    }

    fn pod(lifetime_seconds: i64) -> Pod {
        let token = |audience: &str| json!({"serviceAccountToken": {"path": "t", "audience": audience, "expirationSeconds": lifetime_seconds}});
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "a", "projected": {"sources": [token("bank"), {"downwardAPI": {}}]}},
            ]},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_token_is_renewed_at_four_fifths_of_its_life_and_kept_while_servers_are_away() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1000).unwrap()));
        let mint = Arc::new(Mint::default());
        let source = Arc::new((mint.clone(), clock.clone()));
        let tokens = Tokens::new(source, clock.clone(), Arc::new(SeededEntropy::new(1)));
        let pod = pod(1000);
        let told = async || tokens.of_pod(&pod).await[&("bank".to_owned(), 1000)].clone();
        assert_eq!(told().await.as_deref(), Ok("bank-1"));
        clock.advance(Duration::from_secs(780));
        assert_eq!(told().await.as_deref(), Ok("bank-1"), "not old enough");
        clock.advance(Duration::from_secs(25));
        assert_eq!(told().await.as_deref(), Ok("bank-2"));
        *mint.fails.lock().unwrap() = true;
        clock.advance(Duration::from_secs(900));
        assert_eq!(told().await.as_deref(), Ok("bank-2"), "still good");
        clock.advance(Duration::from_secs(200));
        assert_eq!(told().await, Err("away".to_owned()), "expired");
        *mint.fails.lock().unwrap() = false;
        assert_eq!(told().await.as_deref(), Ok("bank-3"));
        tokens.forget("u");
        assert_eq!(told().await.as_deref(), Ok("bank-4"), "a new pod, a new token");
    }

    #[test]
    fn a_day_is_the_most_that_a_token_is_used() {
        let now = Timestamp::from_second(0).unwrap();
        let of = |seconds: u64| {
            let lifetime = Duration::from_secs(seconds);
            renewal(
                &IssuedToken { token: String::new(), expires_at: now + lifetime, lifetime },
                now,
                Duration::ZERO,
            )
            .as_second()
        };
        assert_eq!((of(3600), of(48 * 3600)), (2880, 86400));
    }
}
