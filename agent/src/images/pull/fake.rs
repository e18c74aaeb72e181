//! A registry for tests that does exactly what it is told, also what no honest one would.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base::Tasks;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::images::digest::Digest;
use crate::images::unpack::tars::Tar;

/// A request, and the number of those for the same path before it.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
    pub(super) times: usize,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What goes over the wire, byte for byte.
pub(super) struct Answer {
    bytes: Vec<u8>,
    hangs: bool,
}

impl Answer {
    pub(super) fn new(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len()).into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        Self { bytes, hangs: false }
    }

    pub(super) fn ok(body: &[u8]) -> Self {
        Self::new("200 OK", &[], body)
    }

    pub(super) fn not_found() -> Self {
        Self::new("404 Not Found", &[], b"{}")
    }

    /// The last bytes never come.
    pub(super) fn cut(mut self, missing: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - missing);
        self
    }

    /// Nothing more comes, and nobody hangs up.
    pub(super) fn hang(self) -> Self {
        Self { hangs: true, ..self }
    }
}

/// Serves until it is dropped.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.stop().cancel();
    }
}

impl Fake {
    pub(super) async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let tasks = Tasks::new(CancellationToken::new());
        let (answer, log, spawner) = (Arc::new(answer), seen.clone(), tasks.clone());
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log, stop) = (answer.clone(), log.clone(), spawner.stop().clone());
                let one = async move { drop(serve(stream, &*answer, &log, stop).await) };
                spawner.spawn_infallible("connection of a test", one);
            }
        };
        let stop = tasks.stop().clone();
        tasks.spawn_infallible("registry of a test", async move {
            stop.run_until_cancelled(accept).await;
        });
        Self { address, seen, tasks }
    }

    /// Paths that were asked for, with the name of the header that let them in.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|path| path.contains(part)).count()
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&Asked) -> Answer + Send + Sync),
    seen: &Mutex<Vec<String>>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let asked = loop {
        stream.read_buf(&mut bytes).await?;
        if let Some(asked) = parse(&bytes, seen) {
            break asked;
        }
    };
    seen.lock().unwrap().push(asked.path.clone());
    let answer = answer(&asked);
    stream.write_all(&answer.bytes).await?;
    if answer.hangs {
        stop.cancelled().await;
    }
    stream.shutdown().await
}

fn parse(bytes: &[u8], seen: &Mutex<Vec<String>>) -> Option<Asked> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header = |line: &str| line.split_once(": ").map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
    let headers: BTreeMap<String, String> = lines.filter_map(header).collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let times = seen.lock().unwrap().iter().filter(|other| **other == path).count();
    (body.len() >= length).then(|| Asked { path, headers, body: body.to_owned(), times })
}

/// An image as a registry has it: what to answer to which path.
#[derive(Clone, Default)]
pub(super) struct Served(pub(super) BTreeMap<String, Vec<u8>>);

pub(super) const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

impl Served {
    /// The repository `repo` with the tag `1`; a layer for each text, which is its file's name and content.
    pub(super) fn image(layers: &[&str]) -> Self {
        let mut served = Self::default();
        let tars: Vec<Vec<u8>> = layers.iter().map(|text| Tar::default().file(text, text).end()).collect();
        let diff_ids: Vec<String> = tars.iter().map(|tar| Digest::of(tar).to_string()).collect();
        let config = json!({
            "os": "linux", "architecture": ARCHITECTURE,
            "config": { "Cmd": layers }, "rootfs": { "diff_ids": diff_ids },
        });
        let config = served.blob(config.to_string().as_bytes());
        let layers: Vec<Value> = tars.iter().map(|tar| served.blob(&gzip(tar))).collect();
        served.manifest("1", &json!({ "schemaVersion": 2, "config": config, "layers": layers }));
        served
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.0.insert(format!("/v2/repo/blobs/{digest}"), bytes.to_vec());
        json!({ "digest": digest.as_str(), "size": bytes.len() })
    }

    /// Under a tag and under its digest.
    pub(super) fn manifest(&mut self, tag: &str, manifest: &Value) -> Digest {
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        self.0.insert(format!("/v2/repo/manifests/{digest}"), bytes.clone());
        self.0.insert(format!("/v2/repo/manifests/{tag}"), bytes);
        digest
    }

    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap_or_default();
        self.0.get(path).map_or_else(Answer::not_found, |body| Answer::ok(body))
    }

    /// The last layer's path and bytes.
    pub(super) fn top_layer(&self) -> (String, Vec<u8>) {
        let manifest: Value = serde_json::from_slice(&self.0["/v2/repo/manifests/1"]).unwrap();
        let digest = manifest["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap();
        let path = format!("/v2/repo/blobs/{digest}");
        let bytes = self.0[&path].clone();
        (path, bytes)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
