//! Who a process is: from an image's words and the container's own `/etc/passwd` and `/etc/group` to numbers.
//!
//! The rules are those of runc (libcontainer/user): a name must have an entry, a number needs none; the first entry
//! that fits counts; lines that are broken are passed over.

use super::spec::User;

/// Numbers above do not fit everywhere.
const ID_MAX: u32 = i32::MAX as u32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
    /// All groups, its own first.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    user: u32,
    group: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    id: u32,
    members: &'a str,
}

/// Finds the account, or says what is missing.
pub(super) fn look_up(wanted: &User, passwd: &str, group: &str) -> Result<Account, String> {
    let (user, named_group) = wanted.name.split_once(':').unwrap_or((&wanted.name, ""));
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd_entries(passwd)
        .find(|entry| entry.name == user || number(user).is_some_and(|id| id == entry.user));
    let id = match (&entry, number(user)) {
        (Some(entry), _) => entry.user,
        (None, Some(id)) if id <= ID_MAX => id,
        (None, Some(_)) => return Err(format!("uids and gids must be in range 0-{ID_MAX}")),
        (None, None) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    let own = match wanted.group {
        Some(id) => id,
        None if named_group.is_empty() => entry.as_ref().map_or(0, |entry| entry.group),
        None => group_id(named_group, group)?,
    };
    let mut groups = vec![own];
    if let Some(entry) = &entry {
        let belongs = |group: &GroupEntry<'_>| group.members.split(',').any(|member| member == entry.name);
        groups.extend(group_entries(group).filter(belongs).map(|group| group.id));
    }
    groups.extend(&wanted.supplemental_groups);
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|group| seen.insert(*group));
    let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/");
    Ok(Account { user: id, group: own, groups, home: home.to_owned() })
}

fn group_id(wanted: &str, group: &str) -> Result<u32, String> {
    let fits = |entry: &GroupEntry<'_>| entry.name == wanted || number(wanted) == Some(entry.id);
    match (group_entries(group).find(fits), number(wanted)) {
        (Some(entry), _) => Ok(entry.id),
        (None, Some(id)) if id <= ID_MAX => Ok(id),
        (None, Some(_)) => Err(format!("uids and gids must be in range 0-{ID_MAX}")),
        (None, None) => Err(format!("unable to find group {wanted}: no matching entries in group file")),
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (user, group) = (number(fields.next()?)?, number(fields.next()?)?);
        let (_comment, home) = (fields.next(), fields.next().unwrap_or_default());
        Some(PasswdEntry { name, user, group, home })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some(GroupEntry {
            name,
            id: number(fields.next()?)?,
            members: fields.next().unwrap_or_default().trim(),
        })
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken line\nweb:x:101:102:Web:/srv/web:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:web,other\nweb:x:102:\nnumbers:x:2000:root,web\n";

    fn check(name: &str, expected: Expect) {
        check_with(User { name: name.to_owned(), group: None, supplemental_groups: vec![] }, expected);
    }

    fn check_with(user: User, expected: Expect) {
        let told = match look_up(&user, PASSWD, GROUP) {
            Ok(Account { user, group, groups, home }) => format!("{user}:{group} {groups:?} {home}"),
            Err(message) => message,
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn names_need_an_entry_and_numbers_do_not() {
        check("", expect!["0:0 [0, 2000] /root"]);
        check("web", expect!["101:102 [102, 33, 2000] /srv/web"]);
        check("101", expect!["101:102 [102, 33, 2000] /srv/web"]);
        check("1234", expect!["1234:0 [0] /"]);
        check("nobody", expect!["unable to find user nobody: no matching entries in passwd file"]);
        check("4000000000", expect!["uids and gids must be in range 0-2147483647"]);
    }

    #[test]
    fn a_group_that_is_named_replaces_the_users() {
        check("web:www", expect!["101:33 [33, 2000] /srv/web"]);
        check("1234:5678", expect!["1234:5678 [5678] /"]);
        check(":33", expect!["0:33 [33, 2000] /root"]);
        check("web:none", expect!["unable to find group none: no matching entries in group file"]);
        let user = User { name: "101".into(), group: Some(7), supplemental_groups: vec![33, 9, 9] };
        check_with(user, expect!["101:7 [7, 33, 2000, 9] /srv/web"]);
    }
}
