//! Whether a container's image must be pulled before it starts. Pure.

/// What to do about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    /// It is there and may be used.
    Present,
    Needed,
    /// It is not there and must not be pulled: `ErrImageNeverPull`.
    Forbidden,
}

/// `policy` is the container's `imagePullPolicy`, or `None` for the default by tag.
pub(crate) fn decide(policy: Option<&str>, image: &str, present: bool) -> Pull {
    let policy = policy.unwrap_or(if is_latest(image) { "Always" } else { "IfNotPresent" });
    match (policy, present) {
        ("Always", _) | ("IfNotPresent", false) => Pull::Needed,
        ("Never", false) => Pull::Forbidden,
        _ => Pull::Present,
    }
}

/// The registry host of an image's name, `docker.io` when it has none.
pub(crate) fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// Kubernetes' rule for the default policy: no tag and no digest, or the tag `latest`.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// True for what can be an image's name: `InvalidImageName` otherwise.
pub(crate) fn is_valid_name(image: &str) -> bool {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let good_tag = tag.is_none_or(|tag| {
        !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    });
    let host = registry(path);
    let rest = path.strip_prefix(host).unwrap_or(path);
    let good_path = !path.is_empty()
        && !path.ends_with('/')
        && rest.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'/' | b'.' | b'_' | b'-' | b':')
        });
    good_tag && good_path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_follows_the_tag() {
        assert_eq!(decide(None, "localhost/web:1", true), Pull::Present);
        assert_eq!(decide(None, "localhost:5000/web", true), Pull::Needed);
        assert_eq!(decide(None, "web:latest", true), Pull::Needed);
        assert_eq!(decide(None, "web@sha256:00", true), Pull::Present);
        assert_eq!(decide(Some("Never"), "web", false), Pull::Forbidden);
        assert_eq!(decide(Some("IfNotPresent"), "web", false), Pull::Needed);
    }

    #[test]
    fn the_registry_is_the_first_part_when_it_looks_like_a_host() {
        assert_eq!(registry("nginx"), "docker.io");
        assert_eq!(registry("library/nginx:1"), "docker.io");
        assert_eq!(registry("localhost/web:1"), "localhost");
        assert_eq!(registry("127.0.0.1:5000/a/b"), "127.0.0.1:5000");
    }

    #[test]
    fn upper_case_and_empty_tags_are_no_names() {
        assert!(is_valid_name("localhost/web:1"));
        assert!(is_valid_name("Registry.Example:5000/web"));
        assert!(!is_valid_name("localhost/Web:1"));
        assert!(!is_valid_name("web:"));
        assert!(!is_valid_name(""));
    }
}
