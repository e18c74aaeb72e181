//! What a client and this node agree to speak, from the headers of the client's upgrade request. Pure.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::refusal::Refusal;
use super::websocket;

/// In which SPDY clients offer what they speak on top of it.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOL: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const REMOTE_COMMAND: &str = "v4.channel.k8s.io";
const PORT_FORWARD: &str = "portforward.k8s.io";
const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// The dialects of sessions over WebSocket, the best first.
const CHANNELS: &[(&str, Channels)] = &[
    ("v5.channel.k8s.io", Channels { can_end_input: true, base64: false }),
    ("v4.channel.k8s.io", Channels { can_end_input: false, base64: false }),
    ("v4.base64.channel.k8s.io", Channels { can_end_input: false, base64: true }),
];

/// A dialect of sessions over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    /// The client can say that the input has ended, without hanging up.
    pub(super) can_end_input: bool,
    /// All bytes are in base64.
    pub(super) base64: bool,
}

/// How a session is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionTransport {
    Spdy,
    WebSocket(Channels),
}

/// How ports are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortTransport {
    Spdy,
    /// SPDY inside WebSocket.
    Tunnel,
    /// Two channels for each port that the query names.
    WebSocket(Channels),
}

/// What was agreed on, and the headers that tell the client.
#[derive(Debug)]
pub(super) struct Agreed<T> {
    pub(super) transport: T,
    headers: HeaderMap,
}

impl<T> Agreed<T> {
    /// The answer, after which the connection speaks the other protocol.
    pub(super) fn switching<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// For exec and attach.
pub(super) fn for_session(request: &HeaderMap) -> Result<Agreed<SessionTransport>, Refusal> {
    if is_upgrade_to(request, "websocket") {
        let (name, channels) = choose(CHANNELS, &offered(request, &SEC_WEBSOCKET_PROTOCOL))?;
        return websocket(request, name, SessionTransport::WebSocket(channels));
    }
    spdy(request, &[(REMOTE_COMMAND, SessionTransport::Spdy)])
}

/// For port-forward.
pub(super) fn for_ports(request: &HeaderMap) -> Result<Agreed<PortTransport>, Refusal> {
    if is_upgrade_to(request, "websocket") {
        let channels = CHANNELS.iter().map(|(name, channels)| (*name, PortTransport::WebSocket(*channels)));
        // What v5 adds has no meaning here.
        let dialects: Vec<_> =
            std::iter::once((PORT_FORWARD_TUNNEL, PortTransport::Tunnel)).chain(channels.skip(1)).collect();
        let (name, transport) = choose(&dialects, &offered(request, &SEC_WEBSOCKET_PROTOCOL))?;
        return websocket(request, name, transport);
    }
    spdy(request, &[(PORT_FORWARD, PortTransport::Spdy)])
}

fn is_upgrade_to(request: &HeaderMap, protocol: &str) -> bool {
    let upgrade = request.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    upgrade.eq_ignore_ascii_case(protocol)
}

/// Each in a header of its own, or several in one.
fn offered(request: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|one| one.trim().to_owned()).collect()
}

fn choose<T: Copy>(spoken: &[(&'static str, T)], offered: &[String]) -> Result<(&'static str, T), Refusal> {
    let found = spoken.iter().find(|(name, _)| offered.iter().any(|offer| offer == name));
    found.copied().ok_or_else(|| Refusal::Protocol {
        offered: offered.join(" "),
        spoken: spoken.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "),
    })
}

fn websocket<T>(request: &HeaderMap, protocol: &'static str, transport: T) -> Result<Agreed<T>, Refusal> {
    let key = request.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let key = key.ok_or(Refusal::NoWebSocketKey)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::try_from(websocket::accept_key(key)) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(Agreed { transport, headers })
}

fn spdy<T: Copy>(request: &HeaderMap, spoken: &[(&'static str, T)]) -> Result<Agreed<T>, Refusal> {
    if !is_upgrade_to(request, "SPDY/3.1") {
        return Err(Refusal::NoUpgrade);
    }
    let (protocol, transport) = choose(spoken, &offered(request, &STREAM_PROTOCOL))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(Agreed { transport, headers })
}

/// The header that tells a refused client what would have been understood.
pub(crate) fn tell_spoken(response: &mut HeaderMap, spoken: &str) {
    for protocol in spoken.split(' ').filter_map(|protocol| HeaderValue::from_str(protocol).ok()) {
        response.append(ACCEPTED_PROTOCOL, protocol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        });
        pairs.collect()
    }

    #[test]
    fn the_best_dialect_that_both_know_is_spoken() {
        let cases = [
            ("v5.channel.k8s.io", "v5.channel.k8s.io"),
            ("channel.k8s.io, v4.base64.channel.k8s.io,v4.channel.k8s.io", "v4.channel.k8s.io"),
        ];
        for (offered, spoken) in cases {
            let request = headers(&[
                ("upgrade", "WebSocket"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-protocol", offered),
            ]);
            let agreed = for_session(&request).expect("agreed");
            let response: Response<String> = agreed.switching();
            assert_eq!(response.headers()["sec-websocket-protocol"], spoken);
            assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
        let old = headers(&[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4.channel.k8s.io")]);
        assert_eq!(for_session(&old).expect("agreed").transport, SessionTransport::Spdy);
        assert!(for_ports(&old).is_err(), "another protocol on the same transport");
        assert!(matches!(for_session(&HeaderMap::new()), Err(Refusal::NoUpgrade)));
    }

    #[test]
    fn ports_go_through_a_tunnel_or_channels() {
        let request = |offered| {
            headers(&[
                ("upgrade", "websocket"),
                ("sec-websocket-key", "x"),
                ("sec-websocket-protocol", offered),
            ])
        };
        let spoken = |offered| for_ports(&request(offered)).map(|agreed| agreed.transport).ok();
        assert_eq!(spoken("SPDY/3.1+portforward.k8s.io"), Some(PortTransport::Tunnel));
        let plain = Channels { can_end_input: false, base64: false };
        assert_eq!(spoken("v4.channel.k8s.io"), Some(PortTransport::WebSocket(plain)));
        assert_eq!(spoken("v5.channel.k8s.io"), None);
    }
}
