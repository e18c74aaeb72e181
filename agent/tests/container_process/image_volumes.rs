//! What images declare as volumes.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use serde_json::json;

use crate::fixture::{Fixture, bind};

#[test]
fn an_images_volume_begins_with_what_the_image_has() {
    let fixture = Fixture::make();
    fixture.image_file("data/deep/file", "of the image");
    std::fs::hard_link(fixture.path("layer/data/deep/file"), fixture.path("layer/data/same")).unwrap();
    symlink("/etc/passwd", fixture.path("layer/data/link")).unwrap();
    chown(fixture.path("layer/data"), Some(101), Some(33)).unwrap();
    chown(fixture.path("layer/data/deep/file"), Some(101), Some(102)).unwrap();
    std::fs::set_permissions(fixture.path("layer/data"), std::fs::Permissions::from_mode(0o2750)).unwrap();
    nix::unistd::mkfifo(&fixture.path("layer/data/fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600))
        .unwrap();
    let script = "stat -c '%a %u %g' /data; cat /data/deep/file; echo; stat -c '%u %g %h' /data/same; \
                  readlink /data/link; test -p /data/fifo && echo fifo; echo new >/data/new; ls /new; \
                  mount | grep -c ' on /data '";
    let mut container = fixture.container(script);
    container["root"]["readonly"] = json!(true);
    container["process"]["capabilities"] = json!("All");
    let volume = |number: &str, target: &str| {
        let source = fixture.path(number);
        std::fs::create_dir(&source).unwrap();
        let mut volume = bind(&source, target);
        volume["is_filled"] = json!(true);
        volume
    };
    container["mounts"] = json!([volume("v0", "/data"), volume("v1", "/new")]);
    let outcome = fixture.run(&container);
    let lines: Vec<&str> = outcome.text.lines().collect();
    let expected = ["2750 101 33", "of the image", "101 102 2", "/etc/passwd", "fifo", "1"];
    assert_eq!(lines, expected, "{outcome:?}");
    assert_eq!(std::fs::read_to_string(fixture.path("v0/new")).unwrap(), "new\n");
    assert!(!fixture.path("upper/data/new").exists(), "it is not in the container's own layer");
    fixture.image_file("plain", "");
    let mut wrong = fixture.container("true");
    wrong["mounts"] = json!([volume("v2", "/plain")]);
    assert_eq!(fixture.run(&wrong).failure.as_deref(), Some("the image's volume /plain is no folder"));
}
