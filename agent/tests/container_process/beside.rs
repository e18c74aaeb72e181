//! Beside a container's first process: others that are executed, the one that reaps, and terminals.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
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

#[test]
fn a_terminal_is_the_containers_own() {
    let fixture = Fixture::make();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = openpt(flags).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = {
        use std::os::unix::fs::OpenOptionsExt as _;
        File::options().read(true).write(true).custom_flags(nix::libc::O_NOCTTY).open(name).unwrap()
    };
    let script = "test -t 0 && echo typed on; echo by name >/dev/tty; tty; ls -l /dev/console | cut -c1; \
                  stat -c %u /dev/console; echo by console >/dev/console";
    let mut container = fixture.container(script);
    container["process"]["tty"] = json!(true);
    container["process"]["user"]["name"] = json!("web");
    let launch = json!({"Container": container});
    let mut started = fixture.launch(&launch, Processes::Own, Streams::Terminal(terminal));
    assert_eq!(started.failure(), None);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let mut controller = File::from(controller);
    // The kernel says that everybody has hung up with an error.
    while let Ok(length @ 1..) = controller.read(&mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    assert!(started.child.wait().unwrap().success());
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["typed on", "by name", "/dev/console", "c", "101", "by console"]);
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
