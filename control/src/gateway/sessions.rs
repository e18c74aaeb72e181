//! What each node already knows, so that an answer holds only the news. Pure but for one lock.
//!
//! A cursor that this server did not give, or gave to another instance of the agent, gets everything: the
//! state here is a saving, never the truth.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Service};
use proto::agent::{Object, ObjectId, PollRequest, PollResponse, Settings};

use super::peers::{Page, PeerNews};

/// Kind, namespace and name.
pub(crate) type Place = (i32, String, String);

/// Everything that a node should know now, but for its peers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) objects: BTreeMap<Place, WantedObject>,
    pub(crate) settings: Settings,
}

/// One object, not yet encoded: most polls need none of them.
#[derive(Clone, Debug)]
pub(crate) struct WantedObject {
    pub(crate) id: ObjectId,
    pub(crate) resource_version: String,
    pub(crate) object: Source,
}

/// Where an object is.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Pod(Arc<Pod>),
    Service(Arc<Service>),
    Claim(Arc<PersistentVolumeClaim>),
    Volume(Arc<PersistentVolume>),
    /// In no cache; it is read before it is sent.
    Unread,
    /// As JSON.
    Read(Bytes),
}

impl Source {
    /// The object as JSON, if it is known. What a cache decoded can be encoded again.
    fn json(&self) -> Option<Bytes> {
        let json = match self {
            Self::Pod(pod) => serde_json::to_vec(pod),
            Self::Service(service) => serde_json::to_vec(service),
            Self::Claim(claim) => serde_json::to_vec(claim),
            Self::Volume(volume) => serde_json::to_vec(volume),
            Self::Unread => return None,
            Self::Read(json) => return Some(json.clone()),
        };
        Some(json.unwrap_or_default().into())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    nodes: Mutex<BTreeMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    instance: String,
    cursor: i64,
    /// uid and resourceVersion of what was sent.
    sent: BTreeMap<Place, (String, String)>,
    /// How far the node has read of its peers.
    page: Page,
    settings: Settings,
}

impl Sessions {
    /// Whether this request goes on where an answer of ours ended.
    pub(crate) fn continues(&self, request: &PollRequest) -> bool {
        self.lock().get(&request.node).is_some_and(|session| session.is_at(request))
    }

    /// How far the node has read of its peers; 0 when this request does not go on where an answer of ours ended.
    pub(crate) fn page(&self, request: &PollRequest) -> Page {
        self.lock()
            .get(&request.node)
            .filter(|session| session.is_at(request))
            .map_or(0, |session| session.page)
    }

    /// What has to be read before it can be in the answer.
    pub(crate) fn unread(&self, request: &PollRequest, wanted: &Wanted) -> Vec<Place> {
        let nodes = self.lock();
        let known = nodes.get(&request.node).filter(|session| session.is_at(request));
        let unread = |(place, object): &(&Place, &WantedObject)| {
            matches!(object.object, Source::Unread) && is_news(known, place, object)
        };
        wanted.objects.iter().filter(unread).map(|(place, _)| place.clone()).collect()
    }

    /// The answer, if there is news: of objects, settings or, as the caller knows, of peers.
    pub(crate) fn answer(
        &self,
        request: &PollRequest,
        wanted: Wanted,
        peers: Option<PeerNews>,
    ) -> Option<PollResponse> {
        let mut nodes = self.lock();
        let known = nodes.get(&request.node).filter(|session| session.is_at(request));
        let changed: Vec<Object> = wanted
            .objects
            .iter()
            .filter(|(place, object)| is_news(known, place, object))
            .filter_map(|(_, object)| {
                Some(Object { id: Some(object.id.clone()), json: object.object.json()? })
            })
            .collect();
        // The node has polled here twice at once; it asks again for what it lacks.
        let unread = |(place, object): (&Place, &WantedObject)| {
            (matches!(object.object, Source::Unread) && is_news(known, place, object)).then(|| place.clone())
        };
        let unread: Vec<Place> = wanted.objects.iter().filter_map(unread).collect();
        let unchanged = known.is_some_and(|session| {
            changed.is_empty()
                && peers.is_none()
                && session.sent.len() == wanted.objects.len()
                && session.settings == wanted.settings
        });
        if unchanged {
            return None;
        }
        let cursor = request.seen_revision.max(known.map_or(0, |session| session.cursor)) + 1;
        let page =
            peers.as_ref().map(|news| news.page).or(known.map(|session| session.page)).unwrap_or_default();
        let answer = PollResponse { changed, ..frame(cursor, &wanted, peers) };
        let mut session = Session::after(request, cursor, page, wanted);
        session.sent.retain(|place, _| !unread.contains(place));
        nodes.insert(request.node.clone(), session);
        Some(answer)
    }

    /// No news: the same cursor again. `peers` are for an agent that wants all of them each time.
    pub(crate) fn empty_answer(&self, cursor: i64, wanted: &Wanted, peers: Option<PeerNews>) -> PollResponse {
        frame(cursor, wanted, peers)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the node has not been sent this yet.
fn is_news(known: Option<&Session>, place: &Place, object: &WantedObject) -> bool {
    known.and_then(|session| session.sent.get(place)).is_none_or(|(uid, resource_version)| {
        *uid != object.id.uid || *resource_version != object.resource_version
    })
}

impl Session {
    fn is_at(&self, request: &PollRequest) -> bool {
        request.seen_revision != 0
            && self.cursor == request.seen_revision
            && self.instance == request.instance
    }

    fn after(request: &PollRequest, cursor: i64, page: Page, wanted: Wanted) -> Self {
        let sent =
            wanted.objects.into_iter().map(|(key, object)| (key, (object.id.uid, object.resource_version)));
        Self {
            instance: request.instance.clone(),
            cursor,
            sent: sent.collect(),
            page,
            settings: wanted.settings,
        }
    }
}

/// All of an answer but the objects that changed.
fn frame(cursor: i64, wanted: &Wanted, peers: Option<PeerNews>) -> PollResponse {
    let peers = peers.unwrap_or_default();
    PollResponse {
        revision: cursor,
        changed: Vec::new(),
        live: wanted.objects.values().map(|object| object.id.clone()).collect(),
        peers: peers.peers,
        settings: Some(wanted.settings.clone()),
        peers_are_changes: !peers.is_all,
        peers_gone: peers.gone,
        repeat_node: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pods: &[(&str, &str)]) -> Wanted {
        let objects = pods.iter().map(|(name, resource_version)| {
            let id =
                ObjectId { kind: 1, namespace: "d".into(), name: (*name).into(), uid: format!("u-{name}") };
            let object = WantedObject {
                id,
                resource_version: (*resource_version).into(),
                object: Source::Pod(Arc::default()),
            };
            ((1, "d".to_owned(), (*name).to_owned()), object)
        });
        Wanted { objects: objects.collect(), ..Wanted::default() }
    }

    fn poll(instance: &str, seen_revision: i64) -> PollRequest {
        PollRequest {
            node: "n".into(),
            instance: instance.into(),
            seen_revision,
            takes_peer_changes: true,
            peers_digest: None,
        }
    }

    fn names(answer: &PollResponse) -> Vec<&str> {
        answer.changed.iter().filter_map(|object| object.id.as_ref()).map(|id| id.name.as_str()).collect()
    }

    #[test]
    fn an_answer_holds_only_the_news() {
        let sessions = Sessions::default();
        let first = sessions.answer(&poll("i", 0), wanted(&[("a", "1"), ("b", "1")]), None).unwrap();
        assert_eq!(names(&first), ["a", "b"]);
        assert!(
            sessions.answer(&poll("i", first.revision), wanted(&[("a", "1"), ("b", "1")]), None).is_none()
        );
        let second =
            sessions.answer(&poll("i", first.revision), wanted(&[("a", "2"), ("b", "1")]), None).unwrap();
        assert_eq!(names(&second), ["a"]);
        assert_eq!(second.live.len(), 2);
    }

    #[test]
    fn what_is_unread_is_sent_once_it_is_read() {
        let sessions = Sessions::default();
        let with = |object| {
            let mut wanted = wanted(&[("a", "1"), ("b", "1")]);
            wanted.objects.values_mut().next().expect("a").object = object;
            wanted
        };
        let place = (1, "d".to_owned(), "a".to_owned());
        assert_eq!(sessions.unread(&poll("i", 0), &with(Source::Unread)), std::slice::from_ref(&place));
        let first = sessions.answer(&poll("i", 0), with(Source::Unread), None).unwrap();
        assert_eq!((names(&first), first.live.len()), (vec!["b"], 2));
        let at = poll("i", first.revision);
        assert_eq!(sessions.unread(&at, &with(Source::Unread)), [place]);
        let second = sessions.answer(&at, with(Source::Read(Bytes::from_static(b"{}"))), None).unwrap();
        assert_eq!(names(&second), ["a"]);
        let at = poll("i", second.revision);
        assert_eq!(sessions.unread(&at, &with(Source::Unread)), []);
        assert!(sessions.answer(&at, with(Source::Unread), None).is_none());
    }

    #[test]
    fn what_is_gone_is_news() {
        let sessions = Sessions::default();
        let first = sessions.answer(&poll("i", 0), wanted(&[("a", "1"), ("b", "1")]), None).unwrap();
        let second = sessions.answer(&poll("i", first.revision), wanted(&[("a", "1")]), None).unwrap();
        assert!(names(&second).is_empty());
        assert_eq!(second.live.len(), 1);
    }

    #[test]
    fn a_cursor_of_somebody_else_gets_everything() {
        let sessions = Sessions::default();
        let first = sessions.answer(&poll("i", 0), wanted(&[("a", "1")]), None).unwrap();
        for stranger in [poll("j", first.revision), poll("i", first.revision + 7), poll("i", 0)] {
            assert!(!sessions.continues(&stranger));
        }
        assert!(sessions.continues(&poll("i", first.revision)));
        let again = sessions.answer(&poll("j", first.revision), wanted(&[("a", "1")]), None).unwrap();
        assert_eq!(names(&again), ["a"]);
        assert!(again.revision > first.revision);
    }

    #[test]
    fn news_of_peers_are_an_answer_and_told_once() {
        let sessions = Sessions::default();
        let news = |page, is_all| Some(PeerNews { page, is_all, ..PeerNews::default() });
        let first = sessions.answer(&poll("i", 0), Wanted::default(), news(4, true)).unwrap();
        assert!(!first.peers_are_changes);
        assert_eq!((sessions.page(&poll("i", first.revision)), sessions.page(&poll("i", 0))), (4, 0));
        assert!(sessions.answer(&poll("i", first.revision), Wanted::default(), None).is_none());
        let second = sessions.answer(&poll("i", first.revision), Wanted::default(), news(5, false)).unwrap();
        assert!(second.peers_are_changes);
        let third = sessions.answer(&poll("i", second.revision), wanted(&[("a", "1")]), None).unwrap();
        assert_eq!(sessions.page(&poll("i", third.revision)), 5);
    }

    #[test]
    fn a_first_answer_comes_even_when_nothing_is_wanted() {
        let sessions = Sessions::default();
        assert!(sessions.answer(&poll("i", 0), Wanted::default(), None).is_some());
    }
}
