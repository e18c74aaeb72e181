//! Which credentials an image is pulled with, of those in the secrets that a pod names. Pure.
//!
//! Secrets and matching are the kubelet's (credentialprovider/keyring.go): a key is a host, perhaps with a port and the
//! beginning of a path, its labels may be globs; the most specific keys come first, and all that match are tried.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use proto::cri::AuthConfig;
use serde_json::{Map, Value};

/// What Docker Hub's credentials are kept under.
const DOCKER_HUB: &str = "index.docker.io";

/// In the order in which to try them.
pub(crate) fn credentials<'a>(secrets: impl IntoIterator<Item = &'a Secret>, image: &str) -> Vec<AuthConfig> {
    let mut known: Vec<(String, AuthConfig)> = secrets
        .into_iter()
        .flat_map(entries)
        .filter_map(|(key, entry)| Some((normal(&key), credential(&entry)?)))
        .collect();
    known.sort_by(|(one, _), (other, _)| other.cmp(one));
    let matching = |fits: &dyn Fn(&str) -> bool| -> Vec<AuthConfig> {
        known.iter().filter(|(key, _)| fits(key)).map(|(_, credential)| credential.clone()).collect()
    };
    let found = matching(&|key| matches(key, image));
    if found.is_empty() && is_of_docker_hub(image) {
        matching(&|key| key.starts_with(DOCKER_HUB))
    } else {
        found
    }
}

/// Both types of secrets for registries.
fn entries(secret: &Secret) -> Map<String, Value> {
    let read =
        |key: &str| -> Option<Value> { serde_json::from_slice(&secret.data.as_ref()?.get(key)?.0).ok() };
    let new = read(".dockerconfigjson").and_then(|mut config| config.get_mut("auths").map(Value::take));
    match new.or_else(|| read(".dockercfg")) {
        Some(Value::Object(entries)) => entries,
        _ => Map::new(),
    }
}

/// User and password, together in `auth` or one by one.
fn credential(entry: &Value) -> Option<AuthConfig> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let together = STANDARD.decode(text("auth").trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match together.as_deref().and_then(|text| text.split_once(':')) {
        Some((username, password)) => (username.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (text("username"), text("password")),
    };
    let is_empty = username.is_empty() && password.is_empty();
    (!is_empty).then(|| AuthConfig { username, password, ..AuthConfig::default() })
}

/// Without scheme, and without the version of the registry's protocol.
fn normal(key: &str) -> String {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = ["v1/", "v2/"].iter().find_map(|version| path.strip_prefix(version)).unwrap_or(path);
    match path.trim_end_matches('/') {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

fn matches(key: &str, image: &str) -> bool {
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let (image_host, image_path) = image.split_once('/').unwrap_or((image, ""));
    let port = |host: &str| host.split_once(':').map(|(_, port)| port.to_owned());
    let labels = |host: &str| -> Vec<String> {
        host.split(':').next().unwrap_or_default().split('.').map(str::to_owned).collect()
    };
    let (globs, parts) = (labels(host), labels(image_host));
    port(host) == port(image_host)
        && globs.len() == parts.len()
        && globs.iter().zip(&parts).all(|(glob, part)| glob_matches(glob, part))
        && image_path.starts_with(path)
}

/// `*` stands for any characters.
fn glob_matches(glob: &str, text: &str) -> bool {
    let Some((before, after)) = glob.split_once('*') else { return glob == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.any(|at| glob_matches(after, &rest[at..]))
}

fn is_of_docker_hub(image: &str) -> bool {
    match image.split_once('/') {
        None => true,
        Some(("docker.io" | DOCKER_HUB, _)) => true,
        Some((first, _)) => !first.contains(['.', ':']),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn secret(key: &str, content: &Value) -> Secret {
        let data = [(key.to_owned(), ByteString(content.to_string().into_bytes()))].into();
        Secret { data: Some(data), ..Secret::default() }
    }

    fn users(auths: Value, image: &str) -> Vec<String> {
        let secret = secret(".dockerconfigjson", &json!({"auths": auths}));
        credentials([&secret], image).into_iter().map(|credential| credential.username).collect()
    }

    #[test]
    fn the_most_specific_key_is_tried_first() {
        let user = |name: &str| json!({"username": name, "password": "p"});
        let auths = json!({
            "registry.example": user("any"), "https://registry.example/v2/team": user("team"),
            "registry.example:5000": user("port"), "*.example": user("glob"), "other.example": user("other"),
        });
        assert_eq!(users(auths.clone(), "registry.example/team/app:1"), ["team", "any", "glob"]);
        assert_eq!(users(auths.clone(), "registry.example/app"), ["any", "glob"]);
        assert_eq!(users(auths.clone(), "registry.example:5000/app"), ["port"]);
        assert_eq!(users(auths, "deep.registry.example/app"), Vec::<String>::new());
    }

    #[test]
    fn docker_hub_has_many_names() {
        let auths = json!({"https://index.docker.io/v1/": {"auth": STANDARD.encode("me:secret")}});
        for image in ["busybox", "team/app:1", "docker.io/team/app"] {
            assert_eq!(users(auths.clone(), image), ["me"], "{image}");
        }
        assert_eq!(users(auths, "registry.example/app"), Vec::<String>::new());
    }

    #[test]
    fn the_old_type_of_secret_works_and_nonsense_is_passed_over() {
        let old = secret(".dockercfg", &json!({"registry.example": {"username": "u", "password": "p"}}));
        let nonsense = secret(".dockerconfigjson", &json!({"auths": [1]}));
        let empty = secret(".dockerconfigjson", &json!({"auths": {"registry.example": {"auth": "%%"}}}));
        let found = credentials([&nonsense, &empty, &old], "registry.example/app");
        let expected = AuthConfig { username: "u".into(), password: "p".into(), ..AuthConfig::default() };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn globs() {
        for (glob, text, fits) in
            [("a*c", "abbc", true), ("*", "", true), ("a*b*c", "aXbYc", true), ("a*", "b", false)]
        {
            assert_eq!(glob_matches(glob, text), fits, "{glob} {text}");
        }
    }
}
