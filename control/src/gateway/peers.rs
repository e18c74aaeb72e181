//! The pod networks of all nodes, with what changed since when: every node knows all others, so an answer holds only
//! the news, and news come together.
//!
//! The book is pure; its task hands out snapshots, the more rarely the more nodes there are: while thousands join, each
//! of them would otherwise be told of each of the others one by one. Between two snapshots every node has a moment of its
//! own for the news, so that thousands are not told at once.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::agent::Peer;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Between two snapshots, for each node that there is: with 5,000, news wait for up to ten seconds.
const PAUSE_PER_NODE: Duration = Duration::from_millis(2);
/// Nodes that are gone and still remembered. Who has not heard for longer is told everything.
const GONE_MAX: usize = 1024;

/// How far somebody has read; 0: nothing.
pub(crate) type Page = u64;

/// What is news to somebody.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PeerNews {
    /// Up to here.
    pub(crate) page: Page,
    /// All peers that there are, or only those that changed.
    pub(crate) is_all: bool,
    pub(crate) peers: Vec<Peer>,
    pub(crate) gone: Vec<String>,
}

/// Every node's entry, in the order in which they changed last.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerBook {
    last: Page,
    /// `None`: the node is gone.
    entries: BTreeMap<Page, (String, Option<Peer>)>,
    pages: BTreeMap<String, Page>,
    gone: usize,
    /// What changed up to here is not told one by one any more.
    forgotten: Page,
    /// The sum of all peers' digests.
    digest: u64,
}

impl PeerBook {
    /// True when that is news.
    fn set(&mut self, node: &str, peer: Option<Peer>) -> bool {
        let known = self.pages.get(node).copied();
        let before = known.and_then(|page| self.entries.get(&page)).and_then(|(_, peer)| peer.as_ref());
        if before == peer.as_ref() {
            return false;
        }
        self.digest = self.digest.wrapping_sub(digest_of(before)).wrapping_add(digest_of(peer.as_ref()));
        if let Some(page) = known
            && let Some((_, None)) = self.entries.remove(&page)
        {
            self.gone -= 1;
        }
        self.last += 1;
        self.gone += usize::from(peer.is_none());
        self.entries.insert(self.last, (node.to_owned(), peer));
        self.pages.insert(node.to_owned(), self.last);
        self.forget();
        true
    }

    fn forget(&mut self) {
        if self.gone <= GONE_MAX {
            return;
        }
        let oldest = self.entries.iter().find(|(_, (_, peer))| peer.is_none()).map(|(page, _)| *page);
        if let Some(page) = oldest
            && let Some((node, _)) = self.entries.remove(&page)
        {
            self.pages.remove(&node);
            self.gone -= 1;
            self.forgotten = page;
        }
    }

    /// What a node does not know that has read up to `page`; its own entry is none of its peers.
    pub(crate) fn since(&self, page: Page, node: &str) -> PeerNews {
        let is_all = page == 0 || page < self.forgotten;
        let mut news = PeerNews { page: self.last, is_all, ..PeerNews::default() };
        let unread = self.entries.range(if is_all { 0 } else { page + 1 }..);
        for (_, (name, peer)) in unread.filter(|(_, (name, _))| name != node) {
            match peer {
                Some(peer) => news.peers.push(peer.clone()),
                None if is_all => {}
                None => news.gone.push(name.clone()),
            }
        }
        news
    }

    /// What a node does not know that holds peers of this digest, if it says so: nothing, or everything.
    fn unknown_to(&self, node: &str, digest: Option<u64>) -> PeerNews {
        let own = self.pages.get(node).and_then(|page| self.entries.get(page));
        let others = self.digest.wrapping_sub(digest_of(own.and_then(|(_, peer)| peer.as_ref())));
        if digest == Some(others) {
            return PeerNews { page: self.last, ..PeerNews::default() };
        }
        self.since(0, node)
    }

    /// Whether [`Self::since`] would tell anything. To who has read a newer book than this, it would not.
    pub(crate) fn has_news(&self, page: Page, node: &str) -> bool {
        let is_known = page > 0 && page >= self.forgotten;
        !is_known || self.entries.range(page + 1..).any(|(_, (name, _))| name != node)
    }

    /// Until all nodes have been told.
    fn pause(&self) -> Duration {
        PAUSE_PER_NODE * u32::try_from(self.entries.len() - self.gone).unwrap_or(u32::MAX)
    }

    /// When a node is told.
    pub(crate) fn moment_of(&self, node: &str) -> Duration {
        let mut hasher = DefaultHasher::new();
        node.hash(&mut hasher);
        let share = hasher.finish() % u64::from(u16::MAX);
        self.pause() * u32::try_from(share).unwrap_or_default() / u32::from(u16::MAX)
    }
}

fn digest_of(peer: Option<&Peer>) -> u64 {
    peer.map_or(0, Peer::digest)
}

/// The newest snapshot, and the one that comes next.
pub(crate) struct Peers {
    next: Mutex<PeerBook>,
    changed: Notify,
    told: watch::Sender<Arc<PeerBook>>,
}

impl Peers {
    /// Page 1 is the empty one: who has read it knows that there is nobody.
    pub(crate) fn new() -> Arc<Self> {
        let book = PeerBook { last: 1, ..PeerBook::default() };
        let told = watch::Sender::new(Arc::new(book.clone()));
        Arc::new(Self { next: Mutex::new(book), changed: Notify::new(), told })
    }

    /// What is so now; told with the next snapshot.
    pub(crate) fn set(&self, node: &str, peer: Option<Peer>) {
        if self.lock().set(node, peer) {
            self.changed.notify_one();
        }
    }

    /// All peers of a node as they are now, also what is not yet told: who was told of some would drop the others.
    pub(crate) fn all(&self, node: &str) -> PeerNews {
        self.lock().since(0, node)
    }

    /// The same for a node that may say what it holds already: it comes from another server.
    pub(crate) fn unknown_to(&self, node: &str, digest: Option<u64>) -> PeerNews {
        self.lock().unknown_to(node, digest)
    }

    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<PeerBook>> {
        self.told.subscribe()
    }

    pub(crate) async fn keep_telling(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.tell() => {}
        }
    }

    async fn tell(&self) {
        loop {
            self.changed.notified().await;
            let book = Arc::new(self.lock().clone());
            let pause = book.pause();
            self.told.send_replace(book);
            tokio::time::sleep(pause).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, PeerBook> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(node: &str, network: &str) -> Option<Peer> {
        Some(Peer { node: node.into(), internal_ip: "10.0.0.1".into(), pod_cidr: network.into() })
    }

    fn told(news: &PeerNews) -> String {
        let peers: Vec<String> =
            news.peers.iter().map(|peer| format!("{}={}", peer.node, peer.pod_cidr)).collect();
        let all = if news.is_all { "all" } else { "news" };
        format!("{all} {} gone [{}]", peers.join(" "), news.gone.join(" "))
    }

    #[test]
    fn only_what_changed_since_is_told() {
        let mut book = PeerBook::default();
        assert!(book.set("a", peer("a", "1")) && book.set("b", peer("b", "2")));
        let first = book.since(0, "x");
        assert_eq!(told(&first), "all a=1 b=2 gone []");
        assert!(!book.set("a", peer("a", "1")) && !book.has_news(first.page, "x"));
        book.set("a", peer("a", "3"));
        book.set("b", None);
        book.set("c", peer("c", "4"));
        assert_eq!(told(&book.since(first.page, "x")), "news a=3 c=4 gone [b]");
        assert_eq!(told(&book.since(first.page, "c")), "news a=3 gone [b]");
        assert_eq!(told(&book.since(0, "c")), "all a=3 gone []");
        assert_eq!(book.pause(), PAUSE_PER_NODE * 2);
    }

    #[test]
    fn who_holds_the_same_peers_is_told_none() {
        let mut book = PeerBook::default();
        for (node, network) in [("a", "1"), ("b", "2"), ("x", "3")] {
            book.set(node, peer(node, network));
        }
        let peers = book.since(0, "x").peers;
        let held = peers.iter().map(Peer::digest).fold(0, u64::wrapping_add);
        let news = book.unknown_to("x", Some(held));
        assert_eq!((told(&news), news.page), ("news  gone []".to_owned(), book.last));
        assert_eq!(told(&book.unknown_to("a", Some(held))), "all b=2 x=3 gone []");
        book.set("b", peer("b", "9"));
        assert_eq!(told(&book.unknown_to("x", Some(held))), "all a=1 b=9 gone []");
        book.set("b", peer("b", "2"));
        book.set("x", None);
        assert!(!book.unknown_to("x", Some(held)).is_all);
        book.set("a", None);
        book.set("b", None);
        assert!(!book.unknown_to("x", Some(0)).is_all);
    }

    #[test]
    fn nodes_are_told_one_after_the_other() {
        let mut book = PeerBook::default();
        let names: Vec<String> = (0..1000).map(|number| format!("n{number}")).collect();
        for name in &names {
            book.set(name, peer(name, "1"));
        }
        let moments = || names.iter().map(|name| book.moment_of(name));
        assert!(moments().all(|moment| moment < PAUSE_PER_NODE * 1000));
        let early = moments().filter(|moment| *moment < PAUSE_PER_NODE * 500).count();
        assert!((400..600).contains(&early), "{early}");
    }

    #[test]
    fn a_nodes_own_entry_is_no_news_to_it() {
        let mut book = PeerBook::default();
        book.set("a", peer("a", "1"));
        let read = book.since(0, "b").page;
        book.set("b", peer("b", "2"));
        assert!(!book.has_news(read, "b") && book.has_news(read, "a"));
        assert!(book.has_news(0, "a") && !book.has_news(99, "a"));
    }

    #[test]
    fn who_missed_what_is_forgotten_is_told_everything() {
        let mut book = PeerBook::default();
        book.set("a", peer("a", "1"));
        let read = book.since(0, "x").page;
        for number in 0..=GONE_MAX {
            let name = format!("n{number}");
            book.set(&name, peer(&name, "2"));
            book.set(&name, None);
        }
        assert!(book.has_news(read, "x"));
        assert_eq!(told(&book.since(read, "x")), "all a=1 gone []");
        assert_eq!((book.gone, book.entries.len()), (GONE_MAX, GONE_MAX + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn news_come_together() {
        let peers = Peers::new();
        let stop = CancellationToken::new();
        let telling = peers.clone().keep_telling(stop.clone());
        let mut snapshots = peers.snapshots();
        let reading = async {
            let mut read = 1;
            for node in ["a", "b", "c"] {
                peers.set(node, peer(node, node));
            }
            snapshots.changed().await.expect("told");
            let news = snapshots.borrow_and_update().since(read, "x");
            read = news.page;
            assert_eq!(told(&news), "news a=a b=b c=c gone []");
            let began = tokio::time::Instant::now();
            peers.set("d", peer("d", "d"));
            snapshots.changed().await.expect("told");
            assert_eq!(told(&snapshots.borrow_and_update().since(read, "x")), "news d=d gone []");
            assert!(began.elapsed() >= PAUSE_PER_NODE * 3);
            stop.cancel();
        };
        tokio::join!(telling, reading);
    }
}
