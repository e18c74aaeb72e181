//! What filters answer, by running their programs as the kernel would.

use expect_test::{Expect, expect};
use nix::libc;

use super::*;

const ADMIN: &str = "CAP_SYS_ADMIN";

/// The answer to a call with these arguments, as the kernel's name for it.
fn answer(filter: &Filter, name: &str, arguments: &[u64]) -> String {
    let number = calls::numbers().get(name).copied().unwrap_or_else(|| name.parse().unwrap());
    run(filter, calls::AUDIT_ARCH, number, arguments)
}

fn run(Filter(program): &Filter, arch: u32, number: u32, arguments: &[u64]) -> String {
    let word = |offset: u32| match offset {
        0 => number,
        4 => arch,
        _ => {
            let argument = arguments.get((offset as usize - 16) / 8).copied().unwrap_or(0);
            (if offset.is_multiple_of(8) { argument } else { argument >> 32 }) as u32
        }
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let one = program[at];
        at += 1;
        let code = u32::from(one.code);
        let either = |holds: bool| usize::from(if holds { one.jt } else { one.jf });
        match code & 0xf7 {
            0x20 => value = word(one.k),
            0x54 => value &= one.k,
            0x05 => at += one.k as usize,
            0x15 => at += either(value == one.k),
            0x25 => at += either(value > one.k),
            0x35 => at += either(value >= one.k),
            0x06 => return told(one.k),
            other => panic!("the kernel would refuse {other:#x}"),
        }
    }
}

fn told(value: u32) -> String {
    let data = value & libc::SECCOMP_RET_DATA;
    match value & !libc::SECCOMP_RET_DATA {
        libc::SECCOMP_RET_ALLOW => "allow".to_owned(),
        libc::SECCOMP_RET_LOG => "log".to_owned(),
        libc::SECCOMP_RET_ERRNO => format!("{:?}", nix::errno::Errno::from_raw(data.cast_signed())),
        libc::SECCOMP_RET_TRAP => "trap".to_owned(),
        libc::SECCOMP_RET_KILL_PROCESS => "kill".to_owned(),
        libc::SECCOMP_RET_KILL_THREAD => "kill thread".to_owned(),
        other => format!("{other:#x} {data}"),
    }
}

fn check(filter: &Filter, asked: &[(&str, &[u64])], expected: Expect) {
    let answers: Vec<String> = asked
        .iter()
        .map(|(name, arguments)| format!("{name}{arguments:x?} {}", answer(filter, name, arguments)))
        .collect();
    expected.assert_eq(&answers.join("\n"));
}

fn default(capabilities: &[&str]) -> Filter {
    let capabilities: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
    Filter::make(DEFAULT, &capabilities).unwrap()
}

const ASKED: &[(&str, &[u64])] = &[
    ("read", &[]),
    ("openat2", &[]),
    ("mount", &[]),
    ("unshare", &[]),
    ("keyctl", &[]),
    ("reboot", &[]),
    ("clone", &[0x11]),
    ("clone", &[0x1002_0011]),
    ("clone3", &[]),
    ("socket", &[1]),
    ("socket", &[38]),
    ("socket", &[40]),
    ("socket", &[1 << 32]),
    ("personality", &[0xffff_ffff]),
    ("personality", &[4]),
    ("100000", &[]),
    ("1073741824", &[]),
];

#[test]
fn the_default_refuses_what_leads_out_of_a_container() {
    check(
        &default(&["CAP_CHOWN"]),
        ASKED,
        expect![[r#"
            read[] allow
            openat2[] allow
            mount[] EPERM
            unshare[] EPERM
            keyctl[] EPERM
            reboot[] EPERM
            clone[11] allow
            clone[10020011] EPERM
            clone3[] ENOSYS
            socket[1] allow
            socket[26] EPERM
            socket[28] EPERM
            socket[100000000] allow
            personality[ffffffff] allow
            personality[4] EPERM
            100000[] ENOSYS
            1073741824[] ENOSYS"#]],
    );
}

#[test]
fn capabilities_open_the_calls_that_they_are_for() {
    check(
        &default(&[ADMIN, "CAP_SYS_BOOT"]),
        &[("mount", &[]), ("clone", &[0x1002_0011]), ("clone3", &[]), ("reboot", &[]), ("keyctl", &[])],
        expect![[r#"
            mount[] allow
            clone[10020011] allow
            clone3[] allow
            reboot[] allow
            keyctl[] EPERM"#]],
    );
}

#[test]
fn a_profile_of_a_user_is_read_as_other_runtimes_do() {
    let profile = r#"{
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": ["mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30},
            {"name": "fchmod", "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["lseek"], "action": "SCMP_ACT_TRAP", "args": [
                {"index": 1, "value": 4294967299, "op": "SCMP_CMP_GT"},
                {"index": 2, "value": 7, "op": "SCMP_CMP_NE"}
            ]},
            {"names": ["fcntl"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_LE"}]},
            {"names": ["fcntl"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 240, "valueTwo": 32, "op": "SCMP_CMP_MASKED_EQ"}
            ]}
        ]
    }"#;
    let asked: &[(&str, &[u64])] = &[
        ("read", &[]),
        ("mkdirat", &[]),
        ("fchmod", &[]),
        ("lseek", &[0, 0x1_0000_0003, 8]),
        ("lseek", &[0, 0x1_0000_0004, 8]),
        ("lseek", &[0, 0x2_0000_0000, 8]),
        ("lseek", &[0, 0x2_0000_0000, 7]),
        ("fcntl", &[5]),
        ("fcntl", &[0x1_0000_0005]),
        ("fcntl", &[0x2f]),
        ("fcntl", &[0x3f]),
        ("100000", &[]),
    ];
    check(
        &Filter::make(profile, &[]).unwrap(),
        asked,
        expect![[r#"
            read[] allow
            mkdirat[] EROFS
            fchmod[] kill
            lseek[0, 100000003, 8] allow
            lseek[0, 100000004, 8] trap
            lseek[0, 200000000, 8] trap
            lseek[0, 200000000, 7] allow
            fcntl[5] log
            fcntl[100000005] allow
            fcntl[2f] EPERM
            fcntl[3f] allow
            100000[] allow"#]],
    );
}

#[test]
fn another_kind_of_machine_is_none() {
    assert_eq!(run(&default(&[]), 0x4000_0003, 4, &[]), "kill");
}

#[test]
fn what_is_no_profile_says_why() {
    let why = |text: &str| Filter::make(text, &[]).unwrap_err();
    assert_eq!(why(r#"{"defaultAction": "SCMP_ACT_NAP"}"#), "unknown action \"SCMP_ACT_NAP\"");
    assert!(why("{}").starts_with("missing field `defaultAction`"), "{}", why("{}"));
    assert!(why(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#).contains("nobody"));
}
