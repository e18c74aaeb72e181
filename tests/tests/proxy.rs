//! pods, services and nodes through the API server's proxy, with every version of kubectl, into real containers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use tests::cluster::{Cluster, Size};
use tests::eventually::eventually;
use tests::kubectl::Kubectl;

const VERSIONS: &[&str] = &["1.20", "1.32", "1.36"];
const SOON: Duration = Duration::from_secs(30);
const LARGE_BYTES: usize = 100_000_000;
/// What a server may weigh more after moving as much.
const GROWTH_KIB_MAX: u64 = 60_000;
const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// `odd` answers by the path, whatever the method, and else repeats what it was asked.
const MANIFEST: &str = r##"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: web, image: 'localhost/web:1', ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: unnamed}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: none}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: odd}
data:
  answer.sh: |
    length=0
    read -r method path version
    while read -r line; do
      line=$(printf %s "$line" | tr -d '\r')
      [ -n "$line" ] || break
      case "$line" in content-length:*) length=${line#*: };; esac
      all="$all$line
    "
    done
    answer() { printf 'HTTP/1.1 %s\r\nConnection: close\r\n%s\r\n\r\n' "$1" "$2"; }
    case "$path" in
    /large) answer '200 OK' "Content-Length: 100000000"; head -c 100000000 /dev/zero;;
    /count) n=$(head -c $length | wc -c); answer '200 OK' "Content-Type: text/plain"; echo $n;;
    /slow) answer '200 OK' 'Content-Type: text/plain'; echo one; sleep 1000;;
    /page) answer '200 OK' 'Content-Type: text/html'; printf '<a href="/rewriteme">test</a>';;
    /away) answer '302 Found' 'Location: /login';;
    /teapot) answer "418 I'm a teapot" 'X-Tea: green'; echo short and stout;;
    /socket) printf 'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'; exec cat;;
    *) answer '200 OK' 'Content-Type: text/plain'; echo "$method $path"; echo "$all"; head -c $length;;
    esac
---
apiVersion: v1
kind: Pod
metadata: {name: odd}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: odd, configMap: {name: odd}}]
  containers:
  - name: odd
    image: localhost/web:1
    command: [nc, -ll, -p, '8000', -e, sh, /odd/answer.sh]
    ports: [{containerPort: 8000}]
    volumeMounts: [{name: odd, mountPath: /odd}]
"##;

#[test]
fn what_runs_is_reached_through_the_api() {
    let cluster = Cluster::start(Size { servers: 3, agents: 2 });
    let newest = cluster.kubectl("1.36");
    newest.apply(MANIFEST);
    newest.ok("wait pod/web pod/odd --for=condition=Ready --timeout=60s");
    give_endpoints(&newest);
    for version in VERSIONS {
        let kubectl = cluster.kubectl(version);
        pods_answer(&kubectl);
        services_answer(&kubectl);
        nodes_answer(&kubectl);
    }
    for server in 1..=3 {
        let kubectl = newest.through(&format!("server-{server}"));
        assert_eq!(
            kubectl.ok(&format!("get --raw {PODS}/web/proxy/")),
            "web\n",
            "any server reaches any pod"
        );
    }
    discovery_names_them(&newest);
    let proxy = Proxy::begin(&newest);
    methods_and_headers_go_on(&proxy);
    answers_lead_back(&proxy);
    other_protocols_go_through(&proxy);
    much_goes_through(&proxy, &cluster);
    failures_have_reasons(&newest);
    only_who_may(&newest);
    a_client_that_goes_away_ends_it(&proxy, &newest);
}

/// Of both services of `web`: one with a named port, one without.
fn give_endpoints(kubectl: &Kubectl) {
    let ip = kubectl.ok("get pod web -o jsonpath={.status.podIP}");
    for (service, port) in [("web", "{name: http, port: 8080}"), ("unnamed", "{port: 8080}")] {
        kubectl.apply(&format!(
            "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-of-test, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{port}]
endpoints: [{{addresses: ['{ip}'], conditions: {{ready: true}}, targetRef: {{kind: Pod, namespace: default, name: web}}}}]
"
        ));
    }
}

fn raw(kubectl: &Kubectl, path: &str) -> String {
    kubectl.ok(&format!("get --raw {path}"))
}

fn pods_answer(kubectl: &Kubectl) {
    assert_eq!(raw(kubectl, &format!("{PODS}/web/proxy/")), "web\n", "its first port is meant");
    assert_eq!(raw(kubectl, &format!("{PODS}/web:8080/proxy/")), "web\n");
    assert_eq!(raw(kubectl, &format!("{PODS}/http:web:8080/proxy")), "web\n", "a redirect is followed");
    let said = raw(kubectl, &format!("{PODS}/odd/proxy/a/b?x=1&y=2"));
    assert!(said.starts_with("GET /a/b?x=1&y=2\n"), "{said}");
    assert!(!said.to_lowercase().contains("authorization"), "{said}");
    assert!(said.contains(&format!("x-forwarded-uri: {PODS}/odd/proxy/a/b")), "{said}");
    assert!(said.contains("x-forwarded-for: 127.0.0.1"), "{said}");
}

fn services_answer(kubectl: &Kubectl) {
    for name in ["web:80", "web:http", "http:web:80", "unnamed", "unnamed:80"] {
        assert_eq!(raw(kubectl, &format!("{SERVICES}/{name}/proxy/")), "web\n", "{name}");
    }
}

fn nodes_answer(kubectl: &Kubectl) {
    for name in ["agent-1", "agent-1:10250"] {
        assert_eq!(raw(kubectl, &format!("/api/v1/nodes/{name}/proxy/healthz")), "ok");
    }
    let pods: Vec<String> = ["agent-1", "agent-2"]
        .iter()
        .map(|node| raw(kubectl, &format!("/api/v1/nodes/{node}/proxy/pods")))
        .collect();
    assert!(pods.iter().all(|list| list.starts_with(r#"{"apiVersion":"v1""#) || list.contains("PodList")));
    assert!(pods.concat().contains(r#""name":"odd""#), "{pods:?}");
    let said = kubectl.fails("get --raw /api/v1/nodes/agent-1/proxy/exec/default/web/web?command=true");
    assert!(said.contains("the server could not find the requested resource"), "{said}");
}

fn discovery_names_them(kubectl: &Kubectl) {
    let resources = raw(kubectl, "/api/v1");
    for (name, namespaced, kind) in [
        ("nodes", false, "NodeProxyOptions"),
        ("pods", true, "PodProxyOptions"),
        ("services", true, "ServiceProxyOptions"),
    ] {
        let listed = format!(
            r#"{{"name":"{name}/proxy","singularName":"","namespaced":{namespaced},"kind":"{kind}","verbs":["create","delete","get","patch","update"]}}"#
        );
        assert!(resources.contains(&listed), "{listed}: {resources}");
    }
}

/// A `kubectl proxy` that runs.
struct Proxy {
    child: Child,
    /// It ends when nobody hears it.
    _said: BufReader<ChildStdout>,
    port: u16,
}

impl Proxy {
    fn begin(kubectl: &Kubectl) -> Self {
        let mut command = kubectl.command("proxy --port=0 --reject-paths=^nothing$");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("kubectl starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says where");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        Self { child, _said: said, port: port.unwrap_or_else(|| panic!("no port in {line:?}")) }
    }

    /// Sends a request's head.
    fn open(&self, method: &str, path: &str, headers: &str) -> TcpStream {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        connection.set_read_timeout(Some(SOON)).expect("set");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{headers}\r\n", self.port);
        connection.write_all(head.as_bytes()).expect("sent");
        connection
    }

    /// The whole answer, in which the connection ends.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let headers = format!("Connection: close\r\nX-Own: 1\r\nContent-Length: {}\r\n", body.len());
        let mut connection = self.open(method, path, &headers);
        connection.write_all(body.as_bytes()).expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn methods_and_headers_go_on(proxy: &Proxy) {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let answer = proxy.ask(method, &format!("{PODS}/odd/proxy/x?y"), "the body");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("{method} /x?y\n")), "{answer}");
        assert!(answer.contains("x-own: 1\n") && answer.contains("the body"), "{answer}");
    }
    let answer = proxy.ask("GET", &format!("{PODS}/odd/proxy/teapot"), "");
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    assert!(answer.to_lowercase().contains("x-tea: green") && answer.contains("short and stout"), "{answer}");
    let answer = proxy.ask("HEAD", &format!("{PODS}/odd/proxy/large"), "");
    assert!(answer.contains("Content-Length: 100000000") && answer.ends_with("\r\n\r\n"), "{answer}");
}

fn answers_lead_back(proxy: &Proxy) {
    let here = format!("{PODS}/odd/proxy");
    let answer = proxy.ask("GET", &format!("{here}?a=b"), "");
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    assert!(answer.contains(&format!("Location: {here}/?a=b\r\n")), "{answer}");
    let answer = proxy.ask("GET", &format!("{here}/away"), "");
    assert!(answer.contains(&format!("Location: {here}/login\r\n")), "{answer}");
    let answer = proxy.ask("GET", &format!("{here}/page"), "");
    assert!(answer.contains(&format!(r#"<a href="{here}/rewriteme">test</a>"#)), "{answer}");
}

/// After 101, whatever is said goes through.
fn other_protocols_go_through(proxy: &Proxy) {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let connection = proxy.open("GET", &format!("{PODS}/odd/proxy/socket"), upgrade);
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    connection.read_line(&mut line).expect("an answer");
    assert!(line.starts_with("HTTP/1.1 101 "), "{line}");
    while line != "\r\n" {
        line.clear();
        assert!(connection.read_line(&mut line).expect("a header") > 0, "the head is whole");
    }
    for word in ["hello\n", "again\n"] {
        connection.get_mut().write_all(word.as_bytes()).expect("sent");
        line.clear();
        connection.read_line(&mut line).expect("repeated");
        assert_eq!(line, word);
    }
}

/// More than any buffer holds, in both directions, and what is there goes on at once.
fn much_goes_through(proxy: &Proxy, cluster: &Cluster) {
    let before = weights(cluster);
    let path = format!("{PODS}/odd/proxy");
    let mut slow = BufReader::new(proxy.open("GET", &format!("{path}/slow"), ""));
    let mut line = String::new();
    while !line.contains("one\n") {
        assert!(slow.read_line(&mut line).expect("what is there") > 0, "{line}");
    }
    let mut down = proxy.open("GET", &format!("{path}/large"), "Connection: close\r\n");
    let read = std::io::copy(&mut down, &mut std::io::sink()).expect("read");
    assert!(read > LARGE_BYTES as u64, "{read}");
    let headers = format!("Connection: close\r\nContent-Length: {LARGE_BYTES}\r\n");
    let mut up = proxy.open("POST", &format!("{path}/count"), &headers);
    for _ in 0..LARGE_BYTES / 1000 {
        up.write_all(&[7; 1000]).expect("sent");
    }
    let mut answer = String::new();
    up.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains(&LARGE_BYTES.to_string()), "{answer}");
    // Who does not read holds up only itself.
    let stalled = proxy.open("GET", &format!("{path}/large"), "");
    assert_eq!(proxy.ask("GET", &format!("{path}/x"), "").lines().next(), Some("HTTP/1.1 200 OK"));
    drop(stalled);
    for (process, before) in before {
        let now = weight(cluster, &process);
        assert!(now < before + GROWTH_KIB_MAX, "{process} grew from {before} to {now} KiB");
    }
}

fn weights(cluster: &Cluster) -> Vec<(String, u64)> {
    let processes = ["server-1", "server-2", "server-3", "agent-1", "agent-2"];
    processes.iter().map(|name| ((*name).to_owned(), weight(cluster, name))).collect()
}

fn weight(cluster: &Cluster, process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid(process))).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a weight");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn failures_have_reasons(kubectl: &Kubectl) {
    for (path, complaint) in [
        (format!("{PODS}/absent/proxy/"), r#"pods "absent" not found"#),
        (format!("{PODS}/web:9/proxy/"), "connect: connection refused"),
        (format!("{PODS}/web:9/proxy/"), "error trying to reach service: dial tcp"),
        (format!("{SERVICES}/nobody/proxy/"), r#"no endpoints available for service "nobody""#),
        (format!("{SERVICES}/web:81/proxy/"), r#"no service port 81 found for service "web""#),
        (format!("{PODS}/https:web:8080/proxy/"), "server gave HTTP response to HTTPS client"),
    ] {
        let said = kubectl.fails(&format!("get --raw {path}"));
        assert!(said.contains(complaint), "{path}: {said}");
    }
}

/// The method is the verb.
fn only_who_may(kubectl: &Kubectl) {
    kubectl.ok("create role reads --verb=get --resource=pods/proxy");
    kubectl.ok("create rolebinding reads --role=reads --user=reader");
    let path = format!("{PODS}/odd/proxy/x");
    eventually(SOON, "the role is known", || {
        let said = kubectl.run(&format!("get --raw {path} --as reader"));
        if said.ok { Ok(said) } else { Err(said) }
    });
    let said = kubectl.with_input(&format!("create --raw {path} -f - --as reader"), "x");
    let complaint =
        r#"User "reader" cannot create resource "pods/proxy" in API group "" in the namespace "default""#;
    assert!(!said.ok && said.stderr.contains(complaint), "{said:?}");
    assert!(kubectl.with_input(&format!("create --raw {path} -f -"), "x").stdout.starts_with("POST /x\n"));
}

/// What answered without end is ended when nobody hears it.
fn a_client_that_goes_away_ends_it(proxy: &Proxy, kubectl: &Kubectl) {
    let left = || {
        let processes = kubectl.ok("exec odd -- ps");
        processes.lines().filter(|line| line.contains("{head}")).count()
    };
    let connection = proxy.open("GET", &format!("{PODS}/odd/proxy/large"), "");
    eventually(SOON, "it begins", || if left() == 1 { Ok(()) } else { Err(left()) });
    drop(connection);
    eventually(SOON, "it ends", || if left() == 0 { Ok(()) } else { Err(left()) });
}
