//! Layers, honest and hostile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use expect_test::{Expect, expect};

use super::tars::{Fields, Tar, sum};
use super::*;
use crate::causes::in_full;

const LIMITS: Limits = Limits { bytes_max: 1 << 20, entries_max: 100 };

/// Everything below a folder: kind, mode, content or target.
fn listing(folder: &Path) -> String {
    let mut lines = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let kind = found.file_type();
            let mut line = format!("{:o}", found.mode() & 0o7777);
            if kind.is_symlink() {
                line = format!("-> {}", fs::read_link(&path).unwrap().display());
            } else if kind.is_dir() {
                line.push('/');
                folders.push(path.clone());
            } else if kind.is_file() {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                let links =
                    if found.nlink() > 1 { format!(" {} links", found.nlink()) } else { String::new() };
                let text =
                    if text.len() > 40 { format!("{} bytes", text.len()) } else { format!("{text:?}") };
                write!(line, " {text}{links}").unwrap();
            } else if kind.is_char_device() {
                write!(line, " char {}", found.rdev()).unwrap();
            } else if kind.is_fifo() {
                line += " fifo";
            }
            lines.insert(path.strip_prefix(folder).unwrap().display().to_string(), line);
        }
    }
    lines.iter().map(|(path, line)| format!("{path} {line}\n")).collect()
}

/// Unpacks beside a folder that must stay as it is, and lists what came of it, or the error.
fn check(tar: impl FnOnce(&Path) -> Vec<u8>, expected: Expect) {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "mine").unwrap();
    let layer = dir.path().join("layer");
    fs::create_dir(&layer).unwrap();
    let before = listing(&outside);
    let outcome = match unpack(tar(&outside).as_slice(), &layer, LIMITS) {
        Ok(_) => listing(&layer),
        Err(error) => in_full(&error),
    };
    assert_eq!(listing(&outside), before, "something outside has changed");
    let mut beside: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["layer", "outside"]);
    expected.assert_eq(&outcome.replace(&dir.path().display().to_string(), "DIR"));
}

#[test]
fn files_folders_and_links_are_as_the_archive_has_them() {
    check(
        |_| {
            Tar::default()
                .folder("./")
                .folder("bin/")
                .file("bin/program", "content")
                .header("bin/su", &Fields { mode: 0o4755, ..Fields::of(b'0') })
                .symlink("bin/sh", "program")
                .hard_link("bin/same", "./bin/program")
                .file("/absolute", "below the root")
                .file("made/on/the/way", "")
                .header("pipe", &Fields::of(b'6'))
                .end()
        },
        expect![[r#"
            absolute 644 "below the root"
            bin 755/
            bin/program 644 "content" 2 links
            bin/same 644 "content" 2 links
            bin/sh -> program
            bin/su 4755 ""
            made 755/
            made/on 755/
            made/on/the 755/
            made/on/the/way 644 ""
            pipe 755 fifo
        "#]],
    );
}

#[test]
fn a_later_entry_replaces_an_earlier_one_and_folders_keep_what_they_have() {
    check(
        |_| {
            Tar::default()
                .file("a", "1")
                .file("a", "2")
                .file("folder/kept", "")
                .header("folder", &Fields { mode: 0o700, ..Fields::of(b'5') })
                .file("was/folder", "")
                .symlink("was", "a")
                .symlink("link", "a")
                .file("link", "no longer")
                .end()
        },
        expect![[r#"
            a 644 "2"
            folder 700/
            folder/kept 644 ""
            link 644 "no longer"
            was -> a
        "#]],
    );
}

#[test]
fn paths_that_climb_are_refused() {
    for path in ["../secret", "a/../../outside/secret", "..", "./../x"] {
        let dir = tempfile::tempdir().unwrap();
        let error = unpack(Tar::default().file(path, "").end().as_slice(), dir.path(), LIMITS).unwrap_err();
        assert_eq!(error.to_string(), format!("entry {path:?}: its path leaves the layer"));
        assert_eq!(listing(dir.path()), "");
    }
    check(
        |_| Tar::default().file("a/../b", "inside").end(),
        expect![[r#"
        b 644 "inside"
    "#]],
    );
}

#[test]
fn links_to_outside_lead_to_the_same_path_inside() {
    check(
        |_| Tar::default().symlink("up", "../outside").folder("outside").file("up/secret", "stolen").end(),
        expect![[r#"
            outside 755/
            outside/secret 644 "stolen"
            up -> ../outside
        "#]],
    );
    // The same path is not there, and a link is not replaced by a folder.
    check(
        |outside| {
            Tar::default().symlink("x", &outside.display().to_string()).file("x/secret", "stolen").end()
        },
        expect![[r#"entry "x": cannot write it: File exists (os error 17)"#]],
    );
    check(
        |outside| {
            let outside = outside.display().to_string();
            Tar::default().symlink("a", "b").symlink("b", &outside).folder("a/new").end()
        },
        expect![[r#"entry "a": cannot write it: File exists (os error 17)"#]],
    );
    check(
        |outside| {
            let secret = outside.join("secret").display().to_string();
            Tar::default().symlink("file", &secret).file("file", "replaces the link").end()
        },
        expect![[r#"
            file 644 "replaces the link"
        "#]],
    );
}

#[test]
fn hard_links_reach_nothing_outside() {
    check(
        |_| Tar::default().hard_link("mine", "../outside/secret").end(),
        expect![[r#"entry "../outside/secret": its path leaves the layer"#]],
    );
    check(
        |outside| Tar::default().hard_link("mine", &outside.join("secret").display().to_string()).end(),
        expect![[
            r#"entry "mine": the file "DIR/outside/secret" that it is a hard link to is not in the layer"#
        ]],
    );
    check(
        |outside| {
            let outside = outside.display().to_string();
            Tar::default().symlink("x", &outside).hard_link("mine", "x/secret").end()
        },
        expect![[r#"entry "mine": the file "x/secret" that it is a hard link to is not in the layer"#]],
    );
    // To a link: the link itself is shared, and a file over it replaces it.
    check(
        |outside| {
            let secret = outside.join("secret").display().to_string();
            Tar::default().symlink("x", &secret).hard_link("mine", "x").file("mine", "own").end()
        },
        expect![[r#"
            mine 644 "own"
            x -> DIR/outside/secret
        "#]],
    );
    check(
        |_| Tar::default().file("a", "one").hard_link("a", "a").end(),
        expect![[r#"
            a 644 "one"
        "#]],
    );
}

#[test]
fn modes_and_times_are_not_set_through_links() {
    check(
        |outside| {
            let secret = outside.join("secret").display().to_string();
            let mode = Fields { mode: 0o4777, target: &secret, ..Fields::of(b'2') };
            Tar::default().folder("x").header("x", &mode).end()
        },
        expect![[r#"
            x -> DIR/outside/secret
        "#]],
    );
}

#[test]
fn whiteouts_hide_what_lower_layers_have() {
    check(
        |_| {
            Tar::default()
                .file(".wh.gone", "")
                .file("a/.wh.b", "")
                .file(".wh..wh.plnk", "")
                .file("here", "stays")
                .file(".wh.here", "")
                .end()
        },
        expect![[r#"
            a 755/
            a/b 0 char 0
            gone 0 char 0
            here 644 "stays"
        "#]],
    );
    for path in [".wh.", ".wh...", "a/.wh..", ".wh..."] {
        let dir = tempfile::tempdir().unwrap();
        let made = unpack(Tar::default().file(path, "").end().as_slice(), dir.path(), LIMITS);
        let leaves = UnpackError::Leaves { path: path.to_owned() }.to_string();
        assert_eq!(made.unwrap_err().to_string(), leaves);
    }
}

#[test]
fn opaque_folders_and_attributes_are_set_and_overlays_own_are_not_taken() {
    assert!(nix::unistd::geteuid().is_root(), "run as root: trusted attributes need it");
    let dir = tempfile::tempdir().unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let redirect: &[(&str, &[u8])] =
        &[("SCHILY.xattr.trusted.overlay.redirect", b"/etc"), ("SCHILY.xattr.user.overlay.opaque", b"y")];
    let tar = Tar::default()
        .folder("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file(".wh.folder", "")
        .folder("folder")
        .pax(&[("SCHILY.xattr.security.capability", &capability), ("mtime", b"5.25"), ("uid", b"70000")])
        .file("ping", "program")
        .pax(redirect)
        .folder("plain")
        .header("null", &Fields { device: (1, 3), ..Fields::of(b'3') });
    unpack(tar.end().as_slice(), dir.path(), LIMITS).unwrap();
    let attribute = |path: &str, name: &str| {
        let mut value = [0; 64];
        let read = rustix::fs::lgetxattr(dir.path().join(path), name, &mut value);
        read.ok().map(|read| value[..read].to_vec())
    };
    assert_eq!(attribute("opaque", "trusted.overlay.opaque"), Some(b"y".to_vec()));
    assert_eq!(attribute("folder", "trusted.overlay.opaque"), Some(b"y".to_vec()));
    assert_eq!(attribute("ping", "security.capability"), Some(capability.to_vec()));
    assert_eq!(attribute("plain", "trusted.overlay.redirect"), None);
    assert_eq!(attribute("plain", "user.overlay.opaque"), None);
    let ping = fs::metadata(dir.path().join("ping")).unwrap();
    assert_eq!((ping.mtime(), ping.mtime_nsec(), ping.uid()), (5, 250_000_000, 70_000));
    let null = fs::metadata(dir.path().join("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == nix::sys::stat::makedev(1, 3));
    // A folder's time is that of the archive, whatever was written into it afterwards.
    assert_eq!(fs::metadata(dir.path().join("opaque")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn names_may_be_long_in_either_dialect() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(150));
    let gnu = Tar::default()
        .header("././@LongLink", &Fields { size: long.len() as u64 + 1, ..Fields::of(b'L') })
        .bytes(format!("{long}\0").as_bytes())
        .file("short", "gnu");
    let pax = Tar::default().pax(&[("path", long.as_bytes())]).file("short", "pax");
    for (tar, content) in [(gnu, "gnu"), (pax, "pax")] {
        let dir = tempfile::tempdir().unwrap();
        unpack(tar.end().as_slice(), dir.path(), LIMITS).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(&long)).unwrap(), content);
    }
}

#[test]
fn sparse_files_have_holes_in_every_dialect() {
    let mut old = [0; 512];
    let plain = Tar::default().header("s", &Fields { size: 3, ..Fields::of(b'S') }).cut();
    old.copy_from_slice(&plain);
    old[386..397].copy_from_slice(format!("{:011o}", 4096).as_bytes());
    old[398..409].copy_from_slice(format!("{:011o}", 3).as_bytes());
    old[483..494].copy_from_slice(format!("{:011o}", 10_000).as_bytes());
    sum(&mut old);
    let old = Tar::default().bytes(&old).bytes(b"abc");
    let listed =
        Tar::default().pax(&[("GNU.sparse.size", b"10000"), ("GNU.sparse.map", b"4096,3")]).file("s", "abc");
    let map = format!("{:\0<512}abc", "1\n4096\n3\n");
    let leading = Tar::default()
        .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"10000"), ("GNU.sparse.name", b"s")])
        .file("other", &map);
    for tar in [old, listed, leading] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unpack(tar.end().as_slice(), dir.path(), LIMITS).unwrap(), 10_000);
        let content = fs::read(dir.path().join("s")).unwrap();
        assert_eq!((content.len(), &content[4096..4099], content[4095]), (10_000, &b"abc"[..], 0));
    }
}

#[test]
fn bombs_are_stopped_at_their_limits() {
    let many = (0..=LIMITS.entries_max).fold(Tar::default(), |tar, at| tar.folder(&at.to_string()));
    check(|_| many.end(), expect!["the layer has more than 100 entries"]);
    let large = Fields { size: (1 << 20) + 1, ..Fields::of(b'0') };
    check(
        |_| Tar::default().header("big", &large).end(),
        expect!["the layer is larger than 1048576 bytes when it is unpacked"],
    );
    let hole = Tar::default().pax(&[("GNU.sparse.size", b"9000000000000"), ("GNU.sparse.map", b"")]);
    check(
        |_| hole.file("hole", "").end(),
        expect!["the layer is larger than 1048576 bytes when it is unpacked"],
    );
    check(
        |_| [Tar::default().end(), vec![0; 2 << 20]].concat(),
        expect!["the layer is larger than 1048576 bytes when it is unpacked"],
    );
    let name = Fields { size: 1 << 30, ..Fields::of(b'L') };
    check(
        |_| Tar::default().header("name", &name).end(),
        expect!["the archive is damaged: a long name or pax header is too long"],
    );
}

#[test]
fn nothing_is_deeper_than_can_be_removed() {
    let deep = |tar: Tar| {
        let dir = tempfile::tempdir().unwrap();
        let error = unpack(tar.end().as_slice(), dir.path(), LIMITS).unwrap_err().to_string();
        assert!(error.ends_with(": more than 255 folders deep"), "{error}");
    };
    deep(Tar::default().pax(&[("path", "d/".repeat(300).as_bytes())]).folder(""));
    // A link is a way to be deeper than any path is long.
    let half = "d/".repeat(200);
    let link = Tar::default().pax(&[("path", half.as_bytes())]).folder("");
    let link = link.pax(&[("linkpath", half.as_bytes())]).symlink("half", "");
    deep(link.pax(&[("path", format!("half/{half}").as_bytes())]).folder(""));
}

#[test]
fn what_is_damaged_says_so() {
    check(|_| Tar::default().file("a", "content").cut()[..520].to_vec(), expect!["the archive is cut short"]);
    check(|_| vec![1; 512], expect!["the archive is damaged: a header's number is none"]);
    let mut wrong = Tar::default().file("a", "").end();
    wrong[0] = b'b';
    check(|_| wrong, expect!["the archive is damaged: a header's checksum is wrong"]);
    check(
        |_| Tar::default().header("a", &Fields::of(b'V')).end(),
        expect![[r#"entry "a": an entry of type 'V' is not supported"#]],
    );
    check(
        |_| Tar::default().file("./", "the root").end(),
        expect!["the archive is damaged: the layer's root is no folder"],
    );
    let overlapping: &[(&str, &[u8])] = &[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"4,2,0,1")];
    check(
        |_| Tar::default().pax(overlapping).file("s", "abc").end(),
        expect!["the archive is damaged: a sparse file's map does not fit"],
    );
    let past: &[(&str, &[u8])] = &[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"18446744073709551615,3")];
    check(
        |_| Tar::default().pax(past).file("s", "abc").end(),
        expect!["the archive is damaged: a sparse file's map does not fit"],
    );
}
