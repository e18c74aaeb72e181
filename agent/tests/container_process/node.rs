//! What a container shares with its node: cgroups, devices, mounts in both directions.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::fixture::{Fixture, bind};
use crate::{failed, told};

/// Folders in every hierarchy, removed at the end.
struct Folders(Vec<PathBuf>);

impl Folders {
    fn make() -> Self {
        let name = format!("navarch-process-test-{}", std::process::id());
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        let folders: Vec<PathBuf> = hierarchies.map(|hierarchy| hierarchy.join(&name)).collect();
        for folder in &folders {
            std::fs::create_dir(folder).unwrap();
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let above = folder.parent().unwrap().join(file);
                if let Ok(text) = std::fs::read(above).and_then(|text| {
                    if folder.join(file).exists() {
                        Ok(text)
                    } else {
                        Err(std::io::ErrorKind::NotFound.into())
                    }
                }) {
                    std::fs::write(folder.join(file), text).unwrap();
                }
            }
        }
        Self(folders)
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in &self.0 {
            // What was killed leaves a moment later.
            for _ in 0..100 {
                if std::fs::remove_dir(folder).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

#[test]
fn it_is_in_its_cgroups_and_sees_only_those() {
    let fixture = Fixture::make();
    let folders = Folders::make();
    let mut container = fixture.container(
        "sed 's/[^/]*//' /proc/self/cgroup | sort -u; ls /sys/fs/cgroup | wc -l; cat /sys/fs/cgroup/memory/cgroup.procs \
         | grep -cx 1; mkdir /sys/fs/cgroup/memory/x; touch /sys/fs/cgroup/x",
    );
    container["cgroups"] = json!(folders.0);
    let outcome = fixture.run(&container);
    let own = format!("/navarch-process-test-{}", std::process::id());
    let count = folders.0.len().to_string();
    assert_eq!(
        outcome.text.lines().collect::<Vec<_>>(),
        [
            own.as_str(),
            &count,
            "1",
            "mkdir: can't create directory '/sys/fs/cgroup/memory/x': Read-only file system",
            "touch: /sys/fs/cgroup/x: Read-only file system",
        ],
        "{outcome:?}"
    );
}

#[test]
fn devices_are_those_that_were_asked_for_and_all_when_privileged() {
    let fixture = Fixture::make();
    let list = "ls -l /dev/kmsg /dev/of/k 2>/dev/null | awk '{print $1, $5, $6, $NF}'; mount | grep -E ' /sys ' ; \
                cat /proc/self/oom_score_adj";
    let mut container = fixture.container(list);
    container["devices"] = json!([{"source": "/dev/kmsg", "target": "/dev/of/k", "permissions": "r"}]);
    container["process"]["oom_score_adj"] = json!(-998);
    let text = told(&fixture, &container);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("crw-") && lines[0].ends_with(" 1, 11 /dev/of/k"), "{text}");
    assert_eq!(lines[1], "sysfs on /sys type sysfs (ro,nosuid,nodev,noexec,relatime)");
    assert!(["0", "-998"].contains(&lines[2]), "as low as this process may go: {text}");
    container["privileged"] = json!(true);
    let text = told(&fixture, &container);
    assert!(text.contains("1, 11 /dev/kmsg") && text.contains("sysfs on /sys type sysfs (rw,"), "{text}");
    container["devices"][0]["source"] = json!("/etc/passwd");
    assert_eq!(failed(&fixture, &container).1, "/etc/passwd is no device");
}

/// Runs in a copy of the node's mounts, whose volume is a mount that others share.
fn with_shared_volume(run: impl FnOnce(&Fixture, &Path) + Send) {
    let fixture = Fixture::make();
    let volume = fixture.path("volume");
    std::fs::create_dir_all(volume.join("sub")).unwrap();
    let none = None::<&str>;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(Some(&volume), &volume, none, MsFlags::MS_BIND, none).unwrap();
            mount(none, &volume, none, MsFlags::MS_SHARED, none).unwrap();
            run(&fixture, &volume);
        });
    });
}

fn privileged(fixture: &Fixture, script: &str, mounts: &Value) -> Value {
    let mut container = fixture.container(script);
    container["mounts"] = mounts.clone();
    container["privileged"] = json!(true);
    container["process"]["capabilities"] = json!("All");
    container
}

#[test]
fn mounts_go_the_ways_that_were_asked_for() {
    with_shared_volume(|fixture, volume| {
        let mounted =
            || std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap().contains("volume/sub");
        let script = "mount -t tmpfs t /v/sub && echo mounted";
        let mut one = bind(volume, "/v");
        for propagation in ["Private", "HostToContainer"] {
            one["propagation"] = json!(propagation);
            assert_eq!(told(fixture, &privileged(fixture, script, &json!([one]))), "mounted\n");
            assert!(!mounted(), "{propagation}");
        }
        // What the node mounts reaches a container that is told to look.
        let waits = "echo ready; until [ -e /v/sub/new ]; do sleep 0.02; done; echo seen";
        let mut started = fixture.start(&privileged(fixture, waits, &json!([one])));
        assert_eq!(started.failure(), None);
        mount(Some("t"), &volume.join("sub"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        std::fs::write(volume.join("sub/new"), "").unwrap();
        assert_eq!(started.end().text, "ready\nseen\n");
        nix::mount::umount(&volume.join("sub")).unwrap();

        one["propagation"] = json!("Bidirectional");
        assert_eq!(told(fixture, &privileged(fixture, script, &json!([one]))), "mounted\n");
        assert!(mounted(), "the node sees it");
        one["source"] = json!(fixture.path("layer"));
        let message = failed(fixture, &privileged(fixture, script, &json!([one]))).1;
        assert!(message.ends_with("but is not on a shared mount"), "{message}");
    });
}

#[test]
fn read_only_reaches_as_far_as_was_asked_for() {
    with_shared_volume(|fixture, volume| {
        mount(Some("t"), &volume.join("sub"), Some("tmpfs"), MsFlags::MS_NOSUID, None::<&str>).unwrap();
        let mut top = bind(volume, "/top");
        top["readonly"] = json!(true);
        let mut all = bind(volume, "/all");
        all["readonly"] = json!(true);
        all["recursive_readonly"] = json!(true);
        let script = "touch /top/x; touch /all/x; touch /top/sub/x && echo below; touch /all/sub/y; \
                      grep /all/sub /proc/mounts | cut -d' ' -f4 | cut -d, -f1,2";
        let mut container = fixture.container(script);
        container["mounts"] = json!([top, all]);
        assert_eq!(
            told(fixture, &container).lines().collect::<Vec<_>>(),
            [
                "below",
                "ro,nosuid",
                "touch: /top/x: Read-only file system",
                "touch: /all/x: Read-only file system",
                "touch: /all/sub/y: Read-only file system",
            ]
        );
    });
}
