//! Reads of the past, by revision and by time.

use std::time::Duration;

use base::Clock as _;
use expect_test::{Expect, expect};
use kinds::tree;

use super::bench::{Answer, Bench, CONFIG_MAPS};

const HOUR: Duration = Duration::from_secs(3600);

/// An hour in which `a` was red, and one in which it is blue and `b` is there.
struct Story {
    bench: Bench,
    red_at: i64,
    red_time: String,
}

async fn story() -> Story {
    let bench = Bench::start().await;
    let red_at = bench.config_map("a").await.revision();
    let red_time = bench.clock.now().to_string();
    bench.clock.advance(HOUR);
    let blue = r#"{"metadata":{"name":"a"},"data":{"color":"blue"}}"#;
    assert_eq!(bench.send("PUT", &format!("{CONFIG_MAPS}/a"), blue).await.code, 200);
    assert_eq!(bench.config_map("b").await.code, 201);
    Story { bench, red_at, red_time }
}

impl Story {
    async fn read(&self, path_and_query: &str) -> Answer {
        self.bench.send("GET", &format!("{CONFIG_MAPS}{path_and_query}"), "").await
    }

    async fn refuses(&self, method: &str, path_and_query: &str, expected: Expect) {
        let uri = format!("{CONFIG_MAPS}{path_and_query}");
        expected.assert_eq(&self.bench.line(method, &uri, "").await);
    }
}

/// `name color` of each object, and the list's revision.
fn colors(answer: &Answer) -> (String, i64) {
    let list = answer.json();
    let of = |item| format!("{} {}", tree::text(item, "metadata.name"), tree::text(item, "data.color"));
    let lines: Vec<String> = tree::items(&list, "items").iter().map(of).collect();
    (lines.join(", "), answer.revision())
}

#[tokio::test]
async fn an_object_is_read_as_it_was() {
    let story = story().await;
    for moment in [format!("atRevision={}", story.red_at), format!("atTime={}", story.red_time)] {
        let then = story.read(&format!("/a?{moment}")).await;
        assert_eq!(tree::text(&then.json(), "data.color"), "red", "{moment}");
        assert_eq!(then.revision(), story.red_at);
        let not_yet = story.read(&format!("/b?{moment}")).await;
        assert_eq!(not_yet.line(), "404 NotFound: configmaps \"b\" not found");
    }
    let now = story.read(&format!("/a?atTime={}", story.bench.clock.now())).await;
    assert_eq!(tree::text(&now.json(), "data.color"), "blue");
}

#[tokio::test]
async fn a_list_is_of_one_moment_and_so_are_its_pages() {
    let story = story().await;
    let then = story.read(&format!("?atTime={}", story.red_time)).await;
    assert_eq!(colors(&then), ("a red".to_owned(), story.red_at));
    let selected = story.read(&format!("?atRevision={}&labelSelector=app%3Db", story.red_at)).await;
    assert_eq!(colors(&selected).0, "");

    let newest = story.bench.store.revision().get();
    let first = story.read(&format!("?atRevision={newest}&limit=1")).await;
    assert_eq!(colors(&first), ("a blue".to_owned(), newest));
    story.bench.send("DELETE", &format!("{CONFIG_MAPS}/b"), "").await;
    let token = tree::text(&first.json(), "metadata.continue").to_owned();
    let second = story.read(&format!("?limit=1&continue={token}")).await;
    assert_eq!(colors(&second), ("b red".to_owned(), newest));
}

#[tokio::test]
async fn tables_are_of_the_past_too() {
    let story = story().await;
    let uri = format!("{CONFIG_MAPS}?atRevision={}", story.red_at);
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = story.bench.send_with("GET", &uri, &accept, Vec::new()).await.json();
    assert_eq!(tree::items(&table, "rows").len(), 1);
}

#[tokio::test]
async fn what_is_forgotten_or_not_there_yet_is_said_to_be() {
    let story = story().await;
    story.bench.store.compact(story.bench.store.revision()).await.expect("compacts");
    story
        .refuses(
            "GET",
            &format!("/a?atRevision={}", story.red_at),
            expect!["410 Expired: The resourceVersion for the provided list is too old."],
        )
        .await;
    story.refuses("GET", &format!("?atTime={}", story.red_time), expect!["410 Expired: the state of 2026-11-21T00:00:00Z is not kept any more; the oldest is of 2026-11-21T01:00:00Z"]).await;
    let (asked, newest) = (story.bench.store.revision().get() + 5, story.bench.store.revision().get());
    let future = story.read(&format!("/a?atRevision={asked}")).await.line();
    assert_eq!(
        future,
        format!("504 Timeout: Timeout: Too large resource version: {asked}, current: {newest}")
    );
}

#[tokio::test]
async fn contradictions_are_refused() {
    let story = story().await;
    story.refuses("GET", "/a?atRevision=0", expect![[r#"422 Invalid: GetOptions.meta.k8s.io "" is invalid: atRevision: Invalid value: "0": must be a revision, 1 or more"#]]).await;
    story.refuses("GET", "/a?atTime=yesterday", expect![[r#"422 Invalid: GetOptions.meta.k8s.io "" is invalid: atTime: Invalid value: "yesterday": must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z"#]]).await;
    story.refuses("GET", "/a?atRevision=3&atTime=2026-11-21T00:00:00Z", expect![[r#"422 Invalid: GetOptions.meta.k8s.io "" is invalid: atTime: Forbidden: may not be given together with atRevision"#]]).await;
    story.refuses("GET", "?atRevision=3&resourceVersion=2", expect![[r#"422 Invalid: ListOptions.meta.k8s.io "" is invalid: atRevision: Forbidden: may not be given together with resourceVersion"#]]).await;
    story.refuses("GET", "?watch=true&atRevision=3", expect![[r#"422 Invalid: ListOptions.meta.k8s.io "" is invalid: atRevision: Forbidden: is for get and list only"#]]).await;
    story.refuses("DELETE", "?atTime=2026-11-21T00:00:00Z", expect![[r#"422 Invalid: ListOptions.meta.k8s.io "" is invalid: atTime: Forbidden: is for get and list only"#]]).await;
    assert_eq!(colors(&story.read("").await).0, "a blue, b red", "nothing was deleted");
}
