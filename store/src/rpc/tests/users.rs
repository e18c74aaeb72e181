//! etcdctl with users and roles. Each script holds commands and the answers to them: those that Debian's etcd 3.4.23
//! gives too.

use expect_test::{ExpectFile, expect_file};

use super::etcdctl::Ctl;

/// Runs the commands of a script (`$ arguments`), and compares the answers.
async fn check(ctl: &Ctl, script: &str, expected: &ExpectFile) {
    let mut shown = String::new();
    for arguments in script.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let answer = ctl.run(&mut ctl.command(arguments)).await;
        shown = format!("{shown}$ {arguments}\n{answer}");
    }
    expected.assert_eq(&shown);
}

const FOUNDING: &[&str] = &[
    "user add root:rootpw",
    "user add alice:alicepw",
    "user add bob:bobpw",
    "user add carol --no-password",
    "role add reader",
    "role add writer",
    "role grant-permission reader read --prefix app/",
    "role grant-permission reader read shared",
    "role grant-permission writer readwrite app/ app0",
    "role grant-permission writer write log",
    "user grant-role alice reader",
    "user grant-role bob writer",
    "put app/1 one",
    "put other x",
    "auth enable",
];

/// Keys, users and roles, auth turned on. An empty name means a certificate that names nobody.
async fn founded(certificate: &str) -> Ctl {
    let ctl = Ctl::start_as(certificate).await;
    for arguments in FOUNDING {
        let answer = ctl.run(&mut ctl.command(arguments)).await;
        assert!(!answer.contains("Error"), "{arguments}: {answer}");
    }
    ctl
}

#[tokio::test]
async fn users_are_managed() {
    let ctl = Ctl::start_as("").await;
    check(&ctl, include_str!("users/users.txt"), &expect_file!["users/users.txt"]).await;
    ctl.stop().await;
}

#[tokio::test]
async fn roles_are_managed() {
    let ctl = Ctl::start_as("").await;
    check(&ctl, include_str!("users/roles.txt"), &expect_file!["users/roles.txt"]).await;
    ctl.stop().await;
}

#[tokio::test]
async fn users_are_kept_to_their_permissions() {
    let ctl = founded("").await;
    check(&ctl, include_str!("users/permissions.txt"), &expect_file!["users/permissions.txt"]).await;
    ctl.stop().await;
}

#[tokio::test]
async fn what_is_roots_is_refused_to_others() {
    let ctl = founded("").await;
    check(&ctl, include_str!("users/roots.txt"), &expect_file!["users/roots.txt"]).await;
    ctl.stop().await;
}

#[tokio::test]
async fn a_changed_password_counts_at_once() {
    let ctl = founded("").await;
    let file = ctl.files.path().join("password");
    std::fs::write(&file, "changed\n").unwrap();
    let mut passwd = ctl.command("--user root:rootpw user passwd --interactive=false alice");
    passwd.stdin(std::fs::File::open(&file).unwrap());
    assert_eq!(ctl.run(&mut passwd).await, "Password updated\n");
    check(&ctl, include_str!("users/password.txt"), &expect_file!["users/password.txt"]).await;
    ctl.stop().await;
}

#[tokio::test]
async fn a_certificate_names_its_user_when_no_password_is_given() {
    let ctl = founded("bob").await;
    check(&ctl, include_str!("users/certificate.txt"), &expect_file!["users/certificate.txt"]).await;
    ctl.stop().await;
}

/// Where etcd 3.7 answers otherwise than 3.4, we are with 3.7.
#[tokio::test]
async fn newer_rules_hold() {
    let ctl = founded("").await;
    check(&ctl, include_str!("users/newer.txt"), &expect_file!["users/newer.txt"]).await;
    ctl.stop().await;
}
