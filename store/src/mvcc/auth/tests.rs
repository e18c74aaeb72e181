//! Scripts of changes and of what somebody may do then.

use std::fmt::Write as _;

use base::LeaseId;
use expect_test::{Expect, expect};

use super::change::AuthChange;
use super::permit::By;
use super::*;
use crate::disk::memory::MemoryTables;
use crate::disk::read;
use crate::error::StoreError;
use crate::mvcc::machine::Action;
use crate::mvcc::overlay::Overlay;
use crate::mvcc::request::{Compare, Delete, Lease, Op, Put, Range, Txn};
use crate::mvcc::span::End;
use crate::mvcc::tables::Table;
use crate::mvcc::txn::Stop;
use crate::mvcc::{layout, lease};

fn span(text: &str) -> Span {
    match text.split_once("..") {
        None if text.ends_with('*') => Span::prefix(text.trim_end_matches('*').to_owned()),
        None => Span::key(text.to_owned()),
        Some((start, "")) => Span { start: start.to_owned().into(), end: End::Unbounded },
        Some((start, end)) => Span::range(start.to_owned(), end.to_owned()),
    }
}

fn change(words: &[&str]) -> Option<AuthChange> {
    let own = |text: &str| text.to_owned();
    Some(match words {
        ["enable"] => AuthChange::Enable { token_key: Bytes::from_static(b"key") },
        ["disable"] => AuthChange::Disable,
        ["user", name] => AuthChange::UserAdd { name: own(name), password: Some(own("hash")) },
        ["user"] => AuthChange::UserAdd { name: String::new(), password: None },
        ["user-without", name] => AuthChange::UserAdd { name: own(name), password: None },
        ["drop-user", name] => AuthChange::UserDelete { name: own(name) },
        ["passwd", name] => AuthChange::UserPassword { name: own(name), password: own("other") },
        ["give", name, role] => AuthChange::UserGrant { name: own(name), role: own(role) },
        ["take", name, role] => AuthChange::UserRevoke { name: own(name), role: own(role) },
        ["role", name] => AuthChange::RoleAdd { name: own(name) },
        ["role"] => AuthChange::RoleAdd { name: String::new() },
        ["drop-role", name] => AuthChange::RoleDelete { name: own(name) },
        ["grant", name, access, keys] => {
            let access = match *access {
                "read" => Access::Read,
                "write" => Access::Write,
                _ => Access::ReadWrite,
            };
            AuthChange::RoleGrant { name: own(name), permission: Permission { span: span(keys), access } }
        }
        ["revoke", name, keys] => AuthChange::RoleRevoke { name: own(name), span: span(keys) },
        _ => return None,
    })
}

fn ops(words: &[&str]) -> Vec<Op> {
    match words {
        ["get", keys] => vec![Op::Range(Range::of(span(keys)))],
        ["put", key] => vec![Op::Put(Put::of((*key).to_owned(), "v"))],
        ["put", key, "prev"] => vec![Op::Put(Put { prev_kv: true, ..Put::of((*key).to_owned(), "v") })],
        ["put", key, "keep"] => vec![Op::Put(Put { ignore_value: true, ..Put::of((*key).to_owned(), "") })],
        ["put", key, lease] => {
            let lease = LeaseId::new(lease.parse().expect("a lease id"));
            vec![Op::Put(Put { lease, ..Put::of((*key).to_owned(), "v") })]
        }
        ["del", keys] => vec![Op::Delete(Delete::of(span(keys)))],
        ["del", keys, "prev"] => vec![Op::Delete(Delete { span: span(keys), prev_kv: true })],
        other => panic!("no such operation: {other:?}"),
    }
}

fn action(words: &[&str]) -> Action {
    match words {
        ["if", key, "then", rest @ ..] => {
            let compares = vec![Compare::absent((*key).to_owned())];
            Action::Txn(Txn { compares, success: ops(rest), failure: Vec::new() })
        }
        ["else", rest @ ..] => {
            let inner = Txn { failure: ops(rest), ..Txn::default() };
            Action::Txn(Txn::of(Op::Txn(inner)))
        }
        ["compact"] => Action::Compact(base::Revision::new(1)),
        ["lease", id] => lease_grant(id),
        ["end", id] => Action::LeaseRevoke(LeaseId::new(id.parse().expect("a lease id"))),
        words => Action::Txn(Txn { success: ops(words), ..Txn::default() }),
    }
}

fn lease_grant(id: &str) -> Action {
    Action::LeaseGrant(Lease { id: LeaseId::new(id.parse().expect("a lease id")), ttl_seconds: 60 })
}

/// `name: what it does`, `name@revision: …` believed at an older revision, or a change; lease 7 hangs on `leased`.
fn check(script: &str, expected: &Expect) {
    let tables = MemoryTables::default();
    let mut auth = Auth::default();
    let mut out = String::new();
    read(&tables, |view| {
        let mut rows = Overlay::new(view);
        let seven = Lease { id: LeaseId::new(7), ttl_seconds: 60 };
        lease::grant(&mut rows, seven).expect("a new lease");
        rows.put(Table::Lease, layout::attached_key(LeaseId::new(7), b"leased"), Bytes::new());
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let answer = match line.split_once(": ") {
                None => {
                    let change = change(&line.split(' ').collect::<Vec<_>>()).expect("a change");
                    auth.apply(&mut rows, &change).map_or_else(
                        |refusal| format!("{refusal:?}"),
                        |()| format!("revision {}", auth.revision()),
                    )
                }
                Some((who, what)) => {
                    let (name, revision) = who.split_once('@').unwrap_or((who, ""));
                    let revision = revision.parse().unwrap_or(auth.revision());
                    let by = match name {
                        "nobody" => By::Anonymous,
                        "process" => By::Process,
                        name => By::User { name: name.to_owned(), revision },
                    };
                    match auth.permit(&rows, &by, &action(&what.split(' ').collect::<Vec<_>>())) {
                        Ok(()) => "may".to_owned(),
                        Err(Stop::Refused(StoreError::Auth(refusal))) => format!("{refusal:?}"),
                        Err(other) => panic!("{other:?}"),
                    }
                }
            };
            writeln!(out, "{line} -> {answer}").expect("a string takes it");
        }
        // Whatever happened, a restart finds the same.
        assert_eq!(Auth::load(&rows).expect("sound rows"), auth);
    });
    expected.assert_eq(&out);
}

#[test]
fn auth_goes_on_only_with_a_root_and_off_by_anybody_who_may() {
    check(
        "nobody: put a
         enable
         user root
         enable
         give root root
         enable
         enable
         nobody: put a
         process: put a
         root: put a
         drop-user root
         take root root
         role root
         drop-role root
         disable
         disable
         nobody: put a
         drop-role root
         enable
         drop-user root",
        &expect![[r#"
            nobody: put a -> may
            enable -> NoRootUser
            user root -> revision 2
            enable -> NoRootRole
            give root root -> revision 3
            enable -> revision 3
            enable -> revision 3
            nobody: put a -> UserEmpty
            process: put a -> may
            root: put a -> may
            drop-user root -> InvalidManagement
            take root root -> InvalidManagement
            role root -> revision 4
            drop-role root -> InvalidManagement
            disable -> revision 5
            disable -> revision 5
            nobody: put a -> may
            drop-role root -> revision 6
            enable -> NoRootRole
            drop-user root -> revision 7
        "#]],
    );
}

#[test]
fn users_and_roles_are_refused_as_in_etcd() {
    check(
        "user
         user a
         user a
         passwd b
         drop-user b
         give b r
         give a r
         role
         role r
         role r
         give a r
         give a r
         take a s
         take a r
         take a r
         grant s read k
         grant r read b..a
         grant r read k
         grant r write k
         revoke r l
         revoke r k
         revoke r k
         give a r
         drop-role r
         drop-role r
         take a r",
        &expect![[r#"
            user -> UserEmpty
            user a -> revision 2
            user a -> UserExists
            passwd b -> UserNotFound
            drop-user b -> UserNotFound
            give b r -> UserNotFound
            give a r -> RoleNotFound
            role -> RoleEmpty
            role r -> revision 3
            role r -> RoleExists
            give a r -> revision 4
            give a r -> revision 4
            take a s -> RoleNotGranted
            take a r -> revision 5
            take a r -> RoleNotGranted
            grant s read k -> RoleNotFound
            grant r read b..a -> InvalidManagement
            grant r read k -> revision 6
            grant r write k -> revision 7
            revoke r l -> PermissionNotGranted
            revoke r k -> revision 8
            revoke r k -> PermissionNotGranted
            give a r -> revision 9
            drop-role r -> revision 10
            drop-role r -> RoleNotFound
            take a r -> RoleNotGranted
        "#]],
    );
}

#[test]
fn each_operation_needs_its_permission() {
    check(
        "user root
         give root root
         user a
         role r
         give a r
         grant r read r*
         grant r write w*
         grant r both b..d
         grant r both d
         enable
         a: get r
         a: get rx..ry
         a: get q..s
         a: get w
         a: get b..d
         a: put w
         a: put r
         a: put w prev
         a: put b prev
         a: put w keep
         a: del w*
         a: del w* prev
         a: del b..c prev
         a: if r then put w
         a: if w then put w
         a: else put w
         a: else put q
         a: else del w prev
         nobody: get r
         b: get r",
        &expect![[r#"
            user root -> revision 2
            give root root -> revision 3
            user a -> revision 4
            role r -> revision 5
            give a r -> revision 6
            grant r read r* -> revision 7
            grant r write w* -> revision 8
            grant r both b..d -> revision 9
            grant r both d -> revision 10
            enable -> revision 10
            a: get r -> may
            a: get rx..ry -> may
            a: get q..s -> PermissionDenied
            a: get w -> PermissionDenied
            a: get b..d -> may
            a: put w -> may
            a: put r -> PermissionDenied
            a: put w prev -> PermissionDenied
            a: put b prev -> may
            a: put w keep -> may
            a: del w* -> may
            a: del w* prev -> PermissionDenied
            a: del b..c prev -> may
            a: if r then put w -> may
            a: if w then put w -> PermissionDenied
            a: else put w -> may
            a: else put q -> PermissionDenied
            a: else del w prev -> PermissionDenied
            nobody: get r -> UserEmpty
            b: get r -> PermissionDenied
        "#]],
    );
}

#[test]
fn leases_and_what_only_root_may() {
    check(
        "user root
         give root root
         user a
         role r
         give a r
         grant r write w*
         enable
         a: compact
         b: compact
         nobody: compact
         root: compact
         nobody: lease 8
         a: lease 8
         a: end 7
         a: put w 7
         grant r write leased
         a: end 7
         a: put w 7
         a: else put w 7
         revoke r w*
         a: put w
         drop-role r
         a: end 7",
        &expect![[r#"
            user root -> revision 2
            give root root -> revision 3
            user a -> revision 4
            role r -> revision 5
            give a r -> revision 6
            grant r write w* -> revision 7
            enable -> revision 7
            a: compact -> PermissionDenied
            b: compact -> UserNotFound
            nobody: compact -> UserEmpty
            root: compact -> may
            nobody: lease 8 -> UserEmpty
            a: lease 8 -> may
            a: end 7 -> PermissionDenied
            a: put w 7 -> PermissionDenied
            grant r write leased -> revision 8
            a: end 7 -> may
            a: put w 7 -> may
            a: else put w 7 -> may
            revoke r w* -> revision 9
            a: put w -> PermissionDenied
            drop-role r -> revision 10
            a: end 7 -> PermissionDenied
        "#]],
    );
}

/// etcd's ErrAuthOldRevision: the user of the request may be another than the one who proved it.
#[test]
fn what_was_proved_before_the_password_changed_is_worth_nothing() {
    check(
        "user root
         give root root
         user a
         role r
         give a r
         grant r write k
         enable
         a: put k
         passwd a
         a@7: put k
         a@7: get k
         a: put k
         drop-user a
         a: put k
         user a
         give a r
         a@7: put k
         a@8: put k
         a@10: put k
         grant r read k
         a@10: put k
         user-without c
         passwd c",
        &expect![[r#"
            user root -> revision 2
            give root root -> revision 3
            user a -> revision 4
            role r -> revision 5
            give a r -> revision 6
            grant r write k -> revision 7
            enable -> revision 7
            a: put k -> may
            passwd a -> revision 8
            a@7: put k -> OldRevision
            a@7: get k -> OldRevision
            a: put k -> may
            drop-user a -> revision 9
            a: put k -> PermissionDenied
            user a -> revision 10
            give a r -> revision 11
            a@7: put k -> OldRevision
            a@8: put k -> OldRevision
            a@10: put k -> may
            grant r read k -> revision 12
            a@10: put k -> PermissionDenied
            user-without c -> revision 13
            passwd c -> revision 14
        "#]],
    );
}
