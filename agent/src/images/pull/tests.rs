//! Pulls from registries that are honest, broken, and lying.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use serde_json::json;

use super::fake::{ARCHITECTURE, Answer, Asked, Fake, Served};
use super::*;
use crate::causes::in_full;

const SOON: Limits = Limits {
    patience: Patience { idle: Duration::from_secs(20), pause: Duration::from_millis(1) },
    deadline: Duration::from_secs(60),
};
/// For registries that hang.
const HASTY: Limits = Limits { patience: Patience { idle: Duration::from_secs(1), ..SOON.patience }, ..SOON };

fn open(dir: &Path) -> ImageStore {
    ImageStore::open(dir.join("images"), vec![dir.join("hosts")]).unwrap()
}

async fn honest(served: &Served) -> Fake {
    let served = served.clone();
    Fake::start(move |asked| served.answer(asked)).await
}

async fn pulled(store: &ImageStore, fake: &Fake, auth: Option<AuthConfig>) -> Result<String, String> {
    pulled_within(SOON, store, fake, auth).await
}

async fn pulled_within(
    limits: Limits,
    store: &ImageStore,
    fake: &Fake,
    auth: Option<AuthConfig>,
) -> Result<String, String> {
    let pulled = store.pull_within(&format!("{}/repo:1", fake.address), auth, limits).await;
    pulled
        .map(|image| image.config.cmd.join(" "))
        .map_err(|error| in_full(&error).replace(&fake.address.to_string(), "HOST"))
}

/// Pulls `repo:1` into an empty store; an error leaves nothing there.
async fn check(fake: Fake, auth: Option<AuthConfig>, expected: Expect) {
    check_within(SOON, fake, auth, expected).await;
}

async fn check_within(limits: Limits, fake: Fake, auth: Option<AuthConfig>, expected: Expect) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let outcome = pulled_within(limits, &store, &fake, auth).await;
    if outcome.is_err() {
        assert_eq!(store.images(), []);
        until_nothing_is_made(dir.path()).await;
    }
    // Digests are long, and differ between architectures.
    let text = outcome.unwrap_or_else(|error| {
        let about = "failed to pull and unpack image \"HOST/repo:1\": ";
        let problem = error.strip_prefix(about).unwrap().to_owned();
        problem.replace("failed to resolve reference \"HOST/repo:1\"", "unresolved")
    });
    let mut parts = text.split("sha256:");
    let begin = parts.next().unwrap_or_default().to_owned();
    let shortened = parts.fold(begin, |text, part| text + "sha256:…" + part.get(64..).unwrap_or(part));
    expected.assert_eq(&shortened);
}

/// A layer that is given up is removed by the thread that makes it.
async fn until_nothing_is_made(dir: &Path) {
    let gone = async {
        while fs::read_dir(dir.join("images/work")).unwrap().count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

fn login(user: &str, password: &str) -> Option<AuthConfig> {
    Some(AuthConfig { username: user.to_owned(), password: password.to_owned(), ..AuthConfig::default() })
}

#[tokio::test]
async fn an_image_is_pulled_by_its_tag_and_found_by_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let fake = honest(&Served::image(&["base", "top"])).await;
    let image = store.pull(&format!("{}/repo:1", fake.address), None).await.unwrap();
    assert_eq!(image.names, [format!("{}/repo:1", fake.address)]);
    assert_eq!(fs::read_to_string(image.layers[0].join("top")).unwrap(), "top");
    assert_eq!(fs::read_to_string(image.layers[1].join("base")).unwrap(), "base");
    let [digest] = image.digests.as_slice() else { panic!("{image:?}") };
    assert!(digest.starts_with(&format!("{}/repo@sha256:", fake.address)));
    assert_eq!(store.image(digest), Some(image.clone()));
    // Asked for again, by its digest: the registry says what it is, and has no layer to send.
    let asked = fake.count("/blobs/");
    assert_eq!(store.pull(digest, None).await.unwrap().id, image.id);
    assert_eq!(fake.count("/blobs/") - asked, 1, "{:?}", fake.seen());
    assert_eq!(store.images().len(), 1);
}

#[tokio::test]
async fn pulls_at_once_fetch_each_layer_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // The same layer twice, too.
    let served = Served::image(&["base", "base", "top"]);
    let fake = honest(&served).await;
    let pulls = futures::future::join_all((0..6).map(|_| pulled(&store, &fake, None))).await;
    assert!(pulls.iter().all(Result::is_ok), "{pulls:?}");
    let layers: BTreeSet<_> = served.0.keys().filter(|path| path.contains("/blobs/")).collect();
    let fetched: Vec<_> = layers.iter().map(|path| fake.count(path)).collect();
    assert_eq!(fetched.iter().filter(|count| **count == 1).count(), 2, "{:?}", fake.seen());
}

#[tokio::test]
async fn an_index_leads_to_this_machines_manifest() {
    let mut served = Served::image(&["mine"]);
    let mine = served.0["/v2/repo/manifests/1"].clone();
    let platform = |os: &str, architecture: &str, bytes: &[u8]| {
        let platform = json!({ "os": os, "architecture": architecture });
        json!({ "digest": Digest::of(bytes).as_str(), "size": bytes.len(), "platform": platform })
    };
    let other = [platform("windows", ARCHITECTURE, b"none"), platform("linux", "s390x", b"none")];
    let mut all = other.to_vec();
    all.push(platform("linux", ARCHITECTURE, &mine));
    served.manifest("1", &json!({ "schemaVersion": 2, "manifests": all }));
    check(honest(&served).await, None, expect!["mine"]).await;
    served.manifest("1", &json!({ "schemaVersion": 2, "manifests": other[1..] }));
    let dir = tempfile::tempdir().unwrap();
    let refusal = pulled(&open(dir.path()), &honest(&served).await, None).await.unwrap_err();
    let reason = format!(
        "no match for platform in manifest: it has linux/s390x, this machine is linux/{ARCHITECTURE}: not found"
    );
    assert!(refusal.ends_with(&reason), "{refusal}");
}

#[tokio::test]
async fn what_the_registry_does_not_have_is_not_found() {
    check(
        Fake::start(|_| Answer::not_found()).await,
        None,
        expect![[r#"unresolved: HOST/repo:1: not found"#]],
    )
    .await;
    let mut served = Served::image(&["base"]);
    let (path, _) = served.top_layer();
    served.0.remove(&path);
    check(honest(&served).await, None, expect![[r#"failed to fetch layer sha256:…: sha256:…: not found"#]])
        .await;
    check(Fake::start(|_| Answer::new("500 Oh No", &[], b"")).await, None, expect![[r#"unresolved: unexpected status from GET request to http://HOST/v2/repo/manifests/1: 500 Internal Server Error"#]]).await;
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused() {
    let served = Served::image(&["base", "top"]);
    for part in ["/manifests/", "/blobs/"] {
        let mut lying = served.clone();
        for (path, bytes) in &mut lying.0 {
            if path.contains(part) {
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
            }
        }
        let (dir, fake) = (tempfile::tempdir().unwrap(), honest(&lying).await);
        let digest = Digest::of(&served.0["/v2/repo/manifests/1"]);
        let store = open(dir.path());
        let name = format!("{}/repo@{digest}", fake.address);
        let error = in_full(&store.pull_within(&name, None, SOON).await.unwrap_err());
        assert!(error.contains(": the content of sha256:"), "{error}");
        assert_eq!(store.images(), []);
    }
    // A layer that unpacks well, but is another one.
    let (mut lying, (path, _)) = (served.clone(), served.top_layer());
    let (_, other) = Served::image(&["pot"]).top_layer();
    lying.0.insert(path, other);
    check(
        honest(&lying).await,
        None,
        expect![[r#"failed to extract layer sha256:…: the content of sha256:… is sha256:…"#]],
    )
    .await;
}

#[tokio::test]
async fn a_manifest_must_be_one_and_end() {
    let answers: [(&[u8], Expect); 4] = [
        (
            b"<html>",
            expect![[
                r#"failed to read the manifest sha256:…: the manifest is not the JSON that it should be: expected value at line 1 column 1"#
            ]],
        ),
        (
            br#"{"schemaVersion":1}"#,
            expect![[
                r#"failed to read the manifest sha256:…: the manifest is of schema version 1, which is not supported"#
            ]],
        ),
        (
            br#"{"schemaVersion":2}"#,
            expect![[
                r#"failed to read the manifest sha256:…: the manifest has neither layers nor manifests"#
            ]],
        ),
        (
            &[b' '; 5 << 20],
            expect![[r#"unresolved: http://HOST/v2/repo/manifests/1 answers with more than 4194304 bytes"#]],
        ),
    ];
    for (body, expected) in answers {
        let body = body.to_vec();
        check(Fake::start(move |_| Answer::ok(&body)).await, None, expected).await;
    }
    let layer = json!({ "digest": Digest::of(b"").as_str(), "size": 0 });
    let mut served = Served::default();
    let manifest = json!({ "schemaVersion": 2, "config": layer, "layers": vec![layer.clone(); 128] });
    served.manifest("1", &manifest);
    check(
        honest(&served).await,
        None,
        expect![[r#"failed to read the manifest sha256:…: the image has 128 layers, more than 127"#]],
    )
    .await;
    let config = json!({ "digest": Digest::of(b"").as_str(), "size": 5 << 20 });
    served.manifest("1", &json!({ "schemaVersion": 2, "config": config, "layers": [] }));
    check(honest(&served).await, None, expect![[r#"failed to read the manifest sha256:…: the configuration claims 5242880 bytes, more than 4194304"#]]).await;
}

/// A registry whose topmost layer is served by `answer`, the rest honestly.
async fn with_layer(answer: impl Fn(&Asked, &[u8]) -> Answer + Send + Sync + 'static) -> Fake {
    let served = Served::image(&["base", "top"]);
    let (path, layer) = served.top_layer();
    Fake::start(move |asked| if asked.path == path { answer(asked, &layer) } else { served.answer(asked) })
        .await
}

#[tokio::test]
async fn a_broken_layer_goes_on_where_it_broke() {
    let ranges = with_layer(|asked, layer| match asked.times {
        0 => Answer::ok(layer).cut(layer.len() - 20),
        1 => {
            assert_eq!(asked.header("range"), "bytes=20-");
            let range = format!("bytes 20-{}/{}", layer.len() - 1, layer.len());
            Answer::new("206 Partial Content", &[("Content-Range", &range)], &layer[20..]).cut(5)
        }
        _ => {
            let from = layer.len() - 5;
            let range = format!("bytes {from}-{}/{}", layer.len() - 1, layer.len());
            Answer::new("206 Partial Content", &[("Content-Range", &range)], &layer[from..])
        }
    });
    check(ranges.await, None, expect!["base top"]).await;
    // A server that knows no ranges sends all again.
    let whole = with_layer(|asked, layer| match asked.times {
        0 => Answer::ok(layer).cut(9),
        1 => Answer::ok(layer).cut(9).hang(),
        2 => Answer::new("503 Busy", &[], b""),
        _ => Answer::ok(layer),
    });
    check_within(HASTY, whole.await, None, expect!["base top"]).await;
}

#[tokio::test]
async fn a_layer_that_stays_broken_is_given_up() {
    check(with_layer(|_, layer| Answer::ok(layer).cut(9)).await, None, expect![[r#"failed to fetch layer sha256:…: sha256:… broke off 5 times at byte 94: the connection to HOST failed: error reading a body from connection: end of file before message length reached"#]]).await;
    check_within(HASTY, with_layer(|_, layer| Answer::ok(layer).cut(9).hang()).await, None, expect![[r#"failed to fetch layer sha256:…: sha256:… broke off 5 times at byte 94: HOST was silent for 1 s"#]]).await;
    let wrong = with_layer(|asked, layer| match asked.times {
        0 => Answer::ok(layer).cut(9),
        _ => Answer::new("206 Partial Content", &[("Content-Range", "bytes 0-9/10")], &layer[..9]),
    });
    check(
        wrong.await,
        None,
        expect![[r#"failed to fetch layer sha256:…: the answer does not begin at byte 94, as was asked"#]],
    )
    .await;
    let longer = with_layer(|_, layer| Answer::ok(&[layer, b"more"].concat()));
    check(
        longer.await,
        None,
        expect![[r#"failed to fetch layer sha256:…: sha256:… must have 103 bytes, the registry has 107"#]],
    )
    .await;
}

#[tokio::test]
async fn a_registry_that_hangs_is_not_waited_for() {
    check_within(
        HASTY,
        Fake::start(|_| Answer::ok(b"{}").cut(2).hang()).await,
        None,
        expect![[r#"unresolved: HOST was silent for 1 s"#]],
    )
    .await;
    check_within(
        HASTY,
        Fake::start(|_| Answer::ok(b"").cut(10).hang()).await,
        None,
        expect![[r#"unresolved: HOST was silent for 1 s"#]],
    )
    .await;
    let closed = Fake::start(|_| Answer::ok(b"").cut(38)).await;
    check(
        closed,
        None,
        expect![[r#"unresolved: the connection to HOST failed: connection closed before message completed"#]],
    )
    .await;
    // One that sends a byte now and then is stopped by the deadline.
    let (dir, fake) =
        (tempfile::tempdir().unwrap(), with_layer(|_, layer| Answer::ok(layer).cut(9).hang()).await);
    let limits = Limits { deadline: Duration::from_millis(200), ..SOON };
    let store = open(dir.path());
    let error = store.pull_within(&format!("{}/repo:1", fake.address), None, limits).await.unwrap_err();
    assert!(in_full(&error).ends_with(": it took longer than 0 s"), "{}", in_full(&error));
}

#[tokio::test]
async fn a_pull_that_is_dropped_leaves_nothing_under_construction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let fake = with_layer(|_, layer| Answer::ok(layer).cut(9).hang()).await;
    let name = format!("{}/repo:1", fake.address);
    let work = dir.path().join("images/work");
    let started = async {
        while fake.count("/blobs/") < 3 || fs::read_dir(&work).unwrap().count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        () = started => {}
        pulled = store.pull(&name, None) => panic!("{pulled:?}"),
    }
    until_nothing_is_made(dir.path()).await;
}

#[tokio::test]
async fn redirects_end_and_take_no_credentials_along() {
    let endless = Fake::start(|asked| Answer::new("307 Again", &[("Location", &asked.path)], b""));
    check(endless.await, None, expect![[r#"unresolved: stopped after 10 redirects"#]]).await;
    let nowhere = Fake::start(|_| Answer::new("302 There", &[("Location", "ftp://x/")], b""));
    check(
        nowhere.await,
        None,
        expect![[
            r#"unresolved: http://HOST/v2/repo/manifests/1 redirects to "ftp://x/", which is no address"#
        ]],
    )
    .await;
    let served = Served::image(&["base"]);
    let elsewhere = served.clone();
    let storage = Fake::start(move |asked| {
        assert_eq!(asked.header("authorization"), "", "credentials went to another host");
        elsewhere.answer(asked)
    })
    .await;
    let at = storage.address;
    let registry = Fake::start(move |asked| {
        if asked.header("authorization").is_empty() {
            return Answer::new("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"");
        }
        if asked.path.contains("/blobs/") {
            let location = format!("http://{at}{}", asked.path);
            return Answer::new("307 Temporary Redirect", &[("Location", &location)], b"");
        }
        served.answer(asked)
    });
    check(registry.await, login("u", "p"), expect!["base"]).await;
    assert_eq!(storage.count("/blobs/"), 2);
}

/// Lets in who brings a token that its own `/token` gave to `user`.
async fn with_tokens(user: &'static str, challenge: &'static str) -> Fake {
    let served = Served::image(&["base"]);
    Fake::start(move |asked| {
        if asked.path.starts_with("/token") {
            assert!(asked.path.contains("scope=repository%3Arepo%3Apull"));
            let known = asked.header("authorization") == user;
            return match known {
                true => Answer::ok(br#"{"token":"","access_token":"good"}"#),
                false => Answer::new("401 Unauthorized", &[], b""),
            };
        }
        if asked.header("authorization") == "Bearer good" {
            return served.answer(asked);
        }
        let challenge = challenge.replace("HOST", asked.header("host"));
        Answer::new("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    })
    .await
}

const BEARER: &str = r#"Bearer realm="http://HOST/token",service="s""#;

#[tokio::test]
async fn who_has_credentials_is_let_in() {
    check(with_tokens("", BEARER).await, None, expect!["base"]).await;
    check(with_tokens("Basic dTpw", BEARER).await, login("u", "p"), expect!["base"]).await;
    let token = AuthConfig { registry_token: "good".to_owned(), ..AuthConfig::default() };
    check(with_tokens("x", BEARER).await, Some(token), expect!["base"]).await;
    check(with_tokens("x", BEARER).await, login("u", "p"), expect![[r#"unresolved: failed to authorize: failed to fetch oauth token: unexpected status from GET request to http://HOST/token?scope=repository%3Arepo%3Apull&service=s: 401 Unauthorized"#]]).await;
    check(with_tokens("x", BEARER).await, None, expect![[r#"unresolved: failed to authorize: failed to fetch anonymous token: unexpected status from GET request to http://HOST/token?scope=repository%3Arepo%3Apull&service=s: 401 Unauthorized"#]]).await;
    let bad = AuthConfig { auth: "?".to_owned(), ..AuthConfig::default() };
    check(
        with_tokens("x", BEARER).await,
        Some(bad),
        expect![[r#"unresolved: failed to authorize: the secret's auth is not base64 of user:password"#]],
    )
    .await;
}

#[tokio::test]
async fn a_refresh_token_is_changed_into_an_access_token() {
    let served = Served::image(&["base"]);
    let fake = Fake::start(move |asked| {
        if asked.path == "/token" {
            let wanted =
                "scope=repository%3Arepo%3Apull&service=s&grant_type=refresh_token&refresh_token=r%2Fr";
            assert!(asked.body.starts_with(wanted), "{}", asked.body);
            return Answer::ok(br#"{"access_token":"good"}"#);
        }
        if asked.header("authorization") == "Bearer good" {
            return served.answer(asked);
        }
        let challenge = BEARER.replace("HOST", asked.header("host"));
        Answer::new("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    });
    let identity = AuthConfig { identity_token: "r/r".to_owned(), ..AuthConfig::default() };
    check(fake.await, Some(identity), expect!["base"]).await;
}

#[tokio::test]
async fn challenges_that_cannot_be_met_say_why() {
    check(
        with_tokens("x", "Bearer realm=\"nowhere\"").await,
        None,
        expect![[r#"unresolved: failed to authorize: the realm "nowhere" is no address of a token service"#]],
    )
    .await;
    check(with_tokens("x", "Basic realm=\"x\"").await, None, expect![[r#"unresolved: unexpected status from GET request to http://HOST/v2/repo/manifests/1: 401 Unauthorized"#]]).await;
    check(with_tokens("x", "Negotiate").await, login("u", "p"), expect![[r#"unresolved: unexpected status from GET request to http://HOST/v2/repo/manifests/1: 401 Unauthorized"#]]).await;
    check(with_tokens("x", "Basic realm=\"x\"").await, login("u", "p"), expect![[r#"unresolved: pull access denied, repository does not exist or may require authorization: unexpected status from GET request to http://HOST/v2/repo/manifests/1: 401 Unauthorized"#]]).await;
    let empty = Fake::start(|asked| {
        let challenge = BEARER.replace("HOST", asked.header("host"));
        match asked.path.starts_with("/token") {
            true => Answer::ok(b"{}"),
            false => Answer::new("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b""),
        }
    });
    check(empty.await, None, expect!["unresolved: failed to authorize: failed to fetch anonymous token: authorization server http://HOST/token?scope=repository%3Arepo%3Apull&service=s did not include a token in the response"]).await;
}

#[tokio::test]
async fn names_and_servers_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = store.pull("UPPER", None).await.unwrap_err();
    assert_eq!(in_full(&error), r#"failed to pull and unpack image "UPPER": invalid reference format"#);
    let error = in_full(&store.pull_within("127.0.0.1:1/repo:1", None, SOON).await.unwrap_err());
    expect![[r#"failed to pull and unpack image "127.0.0.1:1/repo:1": failed to resolve reference "127.0.0.1:1/repo:1": failed to dial 127.0.0.1:1: Connection refused (os error 111)"#]].assert_eq(&error);
}
