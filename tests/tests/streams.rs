//! exec, attach, port-forward and cp, by every version of kubectl, into real containers: over SPDY (1.20), over
//! WebSocket and over SPDY inside WebSocket (the others).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const VERSIONS: &[&str] = &["1.20", "1.32", "1.36"];
const SOON: Duration = Duration::from_secs(30);
const LARGE_BYTES: usize = 100_000_000;

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: 'localhost/web:1'}]
---
apiVersion: v1
kind: Pod
metadata: {name: listens}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: cat
    image: localhost/web:1
    stdin: true
    command: [sh, -c, 'while read line; do echo heard $line; done; sleep 1000']
  - {name: other, image: 'localhost/web:1', command: [sleep, '1000']}
---
apiVersion: v1
kind: Pod
metadata: {name: over}
spec:
  restartPolicy: Never
  containers: [{name: over, image: 'localhost/web:1', command: ['true']}]
---
apiVersion: v1
kind: Pod
metadata: {name: nowhere}
spec:
  nodeSelector: {no: node}
  containers: [{name: c, image: 'localhost/web:1'}]
";

#[test]
fn streams_work_with_every_version() {
    let cluster = Cluster::start(Size { servers: 3, agents: 1 });
    let newest = cluster.kubectl("1.36");
    newest.apply(PODS);
    newest.ok("wait pod/web pod/listens --for=condition=Ready --timeout=60s");
    newest.ok("wait pod/over --for=jsonpath={.status.phase}=Succeeded --timeout=60s");
    discovery_names_them(&newest);
    for version in VERSIONS {
        let kubectl = cluster.kubectl(version);
        commands_speak_and_hear(&kubectl);
        commands_fail_as_they_must(&kubectl);
        much_goes_through(&kubectl);
        a_terminal_has_a_size(&kubectl);
        ports_are_forwarded(&kubectl);
        attached(&kubectl);
        files_are_copied(&kubectl, &cluster);
    }
    a_client_that_goes_away_takes_its_streams_along(&newest);
    only_who_may_create_may_connect(&newest);
}

/// Runs it in the pod `web`, to its end.
fn exec(kubectl: &Kubectl, flags: &str, command: &[&str], input: &[u8]) -> Output {
    let mut kubectl = kubectl.command(&format!("exec {flags} web --"));
    let mut child = kubectl
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that has failed reads nothing.
            let _unread = stdin.write_all(input);
        });
        child.wait_with_output().expect("kubectl runs")
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn discovery_names_them(kubectl: &Kubectl) {
    let resources = kubectl.ok("get --raw /api/v1");
    for (name, kind) in
        [("attach", "PodAttachOptions"), ("exec", "PodExecOptions"), ("portforward", "PodPortForwardOptions")]
    {
        let listed = format!(
            r#"{{"name":"pods/{name}","singularName":"","namespaced":true,"kind":"{kind}","verbs":["create","get"]}}"#
        );
        assert!(resources.contains(&listed), "{listed}: {resources}");
    }
}

fn commands_speak_and_hear(kubectl: &Kubectl) {
    let said = exec(kubectl, "", &["sh", "-c", "echo out; echo err >&2"], b"");
    assert_eq!(
        (text(&said.stdout), text(&said.stderr)),
        ("out\n".to_owned(), "err\n".to_owned()),
        "{kubectl:?}"
    );
    let said = exec(kubectl, "-i", &["cat"], b"one\ntwo\n");
    assert_eq!(text(&said.stdout), "one\ntwo\n", "{}", text(&said.stderr));
    let odd = "printf '%s|' \"$@\"";
    let said = exec(kubectl, "", &["sh", "-c", odd, "sh", "a b", "c&d=e%20", "\u{e4}+\n"], b"");
    assert_eq!(text(&said.stdout), "a b|c&d=e%20|\u{e4}+\n|", "arguments arrive as they are");
    let said = exec(kubectl, "", &["sh", "-c", "exit 7"], b"");
    assert_eq!(said.status.code(), Some(7), "{}", text(&said.stderr));
    assert!(text(&said.stderr).contains("command terminated with exit code 7"), "{}", text(&said.stderr));
}

fn commands_fail_as_they_must(kubectl: &Kubectl) {
    let said = text(&exec(kubectl, "", &["no-such-program"], b"").stderr);
    let why =
        r#"unable to start container process: exec: "no-such-program": executable file not found in $PATH"#;
    assert!(said.contains("failed to exec in container: ") && said.contains(why), "{said}");
    let cases = [
        ("exec web -c none -- true", "container none is not valid for pod web"),
        ("exec absent -- true", r#"pods "absent" not found"#),
        ("exec over -- true", "cannot exec into a container in a completed pod; current phase is Succeeded"),
        ("exec nowhere -- true", "pod nowhere does not have a host assigned"),
        ("attach nowhere", "pod nowhere does not have a host assigned"),
    ];
    for (arguments, complaint) in cases {
        let said = kubectl.fails(arguments);
        assert!(said.contains(complaint), "{arguments}: {said}");
    }
    let path = "/api/v1/namespaces/default/pods";
    let said = kubectl.fails(&format!("get --raw {path}/web/exec?command=true&stdout=true"));
    assert!(said.contains("Upgrade request required"), "{said}");
    let said = kubectl.fails(&format!("get --raw {path}/listens/exec?command=true&stdout=true"));
    let complaint = "a container name must be specified for pod listens, choose one of: [cat other]";
    assert!(said.contains(complaint), "{said}");
}

/// More than any buffer holds, in both directions.
fn much_goes_through(kubectl: &Kubectl) {
    let down = exec(kubectl, "", &["head", "-c", &LARGE_BYTES.to_string(), "/dev/zero"], b"");
    assert_eq!(down.stdout.len(), LARGE_BYTES, "{}", text(&down.stderr));
    let up = exec(kubectl, "-i", &["wc", "-c"], &vec![7; LARGE_BYTES]);
    assert_eq!(text(&up.stdout).trim(), LARGE_BYTES.to_string(), "{}", text(&up.stderr));
}

/// `script` gives kubectl a terminal of its own.
fn a_terminal_has_a_size(kubectl: &Kubectl) {
    let exec = kubectl.command("exec -it web -- sh -c");
    let quoted: Vec<String> =
        exec.get_args().map(|argument| format!("'{}'", argument.to_string_lossy())).collect();
    let inside = "tty -s || true; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done; busybox stty size";
    let line = format!(
        "stty rows 33 cols 77; '{}' {} '{inside}'",
        exec.get_program().to_string_lossy(),
        quoted.join(" ")
    );
    let mut script = Command::new("script");
    for (name, value) in exec.get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    let output =
        script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().expect("script runs");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("33 77\r\n"), "{said:?}");
}

fn ports_are_forwarded(kubectl: &Kubectl) {
    let mut web = Forwarding::begin(kubectl, 8080);
    for _ in 0..3 {
        let mut connection = web.connect();
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
        let mut page = String::new();
        connection.read_to_string(&mut page).expect("an answer");
        assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("web\n"), "{page}");
    }
    web.end();
    let mut nothing = Forwarding::begin(kubectl, 9);
    let _closed = nothing.connect().read(&mut [0; 8]);
    let mut complaint = String::new();
    let stderr = nothing.child.stderr.take().expect("piped");
    BufReader::new(stderr).read_line(&mut complaint).expect("it complains");
    assert!(complaint.contains("error forwarding port 9 to pod web"), "{complaint}");
    assert!(complaint.contains("Connection refused"), "{complaint}");
    nothing.end();
}

/// A `kubectl port-forward` that runs.
struct Forwarding {
    child: Child,
    /// It ends when nobody hears it.
    _said: BufReader<ChildStdout>,
    port: u16,
}

impl Forwarding {
    fn begin(kubectl: &Kubectl, port: u16) -> Self {
        let mut command = kubectl.command(&format!("port-forward pod/web :{port}"));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says where");
        // Forwarding from 127.0.0.1:40000 -> 8080
        let port = line.split([':', ' ']).find_map(|word| word.parse::<u16>().ok());
        let port = port.unwrap_or_else(|| panic!("no port in {line:?}"));
        Self { child, _said: said, port }
    }

    fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        connection.set_read_timeout(Some(SOON)).expect("set");
        connection
    }

    fn end(&mut self) {
        // The newer ones end by themselves after the first error.
        let _already = self.child.kill();
        self.child.wait().expect("gone");
    }
}

fn attached(kubectl: &Kubectl) {
    let mut child = kubectl
        .command("attach -i listens -c cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut said = BufReader::new(child.stdout.take().expect("piped"));
    for word in ["hello", "again"] {
        writeln!(stdin, "{word}").expect("sent");
        let mut line = String::new();
        while !line.contains("heard") {
            line.clear();
            assert!(said.read_line(&mut line).expect("output") > 0, "it goes on");
        }
        assert_eq!(line, format!("heard {word}\n"));
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
}

fn files_are_copied(kubectl: &Kubectl, cluster: &Cluster) {
    let there = cluster.dir().join("there");
    let back = cluster.dir().join("back");
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&there, &content).expect("written");
    kubectl.ok(&format!("cp {} web:/tmp/copied", there.display()));
    let _none = std::fs::remove_file(&back);
    kubectl.ok(&format!("cp web:/tmp/copied {}", back.display()));
    assert!(std::fs::read(&back).expect("read") == content, "what comes back is what went there");
}

fn a_client_that_goes_away_takes_its_streams_along(kubectl: &Kubectl) {
    let running = || text(&exec(kubectl, "", &["ps", "-o", "args"], b"").stdout).contains("cat -");
    let mut cat =
        kubectl.command("exec -i web -- cat -").stdin(Stdio::piped()).spawn().expect("kubectl starts");
    eventually(SOON, "the command runs", || expect_that(running(), "not yet"));
    cat.kill().expect("killed");
    cat.wait().expect("gone");
    eventually(SOON, "its input has ended, and so has it", || expect_that(!running(), "still running"));
}

/// A WebSocket begins with a GET: who may only `get` must not get in by it.
fn only_who_may_create_may_connect(kubectl: &Kubectl) {
    for verbs in ["get", "create", "get,create"] {
        let name = verbs.replace(',', "-");
        kubectl.ok(&format!("create role {name} --verb={verbs} --resource=pods/exec"));
        kubectl.ok(&format!("create rolebinding {name} --role={name} --user={name}"));
        kubectl.ok(&format!("create rolebinding {name}-view --clusterrole=view --user={name}"));
        let said = kubectl.run(&format!("exec web --as={name} -- echo in"));
        // With `create` alone the WebSocket is refused, and kubectl goes on with a POST.
        assert_eq!(said.ok, verbs != "get", "{verbs}: {}", said.stderr);
        let forbidden = r#"cannot create resource "pods/exec" in API group """#;
        assert!(said.ok || said.stderr.contains(forbidden), "{}", said.stderr);
    }
}
