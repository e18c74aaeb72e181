//! Lists that come in pieces.

use std::io::Read as _;

use futures::StreamExt as _;
use kinds::tree;
use serde_json::Value;

use super::bench::{Bench, CONFIG_MAPS};

/// More than the first piece holds.
const COUNT: usize = 2_345;

async fn filled() -> Bench {
    let bench = Bench::start().await;
    let creating = (0..COUNT).map(|number| {
        let parity = ["even", "odd"][number % 2];
        let body = format!(r#"{{"metadata":{{"name":"c{number:05}","labels":{{"parity":"{parity}"}}}}}}"#);
        let bench = &bench;
        async move { assert_eq!(bench.send("POST", CONFIG_MAPS, &body).await.code, 201) }
    });
    futures::stream::iter(creating).buffer_unordered(64).collect::<Vec<()>>().await;
    bench
}

fn names(list: &Value) -> Vec<String> {
    tree::items(list, "items").iter().map(|item| tree::text(item, "metadata.name").to_owned()).collect()
}

#[tokio::test]
async fn a_list_in_pieces_is_the_list() {
    let bench = filled().await;
    let answer = bench.send("GET", CONFIG_MAPS, "").await;
    let whole = answer.json();
    assert_eq!(tree::text(&whole, "kind"), "ConfigMapList");
    let all = names(&whole);
    assert_eq!(all, (0..COUNT).map(|number| format!("c{number:05}")).collect::<Vec<_>>());
    // The same objects, the same bytes, as in pages that a client asks for.
    let mut paged = Vec::new();
    let mut token = String::new();
    loop {
        let page = bench.get(&format!("{CONFIG_MAPS}?limit=1000&continue={token}")).await;
        paged.extend(tree::items(&page, "items").to_vec());
        assert_eq!(page["metadata"]["resourceVersion"], whole["metadata"]["resourceVersion"]);
        token = tree::text(&page, "metadata.continue").to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(whole["items"], Value::Array(paged));

    let odd = bench.get(&format!("{CONFIG_MAPS}?labelSelector=parity%3Dodd")).await;
    assert_eq!(names(&odd).len(), COUNT / 2);
    let none = bench.get(&format!("{CONFIG_MAPS}?labelSelector=parity%3Dnone")).await;
    assert_eq!(none["items"], serde_json::json!([]));

    let zipped = [("accept-encoding", "gzip")];
    let answer = bench.send_with("GET", CONFIG_MAPS, &zipped, Vec::new()).await;
    assert_eq!(answer.headers["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer.bytes[..]).read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), whole);
}
