//! How a registry is told who asks: its challenges, and the token services that they name.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use proto::cri::AuthConfig;
use serde::Deserialize;

use super::endpoint::{Endpoint, refused};
use super::{RegistryError, RequestError};

const TOKEN_ANSWER_BYTES_MAX: u64 = 1 << 20;
const CLIENT: &str = "navarch";

/// What a pod's secrets say of a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    Nobody,
    Password {
        user: String,
        password: String,
    },
    /// To be changed into an access token.
    Refresh(String),
    /// An access token.
    Token(String),
}

/// One entry of `WWW-Authenticate`.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    /// In lower case.
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Login {
    /// The error says what is wrong with the secret.
    pub(super) fn of(auth: Option<&AuthConfig>) -> Result<Self, String> {
        let Some(auth) = auth else { return Ok(Self::Nobody) };
        if !auth.registry_token.is_empty() {
            return Ok(Self::Token(auth.registry_token.clone()));
        }
        if !auth.identity_token.is_empty() {
            return Ok(Self::Refresh(auth.identity_token.clone()));
        }
        if !auth.username.is_empty() {
            return Ok(Self::Password { user: auth.username.clone(), password: auth.password.clone() });
        }
        if auth.auth.is_empty() {
            return Ok(Self::Nobody);
        }
        let decoded = STANDARD_NO_PAD.decode(auth.auth.trim_end_matches('='));
        let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = text
            .as_deref()
            .and_then(|text| text.split_once(':'))
            .ok_or("the secret's auth is not base64 of user:password")?;
        Ok(Self::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
    }

    /// What to say before being asked.
    pub(super) fn at_once(&self) -> Option<HeaderValue> {
        match self {
            Self::Token(token) => bearer(token),
            Self::Nobody | Self::Password { .. } | Self::Refresh(_) => None,
        }
    }

    fn basic(&self) -> Option<HeaderValue> {
        match self {
            Self::Password { user, password } => {
                secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Self::Nobody | Self::Refresh(_) | Self::Token(_) => None,
        }
    }
}

impl Endpoint {
    /// The answer to a challenge; `None` when there is none that could help.
    pub(super) async fn authorize(
        &self,
        url: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if matches!(self.login, Login::Token(_)) {
            return Ok(None);
        }
        let challenges: Vec<Challenge> = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse)
            .collect();
        if let Some(challenge) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            return self.token(url, challenge).await.map(Some);
        }
        let basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
        Ok(self.login.basic().filter(|_| basic))
    }

    async fn token(&self, url: &Uri, challenge: &Challenge) -> Result<HeaderValue, RegistryError> {
        let bad = |problem: String| RegistryError::Challenge { problem };
        let realm = challenge.get("realm").unwrap_or_default();
        let service = Uri::try_from(realm).ok();
        let service = service
            .filter(|at| matches!(at.scheme_str(), Some("http" | "https")) && at.host().is_some())
            .ok_or_else(|| bad(format!("the realm {realm:?} is no address of a token service")))?;
        if url.scheme_str() == Some("https") && service.scheme_str() != Some("https") {
            return Err(bad(format!("the realm {realm:?} would see the credentials without TLS")));
        }
        let own = format!("repository:{}:pull", self.repository);
        let scope = challenge.get("scope").unwrap_or(&own);
        let mut fields = vec![("scope", scope)];
        fields.extend(challenge.get("service").map(|service| ("service", service)));
        let (kind, answer) = match &self.login {
            Login::Refresh(token) => {
                fields.extend([
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token),
                    ("client_id", CLIENT),
                ]);
                ("oauth", self.ask_service(&service, HeaderMap::new(), Some(form(&fields))).await)
            }
            login => {
                let basic = login.basic().map(|value| (header::AUTHORIZATION, value));
                let kind = if basic.is_some() { "oauth" } else { "anonymous" };
                let joint = if realm.contains('?') { '&' } else { '?' };
                let at = Uri::try_from(format!("{realm}{joint}{}", form(&fields)));
                let at = at.map_err(RequestError::from)?;
                (kind, self.ask_service(&at, HeaderMap::from_iter(basic), None).await)
            }
        };
        let token = answer.map_err(|source| RegistryError::Token { kind, source: Box::new(source) })?;
        bearer(&token).ok_or_else(|| bad("the token cannot be sent".to_owned()))
    }

    async fn ask_service(
        &self,
        url: &Uri,
        headers: HeaderMap,
        form: Option<String>,
    ) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let answer = self.dialer.ask(url, headers, form).await?;
        if answer.status != StatusCode::OK {
            return Err(refused(url, answer.status));
        }
        let bytes = self.whole(answer, url, TOKEN_ANSWER_BYTES_MAX).await?;
        let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
        let token = answer.map(|a| if a.token.is_empty() { a.access_token } else { a.token });
        let token = token.filter(|token| !token.is_empty());
        token.ok_or_else(|| RegistryError::NoToken { url: url.to_string() })
    }
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `Bearer realm="https://…",scope="a,b", Basic realm="x"`: one header may hold several.
fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let word = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        if let Some(value) = rest.strip_prefix('=') {
            let (value, after) = parse_value(value.trim_start());
            rest = after;
            if let Some(challenge) = challenges.last_mut() {
                challenge.parameters.push((word, value));
            }
        } else if !word.is_empty() {
            challenges.push(Challenge { scheme: word, parameters: Vec::new() });
        }
        rest = rest.trim_start_matches([' ', ',']);
    }
    challenges
}

fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        text.bytes().map(|b| if kept(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        let one = |challenge: Challenge| {
            let parameters: Vec<_> = challenge.parameters.iter().map(|(k, v)| format!("{k}:{v}")).collect();
            format!("{}[{}]", challenge.scheme, parameters.join(" "))
        };
        parse(text).into_iter().map(one).collect()
    }

    #[test]
    fn challenges_are_read_whatever_their_order_and_quotes() {
        for (text, wanted) in [
            (
                r#"Bearer realm="https://a/token",service="b",scope="r:x:pull,push""#,
                "bearer[realm:https://a/token service:b scope:r:x:pull,push]",
            ),
            (r#"Basic realm="a \"b\"""#, r#"basic[realm:a "b"]"#),
            (r#"Basic realm="x", Bearer realm=y"#, "basic[realm:x]bearer[realm:y]"),
            ("Negotiate", "negotiate[]"),
            (r#"Bearer realm="open"#, "bearer[realm:open]"),
            ("", ""),
            (", =x", ""),
        ] {
            assert_eq!(parsed(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_secret_names_a_user_in_one_of_four_ways() {
        let auth = |auth: &str| AuthConfig { auth: auth.to_owned(), ..AuthConfig::default() };
        let password = |user: &str, password: &str| {
            Ok(Login::Password { user: user.to_owned(), password: password.to_owned() })
        };
        assert!(Login::of(None) == Ok(Login::Nobody));
        assert!(Login::of(Some(&auth(""))) == Ok(Login::Nobody));
        assert!(Login::of(Some(&auth("dTpwOnE="))) == password("u", "p:q"));
        assert!(Login::of(Some(&auth("???"))).is_err());
        let named = AuthConfig { username: "a".to_owned(), password: "b".to_owned(), ..auth("???") };
        assert!(Login::of(Some(&named)) == password("a", "b"));
        let token = AuthConfig { registry_token: "t".to_owned(), ..auth("") };
        assert!(Login::of(Some(&token)) == Ok(Login::Token("t".to_owned())));
        let refresh = AuthConfig { identity_token: "t".to_owned(), ..auth("") };
        assert!(Login::of(Some(&refresh)) == Ok(Login::Refresh("t".to_owned())));
    }
}
