//! Tokens, with the real kubectl: made, shown to every server, and dead with what they belong to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::cluster::{Cluster, Size, run};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::{Kubectl, Said, VERSIONS};

const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_service_account_acts_through_its_token() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    for version in VERSIONS {
        let kubectl = cluster.kubectl(version);
        let namespace = format!("team-{}", version.replace('.', "-"));
        kubectl.ok(&format!("create namespace {namespace}"));
        every_namespace_has_its_account_and_authority(&cluster, &kubectl, &namespace);
        tokens_are_accounts_on_every_server(&cluster, &kubectl, &namespace);
        tokens_are_judged(&cluster, &kubectl, &namespace);
        tokens_die_with_their_account(&cluster, &kubectl, &namespace);
    }
    the_issuer_is_known(&cluster);
}

#[test]
fn users_of_a_file_and_nodes_that_join_have_tokens() {
    let mut cluster = Cluster::start(Size { servers: 1, agents: 0 });
    let tokens = cluster.dir().join("tokens.csv");
    std::fs::write(&tokens, "ann's own,nobody,1\ns3cret,ann,7,\"devs,ops\"\n").expect("a file");
    configure(&cluster, "server-1", "token-auth-file", &tokens.display().to_string());
    cluster.signal("server-1", "KILL");
    cluster.restart("server-1");
    let ann = Shown { cluster: &cluster, server: 1, token: "s3cret" };
    eventually(WITHIN, "ann is known", || {
        let said = ann.run("auth whoami");
        expect_that(said.stdout.contains("ann") && said.stdout.contains("[devs ops"), said.stderr)
    });
    let kubectl = cluster.kubectl("1.36");
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: bootstrap-token-abcdef, namespace: kube-system}\n\
        type: bootstrap.kubernetes.io/token\nstringData: {token-id: abcdef, token-secret: 0123456789abcdef, \
        usage-bootstrap-authentication: 'true'}\n";
    kubectl.apply(secret);
    let shown = Shown { cluster: &cluster, server: 1, token: "abcdef.0123456789abcdef" };
    eventually(WITHIN, "the token is known", || {
        let said = shown.run("auth whoami");
        expect_that(said.stdout.contains("system:bootstrap:abcdef"), said.stderr)
    });
    kubectl.ok("delete secret bootstrap-token-abcdef -n kube-system");
    eventually(WITHIN, "the token is gone", || {
        let said = shown.run("auth whoami");
        expect_that(!said.ok && said.stderr.contains("Unauthorized"), said.stdout)
    });
}

/// kubectl with nothing but a token.
struct Shown<'a> {
    cluster: &'a Cluster,
    server: u16,
    token: &'a str,
}

impl Shown<'_> {
    fn run(&self, arguments: &str) -> Said {
        let port = self.cluster.api_port(self.server);
        let ca = file(self.cluster, "api-ca.crt");
        let home = self.cluster.dir().join("home");
        std::fs::create_dir_all(&home).expect("a folder");
        // No kubeconfig: its certificate would be believed before the token.
        let kubectl = Kubectl::new("1.36", Path::new("/dev/null"), &home);
        kubectl.run(&format!(
            "--server=https://127.0.0.1:{port} --certificate-authority={} --token={} {arguments}",
            ca.display(),
            self.token
        ))
    }
}

/// Adds a flag to the configuration file of a server.
fn configure(cluster: &Cluster, server: &str, flag: &str, value: &str) {
    let path = cluster.dir().join(server).join("config.yaml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config[flag] = value.into();
    std::fs::write(path, config.to_string()).expect("a file");
}

fn file(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.dir().join("pki").join(name)
}

fn every_namespace_has_its_account_and_authority(cluster: &Cluster, kubectl: &Kubectl, namespace: &str) {
    eventually(WITHIN, "the namespace has its account", || {
        let said = kubectl.run(&format!("get serviceaccount default -n {namespace}"));
        expect_that(said.ok, said.stderr)
    });
    let authority = std::fs::read_to_string(file(cluster, "api-ca.crt")).expect("a certificate");
    let get = format!("get configmap kube-root-ca.crt -n {namespace} -o jsonpath={{.data.ca\\.crt}}");
    eventually(WITHIN, "the namespace has the authority", || {
        let said = kubectl.run(&get);
        expect_that(said.stdout == authority, said.stdout + &said.stderr)
    });
    // What somebody breaks is mended.
    kubectl.ok(&format!("delete configmap kube-root-ca.crt -n {namespace}"));
    eventually(WITHIN, "the namespace has the authority again", || {
        let said = kubectl.run(&get);
        expect_that(said.stdout == authority, said.stdout + &said.stderr)
    });
    let refused = kubectl.fails(&format!(
        "run p --image=busybox -n {namespace} --overrides={{\"spec\":{{\"serviceAccountName\":\"nobody\"}}}}"
    ));
    assert!(
        refused.contains(&format!(
            "error looking up service account {namespace}/nobody: serviceaccount \"nobody\" not found"
        )),
        "{refused}"
    );
}

fn tokens_are_accounts_on_every_server(cluster: &Cluster, kubectl: &Kubectl, namespace: &str) {
    kubectl.ok(&format!("create serviceaccount robot -n {namespace}"));
    kubectl.ok(&format!("create role reader --verb=get,list --resource=configmaps -n {namespace}"));
    kubectl.ok(&format!(
        "create rolebinding robot --role=reader --serviceaccount={namespace}:robot -n {namespace}"
    ));
    for made_on in 1..=3 {
        let through = kubectl.through(&format!("server-{made_on}"));
        let token = through.ok(&format!("create token robot -n {namespace} --duration=20m"));
        for server in 1..=3 {
            let shown = Shown { cluster, server, token: token.trim() };
            let said = shown.run("auth whoami");
            assert!(
                said.stdout.contains(&format!("system:serviceaccount:{namespace}:robot"))
                    && said.stdout.contains(&format!("system:serviceaccounts:{namespace}"))
                    && said.stdout.contains("authentication.kubernetes.io/credential-id"),
                "made on {made_on}, shown to {server}: {}{}",
                said.stdout,
                said.stderr
            );
            eventually(WITHIN, "the account's role holds", || {
                let said = shown.run(&format!("get configmaps -n {namespace}"));
                expect_that(said.ok && said.stdout.contains("kube-root-ca.crt"), said.stderr)
            });
            let refused = shown.run("get configmaps -n kube-system");
            assert!(
                !refused.ok
                    && refused.stderr.contains(&format!(
                        r#"User "system:serviceaccount:{namespace}:robot" cannot list resource "configmaps""#
                    )),
                "{}",
                refused.stderr
            );
        }
    }
}

fn tokens_are_judged(cluster: &Cluster, kubectl: &Kubectl, namespace: &str) {
    let refused = kubectl.fails(&format!("create token robot -n {namespace} --duration=9m"));
    assert!(refused.contains("may not specify a duration less than 10 minutes"), "{refused}");
    let refused = kubectl.fails(&format!("create token nobody -n {namespace}"));
    assert!(refused.contains(r#"serviceaccounts "nobody" not found"#), "{refused}");
    let refused = kubectl.fails(&format!(
        "create token robot -n {namespace} --bound-object-kind=Pod --bound-object-name=gone"
    ));
    assert!(refused.contains(r#"pods "gone" not found"#), "{refused}");
    let good = kubectl.ok(&format!("create token robot -n {namespace}"));
    let elsewhere = kubectl.ok(&format!("create token robot -n {namespace} --audience=vault"));
    let good = good.trim();
    for bad in ["x", "a.b.c", &good[..good.len() - 2], elsewhere.trim()] {
        let said = Shown { cluster, server: 1, token: bad }.run("get namespaces");
        assert!(!said.ok && said.stderr.contains("Unauthorized"), "{bad}: {}{}", said.stdout, said.stderr);
    }
    let review = format!(
        "apiVersion: authentication.k8s.io/v1\nkind: TokenReview\nspec: {{token: {}, audiences: [vault]}}\n",
        elsewhere.trim()
    );
    let said = kubectl.with_input("create -o jsonpath={.status} -f -", &review);
    assert!(said.stdout.contains(r#""authenticated":true"#) && said.stdout.contains("robot"), "{said:?}");
}

fn tokens_die_with_their_account(cluster: &Cluster, kubectl: &Kubectl, namespace: &str) {
    kubectl.ok(&format!("create secret generic s -n {namespace}"));
    let bound = kubectl
        .ok(&format!("create token robot -n {namespace} --bound-object-kind=Secret --bound-object-name=s"));
    let free = kubectl.ok(&format!("create token robot -n {namespace}"));
    let is_known = |token: &str, server: u16| {
        let said = Shown { cluster, server, token: token.trim() }.run("auth whoami");
        assert_eq!(said.ok, !said.stderr.contains("Unauthorized"), "{}{}", said.stdout, said.stderr);
        said.ok
    };
    assert!(is_known(&bound, 2) && is_known(&free, 3));
    kubectl.ok(&format!("delete secret s -n {namespace}"));
    for server in 1..=3 {
        eventually(WITHIN, "the token is gone with its Secret", || {
            expect_that(!is_known(&bound, server), "it is still known".to_owned())
        });
        assert!(is_known(&free, server));
    }
    kubectl.ok(&format!("delete serviceaccount robot -n {namespace}"));
    // One of the same name is another account.
    kubectl.ok(&format!("create serviceaccount robot -n {namespace}"));
    for server in 1..=3 {
        eventually(WITHIN, "the token is gone with its account", || {
            expect_that(!is_known(&free, server), "it is still known".to_owned())
        });
    }
}

fn the_issuer_is_known(cluster: &Cluster) {
    let kubectl = cluster.kubectl("1.36");
    let token = kubectl.ok("create token default");
    let get = |path: &str| {
        let url = format!("https://127.0.0.1:{}{path}", cluster.api_port(2));
        let ca = file(cluster, "api-ca.crt").display().to_string();
        run("curl", &["-s", "--cacert", &ca, "-H", &format!("authorization: Bearer {}", token.trim()), &url])
    };
    let about = get("/.well-known/openid-configuration");
    assert!(about.contains(r#""issuer":"https://kubernetes.default.svc.cluster.local""#), "{about}");
    let keys = get("/openid/v1/jwks");
    assert!(keys.contains(r#""alg":"ES256""#) && keys.contains(r#""crv":"P-256""#), "{keys}");
    let anonymous = Command::new("curl")
        .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}"])
        .arg(format!("https://127.0.0.1:{}/openid/v1/jwks", cluster.api_port(1)))
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&anonymous.stdout), "401");
}
