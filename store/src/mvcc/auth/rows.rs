//! The rows of users and roles: names are part of the keys, so that a scan finds them in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Access, Allowed, Auth, Role, User};
use crate::mvcc::layout::Reader;
use crate::mvcc::overlay::Overlay;
use crate::mvcc::span::{End, Span};
use crate::mvcc::tables::{Table, TableError, View};

/// All rows are in the table of single values.
const SETTINGS: &[u8] = b"auth";
const USER: &[u8] = b"auth/user/";
const ROLE: &[u8] = b"auth/role/";
const FORMAT: u8 = 1;

pub(super) fn load(view: &dyn View) -> Result<Auth, TableError> {
    let mut auth = Auth::default();
    if let Some(row) = view.get(Table::Meta, SETTINGS)? {
        let mut reader = open(&row)?;
        auth.enabled = reader.u8()? == 1;
        auth.revision = reader.u64()?;
        auth.token_key = bytes(&mut reader)?;
    }
    each(view, USER, |name, row| {
        auth.users.insert(name, Arc::new(decode_user(row)?));
        Ok(())
    })?;
    each(view, ROLE, |name, row| {
        auth.roles.insert(name, Arc::new(decode_role(row)?));
        Ok(())
    })?;
    Ok(auth)
}

/// Of every row about users, in order.
pub(in crate::mvcc) fn hash(view: &dyn View) -> Result<u32, TableError> {
    let mut hash = crc32fast::Hasher::new();
    // `0` comes right after `/`.
    for (from, to) in [(SETTINGS, &b"auth\0"[..]), (b"auth/", b"auth0")] {
        let mut cursor = view.cursor(Table::Meta, from, Some(to))?;
        while let Some(row) = cursor.key() {
            hash.update(row);
            hash.update(cursor.value());
            cursor.advance()?;
        }
    }
    Ok(hash.finalize())
}

pub(super) fn put_settings(rows: &mut Overlay<'_>, auth: &Auth) {
    let mut out = BytesMut::with_capacity(48);
    out.put_u8(FORMAT);
    out.put_u8(u8::from(auth.enabled));
    out.put_u64(auth.revision);
    put_bytes(&mut out, &auth.token_key);
    rows.put(Table::Meta, Bytes::from_static(SETTINGS), out.freeze());
}

pub(super) fn put_user(rows: &mut Overlay<'_>, name: &str, user: &User) {
    rows.put(Table::Meta, key(USER, name), encode_user(user));
}

pub(super) fn delete_user(rows: &mut Overlay<'_>, name: &str) {
    rows.delete(Table::Meta, key(USER, name));
}

pub(super) fn put_role(rows: &mut Overlay<'_>, name: &str, role: &Role) {
    rows.put(Table::Meta, key(ROLE, name), encode_role(role));
}

pub(super) fn delete_role(rows: &mut Overlay<'_>, name: &str) {
    rows.delete(Table::Meta, key(ROLE, name));
}

fn key(prefix: &[u8], name: &str) -> Bytes {
    [prefix, name.as_bytes()].concat().into()
}

/// Calls `take` with the name and the value of every row under `prefix`, which ends in a slash.
fn each(
    view: &dyn View,
    prefix: &[u8],
    mut take: impl FnMut(String, &[u8]) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let mut to = prefix.to_vec();
    if let Some(last) = to.last_mut() {
        *last += 1;
    }
    let mut cursor = view.cursor(Table::Meta, prefix, Some(&to))?;
    while let Some(row) = cursor.key() {
        take(text(&row[prefix.len()..])?, cursor.value())?;
        cursor.advance()?;
    }
    Ok(())
}

fn encode_user(user: &User) -> Bytes {
    let mut out = BytesMut::with_capacity(96);
    out.put_u8(FORMAT);
    out.put_u64(user.since);
    out.put_u8(u8::from(user.password.is_some()));
    put_bytes(&mut out, user.password.as_deref().unwrap_or_default().as_bytes());
    put_length(&mut out, user.roles.len());
    for role in &user.roles {
        put_bytes(&mut out, role.as_bytes());
    }
    out.freeze()
}

fn decode_user(row: &[u8]) -> Result<User, TableError> {
    let mut reader = open(row)?;
    let since = reader.u64()?;
    let has_password = reader.u8()? == 1;
    let password = text(&bytes(&mut reader)?)?;
    let mut roles = BTreeSet::new();
    for _ in 0..reader.u32()? {
        roles.insert(text(&bytes(&mut reader)?)?);
    }
    Ok(User { password: has_password.then_some(password), since, roles, allowed: Allowed::default() })
}

fn encode_role(role: &Role) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(FORMAT);
    put_length(&mut out, role.permissions.len());
    for (span, access) in &role.permissions {
        out.put_u8(match access {
            Access::Read => 0,
            Access::Write => 1,
            Access::ReadWrite => 2,
        });
        put_bytes(&mut out, &span.start);
        match &span.end {
            End::Single => out.put_u8(0),
            End::Unbounded => out.put_u8(1),
            End::Before(end) => {
                out.put_u8(2);
                put_bytes(&mut out, end);
            }
        }
    }
    out.freeze()
}

fn decode_role(row: &[u8]) -> Result<Role, TableError> {
    let mut reader = open(row)?;
    let mut permissions = BTreeMap::new();
    for _ in 0..reader.u32()? {
        let access = match reader.u8()? {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::ReadWrite,
            _ => return Err(corrupt("a permission has an unknown kind")),
        };
        let start = bytes(&mut reader)?;
        let end = match reader.u8()? {
            0 => End::Single,
            1 => End::Unbounded,
            2 => End::Before(bytes(&mut reader)?),
            _ => return Err(corrupt("a permission has an unknown end")),
        };
        permissions.insert(Span { start, end }, access);
    }
    Ok(Role { permissions })
}

fn open(row: &[u8]) -> Result<Reader<'_>, TableError> {
    let mut reader = Reader::new("meta", row);
    if reader.u8()? == FORMAT { Ok(reader) } else { Err(corrupt("a row about users has an unknown format")) }
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.put_slice(bytes);
}

fn bytes(reader: &mut Reader<'_>) -> Result<Bytes, TableError> {
    let length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    Ok(Bytes::copy_from_slice(reader.take(length)?))
}

fn text(bytes: &[u8]) -> Result<String, TableError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| corrupt("a name is not UTF-8"))
}

fn corrupt(what: &'static str) -> TableError {
    TableError::Corrupt { table: "meta", what }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn corrupt_rows_are_errors_and_never_panics(row: Vec<u8>) {
            let _ = (decode_user(&row), decode_role(&row));
        }

        #[test]
        fn a_row_cut_short_is_corrupt(at in 0usize..1000) {
            let role = Role { permissions: BTreeMap::from([
                (Span::range("a", "b"), Access::Read), (Span::key("k"), Access::ReadWrite),
            ]) };
            let row = encode_role(&role);
            prop_assert_eq!(decode_role(&row).expect("what was encoded"), role);
            prop_assert!(decode_role(&row[..at % row.len()]).is_err());
        }
    }
}
