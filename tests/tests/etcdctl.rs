//! Debian's etcdctl 3.4, one command group after the other, against one cluster of three real members.
//!
//! A group keeps to keys of its own, so that none disturbs the next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use expect_test::{Expect, expect};
use tests::cluster::{Cluster, Size};
use tests::etcdctl::Ctl;
use tests::eventually::{eventually, expect_that};

const PATIENCE: Duration = Duration::from_secs(30);

type Group = fn(&Ctl);

/// Every command group. They share the cluster: starting one costs more than using it.
const GROUPS: &[(&str, Group)] = &[
    ("put", put),
    ("get", get),
    ("del", del),
    ("txn", txn),
    ("watch", watch),
    ("lease", lease),
    ("lock", lock),
    ("elect", elect),
    ("make-mirror", make_mirror),
    ("member", member),
    ("endpoint", endpoint),
    ("alarm", alarm),
    ("defrag", defrag),
    ("compaction", compaction),
    ("move-leader", move_leader),
    ("snapshot", snapshot),
    ("check perf", check_perf),
    ("check datascale", check_datascale),
    ("role", role),
    ("user", user),
    ("auth", auth),
];

#[test]
fn every_command_group_works() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let ctl = Ctl::new(cluster.etcd_variables());
    let failed: Vec<&str> = GROUPS
        .iter()
        .filter(|(name, group)| {
            println!("etcdctl {name}");
            catch_unwind(AssertUnwindSafe(|| group(&ctl))).is_err()
        })
        .map(|(name, _)| *name)
        .collect();
    assert!(failed.is_empty(), "command groups that failed: {failed:?}");
}

fn check(ctl: &Ctl, arguments: &str, expected: &Expect) {
    expected.assert_eq(&ctl.said(arguments));
}

fn says(ctl: &Ctl, commands: &[(&str, &str)]) {
    for (arguments, expected) in commands {
        assert_eq!(ctl.said(arguments), *expected, "etcdctl {arguments}");
    }
}

fn put(ctl: &Ctl) {
    says(
        ctl,
        &[
            ("put p/a 1", "OK\n"),
            ("put --prev-kv p/a 2", "OK\np/a\n1\n"),
            ("put --ignore-value p/a", "OK\n"),
            ("get p/a", "p/a\n2\n"),
            ("put --ignore-value p/none", "Error: etcdserver: key not found\nexit 1\n"),
            ("put --ignore-lease p/none x", "Error: etcdserver: key not found\nexit 1\n"),
            ("put --lease=1234 p/a x", "Error: etcdserver: requested lease not found\nexit 1\n"),
            ("put -- p/dash -1", "OK\n"),
            ("put '' x", "Error: etcdserver: key is not provided\nexit 1\n"),
        ],
    );
    let big = ctl.file("big");
    std::fs::write(&big, vec![b'x'; 1_600_000]).expect("a file");
    let refused = ctl.said(&format!("put p/big < {}", big.display()));
    assert_eq!(refused, "Error: etcdserver: request is too large\nexit 1\n");
}

fn get(ctl: &Ctl) {
    let before = ctl.revision();
    for (key, value) in [("g/a", "3"), ("g/b", "2"), ("g/c", "1"), ("g/b", "9")] {
        check(ctl, &format!("put {key} {value}"), &expect!["OK\n"]);
    }
    check(
        ctl,
        "get --prefix g/ --keys-only",
        &expect![[r#"
        g/a

        g/b

        g/c

    "#]],
    );
    check(
        ctl,
        "get g/a g/c --print-value-only",
        &expect![[r#"
        3
        9
    "#]],
    );
    check(
        ctl,
        "get --from-key g/b --limit=1",
        &expect![[r#"
        g/b
        9
    "#]],
    );
    for (flags, expected) in [
        ("--sort-by=VALUE", expect!["1\n3\n9\n"]),
        ("--sort-by=VALUE --order=DESCEND", expect!["9\n3\n1\n"]),
        ("--sort-by=CREATE --order=DESCEND", expect!["1\n9\n3\n"]),
        ("--sort-by=MODIFY --order=ASCEND", expect!["3\n1\n9\n"]),
        ("--sort-by=VERSION --order=DESCEND --limit=1", expect!["9\n"]),
        ("--sort-by=KEY --order=DESCEND", expect!["1\n9\n3\n"]),
        ("--consistency=s --limit=2", expect!["3\n9\n"]),
    ] {
        check(ctl, &format!("get --prefix g/ --print-value-only {flags}"), &expected);
    }
    check(
        ctl,
        "get --hex g/a",
        &expect![[r#"
        \x67\x2f\x61
        \x33
    "#]],
    );
    let all = ctl.json("get --prefix g/ --limit=2");
    assert_eq!((&all["count"], &all["more"]), (&3.into(), &true.into()), "count ignores the limit: {all}");
    let old = ctl.json(&format!("get g/b --rev={}", before + 2));
    assert_eq!(old["kvs"][0]["value"], "Mg==", "the value at the older revision: {old}");
    assert!(old["header"]["revision"].as_i64() >= Some(before + 4), "the header has the newest: {old}");
    check(
        ctl,
        "get g/a --rev=999999999",
        &expect![[r#"
        Error: etcdserver: mvcc: required revision is a future revision
        exit 1
    "#]],
    );
    check(
        ctl,
        "get ''",
        &expect![[r#"
        Error: etcdserver: key is not provided
        exit 1
    "#]],
    );
    check(ctl, "get g/none", &expect![""]);
}

fn del(ctl: &Ctl) {
    for key in ["d/a", "d/b", "d/c", "d/d"] {
        check(ctl, &format!("put {key} v"), &expect!["OK\n"]);
    }
    says(
        ctl,
        &[
            ("del d/none", "0\n"),
            ("del --prev-kv d/a", "1\nd/a\nv\n"),
            ("del d/b d/c", "1\n"),
            ("del --prefix d/", "2\n"),
            ("put zzzz v", "OK\n"),
            ("del --from-key zzzz", "1\n"),
        ],
    );
}

fn txn(ctl: &Ctl) {
    let script = |text: &str| {
        let path = ctl.file("txn");
        std::fs::write(&path, text).expect("a file");
        format!("txn < {}", path.display())
    };
    let make = script("mod(\"t/k\") = \"0\"\n\nput t/k made\nget t/k\n\nget t/k\n\n");
    check(
        ctl,
        &make,
        &expect![[r#"
        SUCCESS

        OK

        t/k
        made
    "#]],
    );
    check(
        ctl,
        &make,
        &expect![[r#"
        FAILURE

        t/k
        made
    "#]],
    );
    let all = "value(\"t/k\") = \"made\"\nversion(\"t/k\") > \"0\"\ncreate(\"t/k\") < \"999999\"\n\
               mod(\"t/k\") != \"1\"\n\ndel t/k --prev-kv\nget t/k\n\n\n";
    check(
        ctl,
        &script(all),
        &expect![[r#"
        SUCCESS

        1
        t/k
        made

    "#]],
    );
    check(
        ctl,
        &script("\nput t/k 1\nput t/k 2\n\n\n"),
        &expect![[r#"
        Error: etcdserver: duplicate key given in txn request
        exit 1
    "#]],
    );
    let input = ctl.file("txn-i");
    std::fs::write(&input, "value(\"t/k\") = \"1\"\n\nput t/z 2\n\nput t/z 1\n\n").expect("a file");
    check(
        ctl,
        &format!("txn -i < {}", input.display()),
        &expect![[r#"
        compares:
        success requests (get, put, del):
        failure requests (get, put, del):
        FAILURE

        OK
    "#]],
    );
}

fn watch(ctl: &Ctl) {
    check(ctl, "put w/a before", &expect!["OK\n"]);
    let from = ctl.json("get w/a")["kvs"][0]["mod_revision"].as_i64().expect("a revision");
    let past = ctl.start("watch-past", &format!("watch --prefix w/ --prev-kv --rev={from}"));
    past.prints("PUT\nw/a\nbefore\n");
    let mut typed = ctl.start("watch-i", "watch -i");
    typed.say(&format!("watch w/b w/d --rev={from}"));
    check(ctl, "put w/b 1", &expect!["OK\n"]);
    typed.prints("PUT\nw/b\n1\n");
    typed.say("watch w/e");
    typed.say("progress");
    typed.mentions("progress notify: ");
    check(ctl, "put w/e 1", &expect!["OK\n"]);
    typed.mentions("PUT\nw/e\n1\n");
    check(ctl, "del w/a w/c", &expect!["2\n"]);
    past.mentions("DELETE\nw/a\nbefore\nw/a\n\n");
    past.mentions("DELETE\nw/b\n1\nw/b\n\n");
    let shell = "sh -c 'echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE'";
    let exec = ctl.start("watch-exec", &format!("watch w/x --rev={from} -- {shell}"));
    check(ctl, "put w/x 7", &expect!["OK\n"]);
    exec.mentions("\"PUT\" \"w/x\" \"7\"");
}

fn lease(ctl: &Ctl) {
    let granted = ctl.output("lease grant 600").stdout;
    let id = String::from_utf8_lossy(&granted).split(' ').nth(1).expect("lease <id> granted").to_owned();
    check(ctl, &format!("put --lease={id} l/k v"), &expect!["OK\n"]);
    check(ctl, &format!("lease keep-alive --once {id}"), &expect!["lease ID keepalived with TTL(600)\n"]);
    let known = ctl.said(&format!("lease timetolive --keys {id}"));
    assert!(known.contains("granted with TTL(600s)") && known.contains("attached keys([l/k])"), "{known}");
    assert!(String::from_utf8_lossy(&ctl.output("lease list").stdout).contains(&id));
    check(ctl, "put --ignore-lease l/k w", &expect!["OK\n"]);
    check(ctl, &format!("lease revoke {id}"), &expect!["lease ID revoked\n"]);
    check(ctl, "get l/k", &expect![""]);
    let short = ctl.json("lease grant 5")["ID"].as_i64().expect("an id");
    let kept = ctl.start("keep-alive", &format!("lease keep-alive {short:x}"));
    kept.mentions("lease ID keepalived with TTL(5)");
    check(ctl, &format!("lease revoke {short:x}"), &expect!["lease ID revoked\n"]);
    kept.mentions("lease ID expired or revoked.");
    check(ctl, &format!("lease timetolive {id}"), &expect!["lease ID already expired\n"]);
    check(
        ctl,
        "lease revoke 1234",
        &expect![[r#"
        Error: failed to revoke lease (etcdserver: requested lease not found)
        exit 1
    "#]],
    );
    check(
        ctl,
        "lease grant 10000000000",
        &expect![[r#"
        Error: failed to grant lease (etcdserver: too large lease TTL)
        exit 1
    "#]],
    );
}

/// The second waits for the first; each ends with its holder.
fn lock(ctl: &Ctl) {
    let first = ctl.start("lock-1", "lock mutex");
    first.mentions("mutex/");
    let second = ctl.start("lock-2", "lock mutex");
    let waiting = || ctl.json("get --prefix mutex/")["count"] == 2;
    eventually(PATIENCE, "two candidates", || expect_that(waiting(), "one candidate"));
    assert_eq!(second.printed(), "", "the lock is held");
    first.interrupt();
    second.mentions("mutex/");
    second.interrupt();
    check(ctl, "lock mutex echo held", &expect!["held\n"]);
    check(
        ctl,
        "lock mutex -- sh -c 'exit 5'",
        &expect![[r#"
        Error: exit status 5
        exit 1
    "#]],
    );
}

fn elect(ctl: &Ctl) {
    let first = ctl.start("elect-1", "elect office ada");
    first.mentions("ada");
    let observer = ctl.start("elect-l", "elect -l office");
    observer.mentions("ada");
    let second = ctl.start("elect-2", "elect office bob");
    first.interrupt();
    second.mentions("bob");
    observer.mentions("bob");
}

/// Onto the same cluster, under another prefix.
fn make_mirror(ctl: &Ctl) {
    check(ctl, "put from/a 1", &expect!["OK\n"]);
    let destination = &ctl.endpoints()[0];
    let certificates = ["cacert", "cert", "key"]
        .map(|name| {
            let value = ctl.variable(&format!("ETCDCTL_{}", name.to_uppercase()));
            if value.is_empty() { value } else { format!("--dest-{name}={value}") }
        })
        .join(" ");
    let flags = "--prefix from/ --dest-prefix to/ --dest-insecure-transport=false";
    let _mirror = ctl.start("mirror", &format!("make-mirror {flags} {certificates} {destination}"));
    let follows = |key: &str, value: &str| {
        eventually(PATIENCE, "the mirror follows", || {
            let seen = ctl.said(&format!("get {key} --print-value-only"));
            expect_that(seen == format!("{value}\n"), seen)
        });
    };
    follows("to/a", "1");
    check(ctl, "put from/b 2", &expect!["OK\n"]);
    follows("to/b", "2");
}

fn member(ctl: &Ctl) {
    let list = ctl.said("member list");
    assert_eq!(list.lines().filter(|line| line.contains(", started, ")).count(), 3, "{list}");
    assert_eq!(list.lines().filter(|line| line.ends_with(", false")).count(), 3, "no learner: {list}");
    check(
        ctl,
        "member add x --peer-urls=foo",
        &expect![[r#"
        Error: URL scheme must be http, https, unix, or unixs: foo
        exit 1
    "#]],
    );
}

fn endpoint(ctl: &Ctl) {
    let health = ctl.said("endpoint health");
    let healthy = "http://ADDRESS is healthy: successfully committed proposal: took = TIME\n";
    assert_eq!(health, healthy.repeat(3));
    assert_eq!(ctl.said("endpoint health --cluster"), healthy.repeat(3));
    let status = ctl.json("endpoint status");
    let status = status.as_array().expect("an array");
    let leaders: Vec<_> = status.iter().map(|one| &one["Status"]["leader"]).collect();
    assert!(leaders.len() == 3 && leaders.iter().all(|leader| *leader == leaders[0]), "{leaders:?}");
    for one in status {
        assert!(
            one["Status"]["dbSize"].as_i64() > Some(0) && one["Status"]["raftIndex"].as_i64() > Some(0),
            "{one}"
        );
        assert!(one["Status"]["version"].as_str().is_some_and(|version| version.starts_with('3')), "{one}");
    }
    check(
        ctl,
        "endpoint hashkv --rev=999999999 | tail -1",
        &expect![[r#"
        Failed to get the hash of endpoint http://ADDRESS (etcdserver: mvcc: required revision is a future revision)
        Failed to get the hash of endpoint http://ADDRESS (etcdserver: mvcc: required revision is a future revision)
        Failed to get the hash of endpoint http://ADDRESS (etcdserver: mvcc: required revision is a future revision)
        Error: etcdserver: mvcc: required revision is a future revision
    "#]],
    );
    let hashes = ctl.said(&format!("endpoint hashkv --rev={}", ctl.revision()));
    let hashes: Vec<&str> =
        hashes.lines().map(|line| line.rsplit_once(", ").expect("ADDRESS, HASH").1).collect();
    assert!(hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

fn alarm(ctl: &Ctl) {
    check(ctl, "alarm list", &expect![""]);
    check(ctl, "alarm disarm", &expect![""]);
}

fn defrag(ctl: &Ctl) {
    assert_eq!(ctl.said("defrag"), "Finished defragmenting etcd member[http://ADDRESS]\n".repeat(3));
}

fn compaction(ctl: &Ctl) {
    check(ctl, "put c/a 1", &expect!["OK\n"]);
    let old = ctl.revision();
    check(ctl, "put c/a 2", &expect!["OK\n"]);
    let now = ctl.revision();
    assert_eq!(ctl.said(&format!("compaction {now}")), format!("compacted revision {now}\n"));
    let refused = "Error: etcdserver: mvcc: required revision has been compacted\nexit 1\n";
    assert_eq!(ctl.said(&format!("get c/a --rev={old}")), refused);
    assert_eq!(ctl.said(&format!("compaction {old}")), refused);
    check(ctl, "put c/a 3", &expect!["OK\n"]);
    let newest = ctl.revision();
    assert_eq!(
        ctl.said(&format!("compaction --physical {newest}")),
        format!("compacted revision {newest}\n")
    );
    check(
        ctl,
        "compaction 999999999",
        &expect![[r#"
        Error: etcdserver: mvcc: required revision is a future revision
        exit 1
    "#]],
    );
    check(
        ctl,
        "get c/a",
        &expect![[r#"
        c/a
        3
    "#]],
    );
}

fn move_leader(ctl: &Ctl) {
    let leader = || ctl.json("endpoint status")[0]["Status"]["leader"].as_u64().expect("a leader");
    let old = leader();
    let members = ctl.json("member list");
    let ids =
        members["members"].as_array().expect("members").iter().filter_map(|member| member["ID"].as_u64());
    let new = ids.into_iter().find(|id| *id != old).expect("a follower");
    assert_eq!(
        ctl.output(&format!("move-leader {new:x}")).stdout,
        format!("Leadership transferred from {old:x} to {new:x}\n").into_bytes()
    );
    assert_eq!(leader(), new);
    check(
        ctl,
        "move-leader 99",
        &expect![[r#"
        Error: etcdserver: bad leader transferee
        exit 1
    "#]],
    );
}

/// What becomes of the file is in snapshots.rs.
fn snapshot(ctl: &Ctl) {
    let file = ctl.file("snapshot");
    let endpoint = &ctl.endpoints()[0];
    let said = ctl.said(&format!("--endpoints {endpoint} snapshot save {}", file.display()));
    assert!(said.starts_with("Snapshot saved at "), "{said}");
    assert!(std::fs::metadata(&file).is_ok_and(|file| file.len() > 0));
}

/// It must come to its verdict; which one depends on the machine.
fn check_perf(ctl: &Ctl) {
    let said = ctl.said("check perf --load=s | tail -c 400");
    for line in ["Throughput ", "Slowest request took ", "Stddev "] {
        assert!(said.contains(line), "no word of {line}: {said}");
    }
    let left = ctl.json("get --prefix /etcdctl-check-perf/");
    assert!(left["kvs"].is_null(), "it cleans up: {left}");
}

/// It reads each member's memory over HTTP/1.1, without a client certificate, before and after.
fn check_datascale(ctl: &Ctl) {
    let said = ctl.said("check datascale --load=s | tail -c 200");
    assert!(said.contains("Approximate system memory used"), "{said}");
}

fn role(ctl: &Ctl) {
    says(
        ctl,
        &[
            ("role add r", "Role r created\n"),
            ("role add r", "Error: etcdserver: role name already exists\nexit 1\n"),
            ("role list", "r\n"),
            ("role get r", "Role r\nKV Read:\nKV Write:\n"),
            ("role get nobody", "Error: etcdserver: role name not found\nexit 1\n"),
            ("role grant-permission r readwrite foo", "Role r updated\n"),
            ("role grant-permission r read --prefix pre/", "Role r updated\n"),
            ("role grant-permission r write a z", "Role r updated\n"),
            ("role grant-permission r read --from-key q", "Role r updated\n"),
            ("role grant-permission nobody read foo", "Error: etcdserver: role name not found\nexit 1\n"),
            (
                "role get r",
                "Role r\nKV Read:\n\tfoo\n\t[pre/, pre0) (prefix pre/)\n\t[q, <open ended>\nKV Write:\n\t[a, z)\n\tfoo\n",
            ),
            (
                "role revoke-permission r --prefix pre/",
                "Permission of range [pre/, pre0) is revoked from role r\n",
            ),
            (
                "role revoke-permission r none",
                "Error: etcdserver: permission is not granted to the role\nexit 1\n",
            ),
        ],
    );
}

fn user(ctl: &Ctl) {
    says(
        ctl,
        &[
            ("user list", ""),
            ("user add u:p", "User u created\n"),
            ("user add u:p", "Error: etcdserver: user name already exists\nexit 1\n"),
            ("user add x --no-password", "User x created\n"),
            ("user grant-role u nobody", "Error: etcdserver: role name not found\nexit 1\n"),
            ("user revoke-role u r", "Error: etcdserver: role is not granted to the user\nexit 1\n"),
            ("user grant-role u r", "Role r is granted to user u\n"),
            ("user get u", "User: u\nRoles: r\n"),
            ("user get nobody", "Error: etcdserver: user name not found\nexit 1\n"),
            ("user delete x", "User x deleted\n"),
            ("user delete x", "Error: etcdserver: user name not found\nexit 1\n"),
        ],
    );
}

/// Of the user and the role that the groups before have made.
fn auth(ctl: &Ctl) {
    says(
        ctl,
        &[
            ("auth enable", "Error: etcdserver: root user does not exist\nexit 1\n"),
            ("user add root:secret", "User root created\n"),
            ("user grant-role root root", "Role root is granted to user root\n"),
            ("auth enable", "Authentication Enabled\n"),
            ("--user u:p put foo 1", "OK\n"),
            ("--user u:p get foo", "foo\n1\n"),
            ("--user u:p get bar", "Error: etcdserver: permission denied\nexit 1\n"),
            ("--user u:p user list", "Error: etcdserver: permission denied\nexit 1\n"),
            (
                "--user u:wrong get foo",
                "Error: etcdserver: authentication failed, invalid user ID or password\nexit 2\n",
            ),
            ("--user root:secret get foo", "foo\n1\n"),
            ("--user root:secret auth disable", "Authentication Disabled\n"),
            ("get foo", "foo\n1\n"),
            ("user delete u", "User u deleted\n"),
            ("role delete r", "Role r deleted\n"),
            ("role delete r", "Error: etcdserver: role name not found\nexit 1\n"),
        ],
    );
}
