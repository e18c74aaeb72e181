//! What of the headers concerns one hop only, what tells the backend who asks, and links that would lead out.
//!
//! Pure. The rules are those of Go's `httputil.ReverseProxy` (RFC 9110, section 7.6.1) and of Kubernetes' transport
//! above it.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPECT,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::target::clean;

static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// What this server says of itself, no backend says of it.
static OURS: [HeaderName; 4] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const IMPERSONATION: &str = "impersonate-";

/// A request's headers, without what was meant for this server.
pub(super) fn to_backend(headers: &HeaderMap, from: Option<IpAddr>, uri: &str) -> HeaderMap {
    let upgrade = headers.get(UPGRADE).cloned();
    let takes_trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    let mut sent = headers.clone();
    remove_hop(&mut sent);
    // The body is asked for already.
    sent.remove(EXPECT);
    sent.remove(AUTHORIZATION);
    let personal: Vec<HeaderName> =
        sent.keys().filter(|name| name.as_str().starts_with(IMPERSONATION)).cloned().collect();
    for name in personal {
        sent.remove(name);
    }
    if let Some(protocol) = upgrade {
        sent.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        sent.insert(UPGRADE, protocol);
    }
    if takes_trailers {
        sent.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(from) = from {
        let known: Vec<&str> =
            headers.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        let own = from.to_canonical().to_string();
        let all = known.into_iter().chain([own.as_str()]).collect::<Vec<_>>().join(", ");
        if let Ok(all) = HeaderValue::try_from(all) {
            sent.insert(FORWARDED_FOR, all);
        }
    }
    if let Ok(uri) = HeaderValue::try_from(uri) {
        sent.insert(FORWARDED_URI, uri);
    }
    sent
}

/// Removes of an answer's headers what concerns the backend's connection, and what only this server may say.
pub(super) fn to_client(headers: &mut HeaderMap) {
    remove_hop(headers);
    for name in &OURS {
        headers.remove(name);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
}

pub(super) fn is_html(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim() == "text/html"
}

fn remove_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        tokens(headers, &CONNECTION).filter_map(|token| HeaderName::try_from(token).ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Where the backend is for the client, and where it thinks that it is.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// The path up to `proxy`.
    pub(super) prefix: String,
    /// As the client called this server.
    pub(super) host: String,
    /// As the backend may call itself.
    pub(super) backend: String,
}

impl Links {
    /// A link of the backend, so that it leads to the backend also from outside. Links to elsewhere, and relative ones,
    /// stay as they are.
    pub(super) fn rewritten(&self, link: &str) -> String {
        let Parts { scheme, host, path, tail } = Parts::of(link);
        let is_elsewhere = host.is_some_and(|host| host != self.backend && host != self.host);
        if is_elsewhere || !path.starts_with('/') || (host.is_none() && !scheme.is_empty()) {
            return link.to_owned();
        }
        let origin = match host {
            Some(host) if host == self.host => format!("{scheme}//{host}"),
            Some(_) | None => String::new(),
        };
        let below = path.strip_prefix(&self.prefix);
        if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
            return format!("{origin}{path}{tail}");
        }
        format!("{origin}{}{}{tail}", self.prefix, clean(path))
    }
}

/// A link, cut as RFC 3986 does.
struct Parts<'a> {
    /// With its colon.
    scheme: &'a str,
    host: Option<&'a str>,
    path: &'a str,
    /// Query and fragment.
    tail: &'a str,
}

impl<'a> Parts<'a> {
    fn of(link: &'a str) -> Self {
        let end = link.find(['?', '#']).unwrap_or(link.len());
        let (rest, tail) = link.split_at(end);
        let colon = rest.find(':').filter(|colon| {
            let scheme = &rest[..*colon];
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '+' | '-' | '.'))
        });
        let (scheme, rest) = rest.split_at(colon.map_or(0, |colon| colon + 1));
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(host), path)
            }
            None => (None, rest),
        };
        Self { scheme, host, path, tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    fn check(headers: &HeaderMap, expected: Expect) {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
        lines.sort();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn what_was_meant_for_this_server_stays_here() {
        let asked = headers(&[
            ("authorization", "Bearer x"),
            ("impersonate-user", "ann"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "192.0.2.7"),
        ]);
        let from = Some("::ffff:10.0.0.1".parse().unwrap());
        check(
            &to_backend(&asked, from, "/api/v1/x/proxy/a"),
            expect![[r#"
                cookie: a=b
                te: trailers
                x-forwarded-for: 192.0.2.7, 10.0.0.1
                x-forwarded-uri: /api/v1/x/proxy/a
            "#]],
        );
    }

    #[test]
    fn an_upgrade_goes_on() {
        let asked =
            headers(&[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")]);
        check(
            &to_backend(&asked, None, "/p/"),
            expect![[r#"
                connection: Upgrade
                sec-websocket-key: k
                upgrade: websocket
                x-forwarded-uri: /p/
            "#]],
        );
    }

    #[test]
    fn an_answer_keeps_what_it_says_of_itself() {
        let mut answer = headers(&[
            ("access-control-allow-origin", "*"),
            ("connection", "keep-alive"),
            ("content-type", "text/html; charset=utf-8"),
            ("keep-alive", "timeout=5"),
            ("set-cookie", "a=b"),
            ("transfer-encoding", "chunked"),
        ]);
        to_client(&mut answer);
        assert!(is_html(&answer));
        check(
            &answer,
            expect![[r#"
                cache-control: no-cache, private
                content-type: text/html; charset=utf-8
                set-cookie: a=b
            "#]],
        );
    }

    #[test]
    fn links_to_the_backend_lead_through_the_proxy() {
        let links = Links {
            prefix: "/api/v1/namespaces/d/pods/p/proxy".to_owned(),
            host: "localhost:8001".to_owned(),
            backend: "10.0.0.7:80".to_owned(),
        };
        let mut shown = String::new();
        for link in [
            "/",
            "/a/b/?x=/y#z",
            "/a/../b",
            "a/b",
            "?x",
            "#z",
            "http://10.0.0.7:80/login",
            "https://localhost:8001/login/",
            "//localhost:8001/x",
            "http://elsewhere/x",
            "//elsewhere/x",
            "mailto:a@b",
            "javascript:/x",
            "/api/v1/namespaces/d/pods/p/proxy/done",
        ] {
            shown += &format!("{link} -> {}\n", links.rewritten(link));
        }
        expect![[r#"
            / -> /api/v1/namespaces/d/pods/p/proxy/
            /a/b/?x=/y#z -> /api/v1/namespaces/d/pods/p/proxy/a/b/?x=/y#z
            /a/../b -> /api/v1/namespaces/d/pods/p/proxy/b
            a/b -> a/b
            ?x -> ?x
            #z -> #z
            http://10.0.0.7:80/login -> /api/v1/namespaces/d/pods/p/proxy/login
            https://localhost:8001/login/ -> https://localhost:8001/api/v1/namespaces/d/pods/p/proxy/login/
            //localhost:8001/x -> //localhost:8001/api/v1/namespaces/d/pods/p/proxy/x
            http://elsewhere/x -> http://elsewhere/x
            //elsewhere/x -> //elsewhere/x
            mailto:a@b -> mailto:a@b
            javascript:/x -> javascript:/x
            /api/v1/namespaces/d/pods/p/proxy/done -> /api/v1/namespaces/d/pods/p/proxy/done
        "#]]
        .assert_eq(&shown);
    }
}
