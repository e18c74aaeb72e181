//! Image names: what `nginx` means in full, and which registry to ask for it. Pure.

use std::fmt;

use super::digest::Digest;
use super::policy;

/// A name in full: registry, repository, and a tag or a digest. A digest beats a tag beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// As the name says it: `docker.io`, not the host that answers for it.
    host: String,
    repository: String,
    which: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tag(String),
    Digest(Digest),
}

impl Reference {
    /// `None` for what is no image's name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if !policy::is_valid_name(name) {
            return None;
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (name, None),
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, tag),
            _ => (rest, "latest"),
        };
        let host = policy::registry(rest);
        let path = rest.strip_prefix(host).and_then(|path| path.strip_prefix('/')).unwrap_or(rest);
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        let repository = if host == "docker.io" && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        // Empty parts and dots would change what the registry's URL means.
        if repository.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return None;
        }
        let which = digest.map_or_else(|| Version::Tag(tag.to_owned()), Version::Digest);
        Some(Self { host: host.to_owned(), repository, which })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    pub(crate) fn version(&self) -> &Version {
        &self.which
    }

    /// The same repository's content of this digest.
    pub(crate) fn with_digest(&self, digest: &Digest) -> Self {
        Self { which: Version::Digest(digest.clone()), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Version::Tag(tag) => write!(f, "{}/{}:{tag}", self.host, self.repository),
            Version::Digest(digest) => write!(f, "{}/{}@{digest}", self.host, self.repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_mean_docker_hub() {
        for (name, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.14", "docker.io/library/nginx:1.14"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest"),
            ("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
            ("docker.io/nginx:1", "docker.io/library/nginx:1"),
            ("localhost/web:1", "localhost/web:1"),
            ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
            ("localhost:5000/web", "localhost:5000/web:latest"),
        ] {
            assert_eq!(Reference::parse(name).unwrap().to_string(), full);
        }
    }

    #[test]
    fn a_digest_beats_a_tag() {
        let full = format!("docker.io/library/nginx@{DIGEST}");
        assert_eq!(Reference::parse(&format!("nginx:1@{DIGEST}")).unwrap().to_string(), full);
        assert_eq!(Reference::parse(&format!("nginx@{DIGEST}")).unwrap().to_string(), full);
    }

    #[test]
    fn names_that_would_change_the_url_are_none() {
        for name in ["a//b", "example.com/../x", "nginx@sha256:00", "nginx@md5:00", "example.com/", "A"] {
            assert_eq!(Reference::parse(name), None, "{name}");
        }
    }
}
