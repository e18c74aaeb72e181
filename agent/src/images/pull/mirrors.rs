//! Pulls of images that several hosts have, or should have.

use std::fs;
use std::path::Path;

use expect_test::expect;

use super::fake::{Answer, Fake, Served};
use super::*;
use crate::causes::in_full;

/// A store that goes by this file for `images.example`.
fn open(dir: &Path, hosts: &str) -> ImageStore {
    let own = dir.join("hosts/images.example");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("hosts.toml"), hosts).unwrap();
    ImageStore::open(dir.join("images"), vec![dir.join("hosts")]).unwrap()
}

async fn pulled(store: &ImageStore) -> Result<String, String> {
    let limits = Limits {
        patience: Patience { idle: Duration::from_secs(20), pause: Duration::from_millis(1) },
        deadline: Duration::from_secs(60),
    };
    let pulled = store.pull_within("images.example/repo:1", None, limits).await;
    pulled.map(|image| image.config.cmd.join(" ")).map_err(|error| in_full(&error))
}

async fn serving(served: &Served) -> Fake {
    let served = served.clone();
    Fake::start(move |asked| served.answer(asked)).await
}

async fn lacking() -> Fake {
    Fake::start(|_| Answer::not_found()).await
}

fn mirror(fake: &Fake, more: &str) -> String {
    format!("[host.'http://{}']\n{more}\n", fake.address)
}

#[tokio::test]
async fn the_first_mirror_that_has_it_gives_it() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::image(&["base"]);
    let (empty, first, second) = (lacking().await, serving(&served).await, serving(&served).await);
    let text = [mirror(&empty, ""), mirror(&first, "header.x-team = 'a'"), mirror(&second, "")].concat();
    let store = open(dir.path(), &text);
    assert_eq!(pulled(&store).await.as_deref(), Ok("base"));
    assert!(empty.count("/manifests/1") > 0 && first.count("/manifests/1") > 0);
    assert_eq!(second.seen(), Vec::<String>::new());
    // A mirror is told whose images are wanted.
    assert!(first.seen().iter().all(|path| path.ends_with("?ns=images.example")), "{:?}", first.seen());
    // It is kept under the name that was asked for.
    let image = store.image("images.example/repo:1").unwrap();
    assert_eq!(image.names, ["images.example/repo:1"]);
}

#[tokio::test]
async fn a_host_is_asked_only_for_what_it_may_give() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::image(&["base"]);
    let (tags, blobs) = (serving(&served).await, serving(&served).await);
    let text =
        [mirror(&blobs, "capabilities = ['pull']"), mirror(&tags, "capabilities = ['resolve']")].concat();
    assert_eq!(pulled(&open(dir.path(), &text)).await.as_deref(), Ok("base"));
    assert_eq!((tags.count("/manifests/"), tags.count("/blobs/")), (1, 0), "{:?}", tags.seen());
    assert_eq!((blobs.count("/manifests/"), blobs.count("/blobs/")), (0, 2), "{:?}", blobs.seen());
    let dir = tempfile::tempdir().unwrap();
    let nobody = pulled(&open(dir.path(), "capabilities = ['pull']")).await.unwrap_err();
    expect![[r#"failed to pull and unpack image "images.example/repo:1": failed to resolve reference "images.example/repo:1": no host may be asked for images.example/repo:1"#]].assert_eq(&nobody);
}

#[tokio::test]
async fn what_breaks_off_at_one_host_goes_on_at_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::image(&["base"]);
    let good = serving(&served).await;
    let broken = Fake::start(move |asked| {
        let is_blob = asked.path.contains("/blobs/");
        let answer = served.answer(asked);
        if is_blob { answer.cut(1) } else { answer }
    })
    .await;
    let text = [mirror(&broken, ""), mirror(&good, "")].concat();
    assert_eq!(pulled(&open(dir.path(), &text)).await.as_deref(), Ok("base"));
    assert!(good.count("/blobs/") > 0);
}

#[tokio::test]
async fn when_none_has_it_each_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let empty = lacking().await;
    let text = format!("server = 'http://127.0.0.1:1'\n{}", mirror(&empty, ""));
    let error = pulled(&open(dir.path(), &text)).await.unwrap_err();
    let error = error.replace(&empty.address.to_string(), "HOST");
    expect![[r#"failed to pull and unpack image "images.example/repo:1": failed to resolve reference "images.example/repo:1": no host has it: http://HOST/v2: images.example/repo:1: not found; http://127.0.0.1:1/v2: failed to dial 127.0.0.1:1: Connection refused (os error 111)"#]].assert_eq(&error);
    let dir = tempfile::tempdir().unwrap();
    let error = pulled(&open(dir.path(), "server = 1")).await.unwrap_err();
    assert!(error.contains("cannot learn which hosts answer for the registry: "), "{error}");
    assert!(error.ends_with("images.example/hosts.toml: server must be a string"), "{error}");
}
