//! A process becomes a container, on this machine's kernel: what it sees, who it is, what it may do, and why it
//! did not start.
//!
//! Needs root, busybox-static and the `navarch` program of the same build. Everything is made in a folder and in
//! namespaces that go with their processes.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test, in its helpers too")]

use std::path::Path;

use serde_json::{Value, json};

use fixture::{Fixture, Outcome, bind};

#[path = "container_process/beside.rs"]
mod beside;
#[path = "container_process/fixture.rs"]
mod fixture;
#[path = "container_process/image_volumes.rs"]
mod image_volumes;
#[path = "container_process/node.rs"]
mod node;

/// What the script writes; it succeeds.
fn told(fixture: &Fixture, container: &Value) -> String {
    let outcome = fixture.run(container);
    assert_eq!((outcome.code, &outcome.failure), (0, &None), "{}", outcome.text);
    outcome.text
}

fn failed(fixture: &Fixture, container: &Value) -> (i32, String) {
    let Outcome { text, code, failure } = fixture.run(container);
    (code, failure.unwrap_or_else(|| panic!("it started: {text}")))
}

#[test]
fn it_is_alone_with_its_files() {
    let fixture = Fixture::make();
    fixture.image_file("greeting", "hello");
    let script = "echo $$ $A $HOME; pwd; cat /greeting; echo; ls /; cd /proc; echo [0-9]*; \
                  echo mine >/written; cat /proc/self/oom_score_adj; umask; cat /proc/1/comm; ls /proc/self/fd";
    let text = told(&fixture, &fixture.container(script));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "1 b c /root",
            "/",
            "hello",
            "bin",
            "dev",
            "etc",
            "greeting",
            "proc",
            "root",
            "sys",
            "tmp",
            "1",
            "500",
            "0022",
            "sh",
            "0",
            "1",
            "2",
            "3",
        ],
        "{text}"
    );
    assert_eq!(std::fs::read_to_string(fixture.path("upper/written")).unwrap(), "mine\n");
    assert_eq!(
        std::fs::read_dir(fixture.path("merged")).unwrap().count(),
        0,
        "nothing is mounted on the node"
    );
}

#[test]
fn devices_and_kernel_files_are_as_in_every_container() {
    let fixture = Fixture::make();
    let text = told(&fixture, &fixture.container("ls -l /dev | awk '{print $1, $5, $6, $NF}'; mount"));
    for expected in [
        "crw-rw-rw- 1, 3 null",
        "crw-rw-rw- 1, 7 full",
        "crw-rw-rw- 5, 0 tty",
        "proc on /proc type proc (rw,nosuid,nodev,noexec,relatime)",
        "tmpfs on /dev type tmpfs (rw,nosuid,size=65536k,mode=755)",
        "devpts on /dev/pts type devpts (rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666)",
        "tmpfs on /dev/shm type tmpfs (rw,nosuid,nodev,noexec,relatime,size=65536k)",
        "mqueue on /dev/mqueue type mqueue (rw,nosuid,nodev,noexec,relatime)",
        "sysfs on /sys type sysfs (ro,nosuid,nodev,noexec,relatime)",
        "proc on /proc/sys type proc (ro,nosuid,nodev,noexec,relatime)",
    ] {
        assert!(
            text.lines().any(|line| line.split_whitespace().eq(expected.split(' '))),
            "{expected}\n{text}"
        );
    }
    assert!(text.contains("overlay on / type overlay (rw,"), "{text}");
    assert!(!text.contains("console"), "{text}");
    let script = "cat /proc/keys; ls /sys/firmware; echo 1 >/proc/sys/kernel/domainname; echo x >/sys/x; \
                  head -c 3 /dev/zero | wc -c; echo y >/dev/full; test -c /dev/ptmx && echo ptmx";
    let text = told(&fixture, &fixture.container(script));
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "3",
            "ptmx",
            "sh: can't create /proc/sys/kernel/domainname: Read-only file system",
            "sh: can't create /sys/x: Read-only file system",
            "sh: write error: No space left on device",
        ],
        "masks are empty, and what is read-only says so"
    );
}

#[test]
fn volumes_are_bound_and_read_only_where_they_should_be() {
    let fixture = Fixture::make();
    std::fs::create_dir(fixture.path("volume")).unwrap();
    std::fs::write(fixture.path("volume/file"), "from the node").unwrap();
    let mut container = fixture.container(
        "cat /deep/er/v/file /one; echo; echo new >/deep/er/v/new; echo no >/ro/no; echo no >/no; id -u",
    );
    let mut read_only = bind(&fixture.path("volume"), "/ro");
    read_only["readonly"] = json!(true);
    container["mounts"] = json!([
        bind(&fixture.path("volume"), "/deep/er/v"),
        bind(&fixture.path("volume/file"), "/one"),
        read_only,
    ]);
    container["root"]["readonly"] = json!(true);
    let text = told(&fixture, &container);
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "from the nodefrom the node",
            "0",
            "sh: can't create /ro/no: Read-only file system",
            "sh: can't create /no: Read-only file system",
        ]
    );
    assert_eq!(std::fs::read_to_string(fixture.path("volume/new")).unwrap(), "new\n");
}

#[test]
fn no_link_of_an_image_leads_out() {
    let fixture = Fixture::make();
    let outside = fixture.path("outside");
    std::fs::create_dir_all(outside.join("etc")).unwrap();
    let up = format!("../../../../../../../..{}", outside.display());
    std::os::unix::fs::symlink(&up, fixture.path("layer/relative")).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.path("layer/absolute")).unwrap();
    std::os::unix::fs::symlink("/run/dangling", fixture.path("layer/later")).unwrap();
    std::fs::create_dir(fixture.path("volume")).unwrap();
    std::fs::write(fixture.path("volume/f"), "v").unwrap();
    let file = fixture.path("volume/f");
    let mut container = fixture.container("cat /relative/made/f /absolute/g /later/h; cat /run/dangling/h");
    container["mounts"] = json!([
        bind(&fixture.path("volume"), "/relative/made"),
        bind(&file, "/absolute/g"),
        bind(&file, "/later/h"),
        bind(&file, "/../../escape"),
    ]);
    container["process"]["working_dir"] = json!("/absolute/work");
    assert_eq!(told(&fixture, &container), "vvvv");
    let found: Vec<_> =
        std::fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(found, ["etc"], "nothing was made outside of the root");
    assert_eq!(std::fs::read_dir(outside.join("etc")).unwrap().count(), 0);
    assert!(!Path::new("/escape").exists());
}

#[test]
fn a_root_that_shows_another_proc_is_refused() {
    let fixture = Fixture::make();
    std::os::unix::fs::symlink("/etc", fixture.path("layer/proc")).unwrap();
    let (code, message) = failed(&fixture, &fixture.container("true"));
    assert_eq!((code, message.as_str()), (128, "make /proc: too many levels of symbolic links"));
    std::fs::remove_file(fixture.path("layer/proc")).unwrap();
    let mut container = fixture.container("true");
    container["mounts"] = json!([bind(&fixture.path("layer"), "/proc/self")]);
    assert_eq!(failed(&fixture, &container).1, "mount at /proc/self: it is inside /proc");
}

#[test]
fn many_layers_make_one_root() {
    let fixture = Fixture::make();
    let mut layers: Vec<_> =
        (0..200).map(|number| fixture.path(&format!("layers/{number:0>40}/fs"))).collect();
    for (number, layer) in layers.iter().enumerate() {
        std::fs::create_dir_all(layer).unwrap();
        std::fs::write(layer.join("top"), number.to_string()).unwrap();
    }
    std::fs::write(layers[199].join("bottom"), "199").unwrap();
    layers.push(fixture.path("layer"));
    let mut container = fixture.container("cat /top; echo; cat /bottom");
    container["root"]["layers"] = json!(layers);
    assert_eq!(told(&fixture, &container), "0\n199");
}

#[test]
fn it_is_who_the_image_or_the_pod_says() {
    let fixture = Fixture::make();
    let ids = |user: Value| {
        let mut container = fixture.container("id -u; id -g; id -G; echo $HOME; echo out >/dev/stdout");
        container["process"]["user"] = user;
        told(&fixture, &container).replace('\n', " ").trim_end().to_owned()
    };
    let user = |name: &str| json!({"name": name, "group": null, "supplemental_groups": []});
    assert_eq!(ids(user("web")), "101 102 102 33 /srv/web out");
    assert_eq!(ids(user("1234:www")), "1234 33 33 / out");
    let asked = json!({"name": "101", "group": 7, "supplemental_groups": [2000, 33]});
    assert_eq!(ids(asked), "101 7 7 33 2000 /srv/web out");
    let mut unknown = fixture.container("true");
    unknown["process"]["user"] = user("nobody");
    let message = "unable to find user nobody: no matching entries in passwd file".to_owned();
    assert_eq!(failed(&fixture, &unknown), (128, message));
}

#[test]
fn capabilities_are_the_containers() {
    let fixture = Fixture::make();
    let sets = |user: &str, capabilities: Value, no_new_privileges: bool| {
        let mut container = fixture.container("awk '/^Cap|^NoNew/ {print $2}' /proc/self/status");
        container["process"]["user"]["name"] = json!(user);
        container["process"]["capabilities"] = capabilities;
        container["process"]["no_new_privileges"] = json!(no_new_privileges);
        told(&fixture, &container).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (none, some) = ("0000000000000000", "0000000000000401");
    // Inheritable, permitted, effective, bounding, ambient.
    let two = json!({"Only": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]});
    assert_eq!(sets("0", two.clone(), false), [none, some, some, some, none, "0"]);
    assert_eq!(sets("1234", two, true), [none, none, none, some, none, "1"]);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).unwrap();
    assert_eq!(sets("0", json!("All"), false)[1..4], [own, own, own]);
    let mut unknown = fixture.container("true");
    unknown["process"]["capabilities"] = json!({"Only": ["CAP_FLY"]});
    assert_eq!(failed(&fixture, &unknown).1, "unknown capability \"CAP_FLY\"");
}

#[test]
fn calls_are_filtered_with_and_without_new_privileges() {
    let fixture = Fixture::make();
    let script = "awk '/^Seccomp:|^NoNew/ {print $2}' /proc/self/status; unshare -m true; mount -t tmpfs t /tmp; \
                  mkdir -p /tmp/d; chmod 700 /tmp/d; echo $?";
    let run = |seccomp: Value, no_new_privileges: bool, capabilities: Value| {
        let mut container = fixture.container(script);
        container["process"]["seccomp"] = seccomp;
        container["process"]["capabilities"] = capabilities;
        container["process"]["no_new_privileges"] = json!(no_new_privileges);
        told(&fixture, &container).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let unshare = "unshare: unshare(0x20000): Operation not permitted";
    let mount = "mount: permission denied (are you root?)";
    let all = json!("All");
    assert_eq!(run(json!("Unconfined"), false, all.clone()), ["0", "0", "0"]);
    let some = json!({"Only": ["CAP_CHOWN"]});
    assert_eq!(run(json!("RuntimeDefault"), false, some.clone()), ["0", "2", "0", unshare, mount]);
    assert_eq!(run(json!("RuntimeDefault"), true, some.clone()), ["1", "2", "0", unshare, mount]);
    assert_eq!(run(json!("RuntimeDefault"), false, all.clone()), ["0", "2", "0"]);
    let profile = fixture.path("profile.json");
    let refuses =
        json!({"names": ["unshare", "chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95});
    let text = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refuses]}).to_string();
    std::fs::write(&profile, text).unwrap();
    let file = json!({"File": profile});
    let unsupported = "unshare: unshare(0x20000): Operation not supported";
    let chmod = "chmod: /tmp/d: Operation not supported";
    assert_eq!(run(file.clone(), false, all), ["0", "2", "1", unsupported, chmod]);
    std::fs::write(&profile, "{}").unwrap();
    let mut broken = fixture.container("true");
    broken["process"]["seccomp"] = file;
    let (code, message) = failed(&fixture, &broken);
    assert_eq!(code, 128);
    assert!(message.contains("profile.json: missing field `defaultAction`"), "{message}");
}

#[test]
fn what_cannot_run_says_why() {
    let fixture = Fixture::make();
    fixture.image_file("bin/noexec", "plain");
    fixture.image_file("bin/nonsense", "nonsense");
    fixture.image_file("bin/orphan", "#!/nowhere\n");
    for name in ["nonsense", "orphan"] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = fixture.path("layer/bin").join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let why = |command: &str| {
        let mut container = fixture.container("");
        container["process"] = fixture::process(&[command]);
        failed(&fixture, &container)
    };
    let expected = |code: i32, message: &str| (code, message.to_owned());
    assert_eq!(why("foo"), expected(127, "exec: \"foo\": executable file not found in $PATH"));
    assert_eq!(why("/no/foo"), expected(127, "exec: \"/no/foo\": stat /no/foo: no such file or directory"));
    assert_eq!(why("/etc/passwd"), expected(126, "exec: \"/etc/passwd\": permission denied"));
    assert_eq!(why("noexec"), expected(127, "exec: \"noexec\": executable file not found in $PATH"));
    assert_eq!(why("/etc"), expected(126, "exec: \"/etc\": is a directory"));
    assert_eq!(why("nonsense"), expected(126, "exec: \"nonsense\": exec format error"));
    assert_eq!(why("orphan"), expected(127, "exec: \"orphan\": no such file or directory"));
}
