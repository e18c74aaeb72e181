//! Pulls from Debian's own registry, pushed to by Debian's skopeo: what we read is what others write.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::*;
use crate::causes::in_full;
use crate::images::archive::{self, Entry, Image};

/// `user:password`, as the registry keeps it.
const HTPASSWD: &str = "user:$2b$05$OLmMuK283bapX.LLiZFtLOb1WEvfT1j/MCFQVYmYMLGU.3xL48weG\n";

/// Starts a registry that only `user` may use; it ends with the child.
async fn registry(dir: &Path) -> (Child, String) {
    fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
    let at = dir.display();
    let config = format!(
        "version: 0.1
log: {{ level: info, formatter: json }}
storage: {{ filesystem: {{ rootdirectory: {at}/data }} }}
http: {{ addr: '127.0.0.1:0' }}
auth: {{ htpasswd: {{ realm: test, path: {at}/htpasswd }} }}
"
    );
    fs::write(dir.join("config.yml"), config).unwrap();
    let mut child = Command::new("docker-registry")
        .args(["serve", "config.yml"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .expect("apt-get install docker-registry");
    loop {
        let log = fs::read_to_string(dir.join("log")).unwrap();
        if let Some((_, rest)) = log.split_once("listening on ")
            && let Some((address, _)) = rest.split_once('"')
        {
            return (child, address.to_owned());
        }
        assert_eq!(child.try_wait().unwrap(), None, "the registry did not start: {log}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn push(archive: &Path, to: &str, options: &[&str]) {
    let output = Command::new("skopeo")
        .args(["copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", "user:p4ss"])
        .args(options)
        .arg(format!("oci-archive:{}", archive.display()))
        .arg(format!("docker://{to}"))
        .output()
        .await
        .expect("apt-get install skopeo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn login(password: &str) -> Option<AuthConfig> {
    let (username, password) = ("user".to_owned(), password.to_owned());
    Some(AuthConfig { username, password, ..AuthConfig::default() })
}

#[tokio::test]
async fn images_come_from_debians_registry_with_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let (_child, address) = registry(dir.path()).await;
    let content = "0123456789".repeat(100_000);
    let entries = [
        Entry::Directory { path: "bin", mode: 0o755 },
        Entry::File { path: "bin/web", mode: 0o755, content: content.as_bytes() },
        Entry::Link { path: "bin/sh", target: "web" },
    ];
    let image =
        Image { name: "localhost/web:1", entries: &entries, entrypoint: &["/bin/sh"], exposed_ports: &[] };
    let archive = dir.path().join("web.tar");
    fs::write(&archive, archive::build(&image).unwrap()).unwrap();
    // Docker's format with gzip, OCI's with zstd.
    for (tag, options) in [
        ("gzip", &["--format", "v2s2"][..]),
        ("zstd", &["--format", "oci", "--dest-compress-format", "zstd"]),
    ] {
        let name = format!("{address}/team/web:{tag}");
        push(&archive, &name, options).await;
        let store = ImageStore::open(dir.path().join(tag), vec![dir.path().join("hosts")]).unwrap();
        for auth in [None, login("wrong")] {
            let error = in_full(&store.pull(&name, auth).await.unwrap_err());
            assert!(error.ends_with(": 401 Unauthorized"), "{error}");
        }
        let pulled = store.pull(&name, login("p4ss")).await.map_err(|error| in_full(&error)).unwrap();
        assert_eq!(pulled.config.entrypoint, ["/bin/sh"]);
        assert_eq!(fs::read_to_string(pulled.layers[0].join("bin/sh")).unwrap(), content);
        assert_eq!(pulled.size, content.len() as u64);
        let missing = store.pull(&format!("{address}/team/web:none"), login("p4ss")).await.unwrap_err();
        assert!(in_full(&missing).ends_with("/team/web:none: not found"), "{}", in_full(&missing));
    }
    // By another name: the mirror has it, and takes the same password.
    let own = dir.path().join("hosts/images.example");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("hosts.toml"), format!("[host.'http://{address}']\n")).unwrap();
    let store = ImageStore::open(dir.path().join("mirrored"), vec![dir.path().join("hosts")]).unwrap();
    let name = "images.example/team/web:gzip";
    let pulled = store.pull(name, login("p4ss")).await.map_err(|error| in_full(&error)).unwrap();
    assert_eq!(pulled.names, [name]);
    assert_eq!(fs::read_to_string(pulled.layers[0].join("bin/sh")).unwrap(), content);
}
