//! Tokens with which a new node introduces itself: `<id>.<secret>`, kept as Secrets in `kube-system`.

use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinds::{meta, tree};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Identity;

pub(super) const NAMESPACE: &str = "kube-system";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
const ID_LEN: usize = 6;
const SECRET_LEN: usize = 16;
const GROUP_SUFFIX_LEN_MAX: usize = 256;

/// A text that has the form of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BootstrapToken<'a> {
    id: &'a str,
    secret: &'a str,
}

impl<'a> BootstrapToken<'a> {
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let (id, secret) = token.split_once('.')?;
        let is_of = |text: &str, len: usize| text.len() == len && text.bytes().all(is_plain);
        (is_of(id, ID_LEN) && is_of(secret, SECRET_LEN)).then_some(Self { id, secret })
    }

    /// The name of the Secret that would know it.
    pub(super) fn secret_name(&self) -> String {
        format!("bootstrap-token-{}", self.id)
    }

    /// Who it speaks for, if this is the Secret and it says so.
    pub(super) fn owner(&self, secret: &Value, now: Timestamp) -> Option<Identity> {
        let data = |key: &str| -> String {
            let encoded = tree::get(secret, "data").get(key).and_then(Value::as_str).unwrap_or_default();
            let bytes = STANDARD.decode(encoded).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let known = meta::deletion_timestamp(secret).is_none()
            && tree::text(secret, "type") == SECRET_TYPE
            // Digests differ at once or not at all: how long this takes tells nothing.
            && Sha256::digest(data("token-secret")) == Sha256::digest(self.secret)
            && data("token-id") == self.id
            && is_before(now, &data("expiration"))
            && data("usage-bootstrap-authentication") == "true";
        if !known {
            return None;
        }
        let extra = data("auth-extra-groups");
        let extra: Vec<&str> = extra.split(',').filter(|group| !group.is_empty()).collect();
        let groups: Vec<&str> = [GROUP].into_iter().chain(extra.iter().copied()).collect();
        let all_ours = extra.iter().all(|group| is_group(group));
        all_ours.then(|| Identity::known(format!("system:bootstrap:{}", self.id), &groups))
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// `system:bootstrappers:` and something.
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    rest.len() <= GROUP_SUFFIX_LEN_MAX
        && rest.bytes().all(|byte| is_plain(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().last().is_some_and(is_plain)
}

/// No time is never; one that cannot be read is past.
fn is_before(now: Timestamp, expiration: &str) -> bool {
    expiration.is_empty() || expiration.parse::<Timestamp>().is_ok_and(|expires| now < expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn secret(fields: &[(&str, &str)]) -> Value {
        let mut secret = json!({"type": SECRET_TYPE, "data": {}});
        let usual = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        for (key, value) in usual.iter().chain(fields) {
            secret["data"][*key] = STANDARD.encode(value).into();
        }
        secret
    }

    fn check(token: &str, fields: &[(&str, &str)], expected: Expect) {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let owner = BootstrapToken::parse(token).and_then(|token| token.owner(&secret(fields), now));
        let shown = owner.map(|who| format!("{} {}", who.user, who.groups.join(" ")));
        expected.assert_eq(&shown.unwrap_or_else(|| "nobody".to_owned()));
    }

    #[test]
    fn a_secret_says_whose_token_it_is() {
        let token = "abcdef.0123456789abcdef";
        check(token, &[], expect!["system:bootstrap:abcdef system:bootstrappers system:authenticated"]);
        check(
            token,
            &[("auth-extra-groups", "system:bootstrappers:team-a"), ("expiration", "2026-11-22T00:00:00Z")],
            expect![
                "system:bootstrap:abcdef system:bootstrappers system:bootstrappers:team-a system:authenticated"
            ],
        );
        check("abcdef.0123456789abcdeg", &[], expect!["nobody"]);
        check("ABCDEF.0123456789abcdef", &[], expect!["nobody"]);
        check(token, &[("expiration", "2026-11-20T00:00:00Z")], expect!["nobody"]);
        check(token, &[("expiration", "soon")], expect!["nobody"]);
        check(token, &[("usage-bootstrap-authentication", "yes")], expect!["nobody"]);
        check(token, &[("auth-extra-groups", "system:masters")], expect!["nobody"]);
        check(token, &[("token-id", "fedcba")], expect!["nobody"]);
    }
}
