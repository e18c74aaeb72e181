//! What `hosts.toml` means.

use expect_test::{Expect, expect};

use super::*;

fn check(registry: &str, text: &str, expected: Expect) {
    let shown = match parse(text, Path::new("/d/hosts.toml"), registry) {
        Ok(hosts) => hosts.iter().map(show).collect::<String>(),
        Err(error) => crate::causes::in_full(&error),
    };
    expected.assert_eq(&shown);
}

fn show(host: &Host) -> String {
    let mut text = host.base.clone();
    for (holds, word) in
        [(host.resolves, " resolve"), (host.pulls, " pull"), (host.tls.skip_verify, " unverified")]
    {
        text.push_str(if holds { word } else { "" });
    }
    for authority in &host.tls.authorities {
        text.push_str(&format!(" ca={}", authority.display()));
    }
    for Identity { certificate, key } in &host.tls.identities {
        text.push_str(&format!(" client={}+{}", certificate.display(), key.display()));
    }
    for (name, value) in &host.headers {
        text.push_str(&format!(" {name}={}", value.to_str().unwrap()));
    }
    text.extend(host.namespace.iter().map(|namespace| format!(" ns={namespace}")));
    text + "\n"
}

#[test]
fn mirrors_come_in_their_order_and_the_registry_last() {
    check(
        "docker.io",
        r#"
        server = "https://registry-1.docker.io"
        [host."http://z.example:5000"]
          capabilities = ["pull", "resolve"]
        [host."a.example/docker"]
          capabilities = ["pull"]
          skip_verify = true
        "#,
        expect![[r#"
            http://z.example:5000/v2 resolve pull ns=docker.io
            https://a.example/docker/v2 pull unverified ns=docker.io
            https://registry-1.docker.io/v2 resolve pull
        "#]],
    );
    check(
        "docker.io",
        "",
        expect![[r#"
        https://registry-1.docker.io/v2 resolve pull
    "#]],
    );
    check(
        "localhost:5000",
        "",
        expect![[r#"
        http://localhost:5000/v2 resolve pull
    "#]],
    );
}

#[test]
fn what_is_said_of_no_host_is_said_of_the_registry() {
    check(
        "own.example",
        "ca = 'ca.pem'\ncapabilities = ['pull']\nserver = 'http://10.0.0.1'\n[header]\nx-a = ['1', '2']\n",
        expect![[r#"
            http://10.0.0.1/v2 pull ca=/d/ca.pem x-a=1 x-a=2 ns=own.example
        "#]],
    );
}

#[test]
fn files_are_beside_the_file_that_names_them_unless_their_paths_are_whole() {
    check(
        "a.example",
        r#"
        [host."https://b.example"]
          ca = ["/etc/ca.pem", "own.pem"]
          client = "both.pem"
        [host."https://c.example"]
          client = ["one.pem", "two.pem"]
        [host."https://d.example"]
          client = [["d.cert", "d.key"], ["/both.pem", ""]]
        "#,
        expect![[r#"
            https://b.example/v2 resolve pull ca=/etc/ca.pem ca=/d/own.pem client=/d/both.pem+/d/both.pem ns=a.example
            https://c.example/v2 resolve pull client=/d/one.pem+/d/one.pem client=/d/two.pem+/d/two.pem ns=a.example
            https://d.example/v2 resolve pull client=/d/d.cert+/d/d.key client=/both.pem+/both.pem ns=a.example
            https://a.example/v2 resolve pull
        "#]],
    );
}

#[test]
fn a_path_gets_the_version_unless_it_is_to_stay() {
    check(
        "a.example",
        r#"
        [host."https://b.example/v2"]
        [host."https://b.example/v2/cache/"]
        [host."https://b.example/v2/as/it/is"]
          override_path = true
        [host."https://a.example"]
        "#,
        expect![[r#"
            https://b.example/v2 resolve pull ns=a.example
            https://b.example/v2/cache/v2 resolve pull ns=a.example
            https://b.example/v2/as/it/is resolve pull ns=a.example
            https://a.example/v2 resolve pull
            https://a.example/v2 resolve pull
        "#]],
    );
}

#[test]
fn nonsense_is_named() {
    for (text, expected) in [
        ("server = 1", expect!["/d/hosts.toml: server must be a string"]),
        ("host = 1", expect!["/d/hosts.toml: host must be a table"]),
        (
            "[host.'ftp://a']",
            expect![[r#"/d/hosts.toml: host "ftp://a": "ftp://a" is no address of a host"#]],
        ),
        ("[host.a]\ncapabilities = ['x']", expect![[r#"/d/hosts.toml: host "a": unknown capability x"#]]),
        (
            "[host.a]\nskip_verify = 'no'",
            expect![[r#"/d/hosts.toml: host "a": skip_verify must be true or false"#]],
        ),
        (
            "[host.a]\nca = [1]",
            expect![[r#"/d/hosts.toml: host "a": ca must be a string or a list of strings"#]],
        ),
        (
            "client = [['a', 'b', 'c']]",
            expect!["/d/hosts.toml: client must be a file, a list of files, or a list of pairs of them"],
        ),
        ("[header]\n'a b' = 'c'", expect![[r#"/d/hosts.toml: header "a b" cannot be sent"#]]),
    ] {
        check("a.example", text, expected);
    }
}

#[test]
fn a_registrys_folder_may_be_named_without_a_colon() {
    assert_eq!(folders("a:5000"), ["a_5000_", "a:5000", "_default"]);
    assert_eq!(folders("[::1]:5000"), ["[::1]_5000_", "[::1]:5000", "_default"]);
    assert_eq!(folders("docker.io"), ["docker.io", "_default"]);
}

#[tokio::test]
async fn the_first_folder_of_a_registry_counts() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = [dir.path().join("one"), dir.path().join("two")];
    let of = async |registry: &str| -> String {
        of_registry(&dirs, registry).await.unwrap().iter().map(show).collect()
    };
    assert_eq!(of("a:1").await, "https://a:1/v2 resolve pull\n");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("two/_default/hosts.toml", "server = 'https://cache.example'");
    write("two/a:1/hosts.toml", "server = 'https://own.example'");
    assert_eq!(of("a:1").await, "https://own.example/v2 resolve pull ns=a:1\n");
    assert_eq!(of("b").await, "https://cache.example/v2 resolve pull ns=b\n");
    write("one/docker/ca.crt", "");
    write("one/docker/me.cert", "");
    write("one/docker/README", "");
    let at = dir.path().join("one/docker").display().to_string();
    let expected = format!("https://docker/v2 resolve pull ca={at}/ca.crt client={at}/me.cert+{at}/me.key\n");
    assert_eq!(of("docker").await, expected);
}

#[test]
fn only_registries_on_this_machine_speak_plain_http() {
    for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
        assert!(is_plain(host), "{host}");
    }
    for host in ["docker.io", "localhost:443", "127.0.0.1.example.com", "10.0.0.1:5000"] {
        assert!(!is_plain(host), "{host}");
    }
}
