//! Beside a container's first process: others that are executed, the one that reaps, and terminals.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Pid;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::fixture::{Fixture, Outcome, Processes, Started, Streams, process};

fn end(mut started: Started) {
    started.child.kill().unwrap();
    started.child.wait().unwrap();
}

fn execute(fixture: &Fixture, container: &Value, leader: u32, process: &Value) -> Outcome {
    let launch = json!({"Exec": {"container": container, "leader": leader, "process": process}});
    fixture.launch(&launch, Processes::Of(leader), Streams::Pipes).end()
}

#[test]
fn a_process_joins_a_container_that_runs() {
    let fixture = Fixture::make();
    let container = fixture.container("echo first >/here; exec sleep 300");
    let mut first = fixture.start(&container);
    assert_eq!(first.failure(), None);
    let leader = first.child.id();
    // The program has been started, which is not yet that it has written.
    let script = "until [ -s /here ]; do sleep 0.01; done; cat /here /proc/1/comm; pwd; id -u; \
                  awk '/^Seccomp:/ {print $2}' /proc/self/status; mount | grep -c merged; kill -9 1; echo still";
    let mut second = process(&["sh", "-c", script]);
    second["user"]["name"] = json!("web");
    second["working_dir"] = json!("/tmp");
    second["seccomp"] = json!("RuntimeDefault");
    let outcome = execute(&fixture, &container, leader, &second);
    let lines: Vec<&str> = outcome.text.lines().collect();
    assert_eq!(
        lines,
        ["first", "sleep", "/tmp", "101", "2", "0", "still", "sh: can't kill pid 1: Operation not permitted"],
        "{outcome:?}"
    );
    let missing = execute(&fixture, &container, leader, &process(&["missing"]));
    assert_eq!(missing.code, 127);
    assert_eq!(missing.failure.unwrap(), "exec: \"missing\": executable file not found in $PATH");
    let mut elsewhere = process(&["true"]);
    elsewhere["working_dir"] = json!("/nowhere");
    let refused = execute(&fixture, &container, leader, &elsewhere);
    assert_eq!(refused.code, 128);
    assert_eq!(refused.failure.unwrap(), "enter the working directory /nowhere: no such file or directory");
    end(first);
}

#[test]
fn what_containers_of_a_pod_orphan_is_reaped() {
    let fixture = Fixture::make();
    let mut reaper = fixture.launch(&json!("Reaper"), Processes::Own, Streams::Pipes);
    assert_eq!(reaper.failure(), None, "it says that it is ready");
    let pid = reaper.child.id();
    // Nobody writes to the node's program through a process of a container.
    let program = statvfs(Path::new(&format!("/proc/{pid}/exe"))).unwrap();
    assert!(program.flags().contains(FsFlags::ST_RDONLY), "{program:?}");

    let script = "echo $$; sh -c 'sleep 0.2 & echo orphan $!'; sleep 0.5; cat /proc/1/comm | wc -l; \
                  grep -h ^State /proc/[0-9]*/status | grep -c Z";
    let mut container = fixture.container(script);
    container["pid_namespace"] = json!("Pod");
    let outcome = fixture.launch(&json!({"Container": container}), Processes::Of(pid), Streams::Pipes).end();
    let lines: Vec<&str> = outcome.text.lines().collect();
    assert_eq!(lines.len(), 4, "{outcome:?}");
    assert_ne!(lines[0], "1", "it is not the first");
    assert!(lines[1].starts_with("orphan "));
    assert_eq!(lines[2..], ["1", "0"], "{outcome:?}");

    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).unwrap();
    assert!(reaper.child.wait().unwrap().success());
}

/// A process with a terminal, and the terminal's other end.
fn with_terminal(fixture: &Fixture, launch: &Value, processes: Processes) -> (Started, File) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut started = fixture.launch(launch, processes, Streams::Terminal(theirs));
    assert_eq!(started.failure(), None);
    let (mut byte, mut room) = ([0; 1], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut received = RecvAncillaryBuffer::new(&mut room);
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(&ours, &mut [IoSliceMut::new(&mut byte)], &mut received, flags).unwrap();
    let message = received.drain().next();
    let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = message else { panic!("no terminal came") };
    (started, File::from(descriptors.next().unwrap()))
}

fn written(controller: &mut File) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    // The kernel says that everybody has hung up with an error.
    while let Ok(length @ 1..) = controller.read(&mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(text).unwrap()
}

/// What is typed before that would be shown in the midst of it.
fn written_until(controller: &mut File, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        assert_eq!(controller.read(&mut byte).unwrap(), 1, "{text}");
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn a_terminal_is_the_containers_own() {
    let fixture = Fixture::make();
    let script = "test -t 0 && echo typed on; echo by name >/dev/tty; tty; ls -l /dev/console | cut -c1; \
                  stat -c %u /dev/console; echo by console >/dev/console; ls -1 /dev/pts; \
                  echo by number >/dev/pts/0; read line; echo heard $line; ls -l /proc/self/fd 2>/dev/null | grep -c socket";
    let mut container = fixture.container(script);
    container["process"]["tty"] = json!(true);
    container["process"]["user"]["name"] = json!("web");
    let launch = json!({"Container": container});
    let (mut started, mut controller) = with_terminal(&fixture, &launch, Processes::Own);
    let mut text = written_until(&mut controller, "by number\r\n");
    controller.write_all(b"typed\n").unwrap();
    text += &written(&mut controller);
    assert_eq!(started.child.wait().unwrap().code(), Some(1), "grep finds no socket: {text}");
    let lines: Vec<&str> = text.lines().filter(|line| *line != "typed").collect();
    let expected = [
        "typed on",
        "by name",
        "/dev/pts/0",
        "c",
        "101",
        "by console",
        "0",
        "ptmx",
        "by number",
        "heard typed",
        "0",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn each_process_beside_has_a_terminal_of_the_container() {
    let fixture = Fixture::make();
    let container = fixture.container("exec sleep 300");
    let mut first = fixture.start(&container);
    assert_eq!(first.failure(), None);
    let leader = first.child.id();
    let mut process = process(&["sh", "-c", "tty; test -c $(tty) && stat -c %u $(tty); read wait"]);
    process["tty"] = json!(true);
    process["user"]["name"] = json!("web");
    let launch = json!({"Exec": {"container": container, "leader": leader, "process": process}});
    let one = with_terminal(&fixture, &launch, Processes::Of(leader));
    let other = with_terminal(&fixture, &launch, Processes::Of(leader));
    for (number, (mut started, mut controller)) in [one, other].into_iter().enumerate() {
        let mut text = written_until(&mut controller, "101\r\n");
        controller.write_all(b"\n").unwrap();
        text += &written(&mut controller);
        assert!(started.child.wait().unwrap().success(), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, [format!("/dev/pts/{number}").as_str(), "101"]);
    }
    // Whatever lies in its place is no terminal.
    let spoilt = fixture.container("mount -t tmpfs t /dev/pts; echo >/dev/pts/ptmx; exec sleep 300");
    let mut spoilt = spoilt;
    spoilt["process"]["capabilities"] = json!("All");
    let mut spoiler = fixture.start(&spoilt);
    assert_eq!(spoiler.failure(), None);
    let leader = spoiler.child.id();
    while std::fs::read_to_string(format!("/proc/{leader}/comm")).unwrap() != "sleep\n" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let launch = json!({"Exec": {"container": spoilt, "leader": leader, "process": process}});
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let refused = fixture.launch(&launch, Processes::Of(leader), Streams::Terminal(theirs)).end();
    assert_eq!((refused.code, refused.failure.as_deref()), (128, Some("/dev/pts/ptmx makes no terminals")));
    end(spoiler);
    end(first);
}

#[test]
fn a_container_ends_as_its_program_does() {
    let fixture = Fixture::make();
    assert_eq!(fixture.run(&fixture.container("exit 7")).code, 7);
    let mut started =
        fixture.start(&fixture.container("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"));
    assert_eq!(started.failure(), None);
    let mut ready = [0; 6];
    started.child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    kill(Pid::from_raw(started.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(started.end().code, 3, "signals are not blocked, and caught by whom they are for");
}
