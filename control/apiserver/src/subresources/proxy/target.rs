//! The words of a proxied path: who is meant, and what follows.
//!
//! Pure. `[<scheme>:]<name>[:<port>]`, in which a scheme needs the second colon, as Kubernetes reads it.

use kinds::Kind;

use crate::status::Status;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) tls: bool,
    pub(super) name: String,
    /// A number or a name; empty when none was said.
    pub(super) port: String,
}

impl Target {
    pub(super) fn parse(text: &str, kind: &Kind) -> Result<Self, Status> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => ("", "", ""),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(Status::bad_request(format!("invalid {} request {text:?}", kind.singular)));
        }
        Ok(Self { tls: scheme == "https", name: name.to_owned(), port: port.to_owned() })
    }
}

/// The path up to `proxy`, and what follows it: nothing, or a path that begins with a slash.
pub(super) fn split(path: &str, namespaced: bool) -> (&str, &str) {
    // api, v1, namespaces, <namespace>, pods, <name>, proxy
    let segments = if namespaced { 7 } else { 5 };
    let mut end = path.len() - path.trim_start_matches('/').len();
    for _ in 0..segments {
        end = path[end..].find('/').map_or(path.len(), |slash| end + slash + 1);
    }
    let prefix = path[..end].trim_end_matches('/');
    (prefix, &path[prefix.len()..])
}

/// Without dots and doubled slashes, as Go's `path.Join` leaves it: nothing leads out of what it follows.
pub(super) fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_name_and_may_have_scheme_and_port() {
        let shown = |text: &str| match Target::parse(text, &kinds::core::pod::POD) {
            Ok(Target { tls, name, port }) => format!("{}{name} {port}", if tls { "tls " } else { "" }),
            Err(status) => status.message().to_owned(),
        };
        assert_eq!(shown("web"), "web ");
        assert_eq!(shown("web:8080"), "web 8080");
        assert_eq!(shown("web:http"), "web http");
        assert_eq!(shown("https:web:"), "tls web ");
        assert_eq!(shown("https:web:443"), "tls web 443");
        assert_eq!(shown("http:web:80"), "web 80");
        assert_eq!(shown(":web:"), "web ");
        for bad in ["", ":80", "ftp:web:21", "a:b:c:d", "https::443"] {
            assert_eq!(shown(bad), format!("invalid pod request {bad:?}"));
        }
    }

    #[test]
    fn what_follows_begins_with_a_slash() {
        let pods = "/api/v1/namespaces/default/pods/web:80/proxy";
        assert_eq!(split(pods, true), (pods, ""));
        assert_eq!(split(&format!("{pods}/"), true), (pods, "/"));
        assert_eq!(split(&format!("{pods}/a/b%2Fc/"), true), (pods, "/a/b%2Fc/"));
        assert_eq!(split(&format!("{pods}//a"), true), (pods, "//a"));
        assert_eq!(split("/api/v1/nodes/n/proxy/metrics", false), ("/api/v1/nodes/n/proxy", "/metrics"));
    }

    #[test]
    fn nothing_leads_out() {
        assert_eq!(clean(""), "/");
        assert_eq!(clean("/"), "/");
        assert_eq!(clean("/a/b"), "/a/b");
        assert_eq!(clean("/a/b/"), "/a/b/");
        assert_eq!(clean("//a//b"), "/a/b");
        assert_eq!(clean("/a/../../b/./c"), "/b/c");
        assert_eq!(clean("/a/%2e%2E/b"), "/b");
        assert_eq!(clean("/a/.."), "/");
        assert_eq!(clean("/a%2Fb"), "/a%2Fb");
    }
}
