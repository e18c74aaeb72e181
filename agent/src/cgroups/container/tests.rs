//! Version 1 on this machine's kernel, where there is one; version 2 on files that only look like one.

use std::process::{Child, Command};

use super::*;

fn resources(shares: i64, memory: i64) -> LinuxContainerResources {
    LinuxContainerResources { cpu_shares: shares, memory_limit_in_bytes: memory, ..Default::default() }
}

/// Leaves nothing, however the test ends.
struct Purged(Cgroups);

impl Drop for Purged {
    fn drop(&mut self) {
        for _ in 0..100 {
            if self.0.purge() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn inside(cgroup: &ContainerCgroup, script: &str) -> Child {
    let joins = cgroup.folders().iter().map(|folder| format!("echo 0 >{}/cgroup.procs", folder.display()));
    let joins: Vec<String> = joins.collect();
    Command::new("sh").arg("-c").arg(format!("{} && {{ {script}; }}", joins.join(" && "))).spawn().unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen in time");
}

#[tokio::test]
async fn a_container_is_limited_counted_killed_and_removed() {
    let root = format!("navarch-cgroup-test-{}", std::process::id());
    let cgroups = Cgroups::detect(&root);
    let _purged = Purged(cgroups.clone());
    assert_eq!(cgroups.version, Version::V1, "version 2 is tested on files alone");
    let cgroup = cgroups.container(&format!("/{root}/pod"), "c");
    let full = DeviceNode { source: "/dev/kmsg".into(), target: "/dev/k".into(), permissions: "r".into() };
    cgroup.make(&resources(51, 64 << 20), DeviceAccess::Only(&[full])).unwrap();
    let read = |file: &str| std::fs::read_to_string(cgroup.files(file).next().unwrap()).unwrap();
    assert_eq!((read("cpu.shares").trim(), read("memory.limit_in_bytes").trim()), ("51", "67108864"));
    assert!(!read("cpuset.cpus").trim().is_empty());
    let devices = read("devices.list");
    assert!(devices.contains("c 1:3 rwm") && devices.contains("c 1:11 r\n"), "{devices}");
    assert!(!devices.contains("a *:* rwm"), "{devices}");

    cgroup.update(&resources(102, 32 << 20)).unwrap();
    assert_eq!((read("cpu.shares").trim(), read("memory.limit_in_bytes").trim()), ("102", "33554432"));
    let mut child = inside(&cgroup, "sleep 300 & sleep 300 & wait");
    until(|| cgroup.processes().len() == 3).await;
    let usage = cgroup.usage().unwrap();
    assert!(usage.cpu_nanoseconds > 0 && usage.working_set_bytes > 0, "{usage:?}");
    assert!(!cgroup.remove(), "not while something runs");
    assert!(cgroup.kill().await);
    child.wait().unwrap();

    assert_eq!(cgroup.oom_kills(), 0);
    let mut greedy = inside(&cgroup, "exec tail /dev/zero");
    assert!(!greedy.wait().unwrap().success());
    assert_eq!(cgroup.oom_kills(), 1);
    assert!(cgroups.purge(), "empty, so all of it goes");
    assert!(cgroup.folders().iter().all(|folder| !folder.exists()));
}

#[tokio::test]
async fn version_2_is_one_folder_with_its_own_files() {
    let mount = tempfile::tempdir().unwrap();
    std::fs::write(mount.path().join("cgroup.controllers"), "cpu memory").unwrap();
    let cgroups = Cgroups::at(mount.path(), "/n");
    let cgroup = cgroups.container("/n/pod", "c");
    let folder = mount.path().join("n/pod/c");
    std::fs::create_dir_all(&folder).unwrap();
    for (file, text) in [
        ("cpu.weight", ""),
        ("memory.max", ""),
        ("cgroup.procs", ""),
        ("cgroup.kill", ""),
        ("memory.current", "5000\n"),
        ("memory.stat", "anon 1\ninactive_file 2000\n"),
        ("memory.events", "oom 9\noom_kill 3\n"),
        ("cpu.stat", "usage_usec 7\n"),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    cgroup.make(&resources(1024, 4096), DeviceAccess::All).unwrap();
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    assert_eq!((read("cpu.weight"), read("memory.max")), ("39".to_owned(), "4096".to_owned()));
    assert_eq!(cgroup.usage(), Some(Usage { working_set_bytes: 3000, cpu_nanoseconds: 7000 }));
    assert_eq!(cgroup.oom_kills(), 3);
    assert!(cgroup.kill().await);
    assert_eq!(read("cgroup.kill"), "1");
}
