//! The container's root: an image's layers with what the container writes on top.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use rustix::io::Result as KernelResult;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::failure::{Explain as _, refusal};
use super::inside::Inside;
use super::mounts;
use super::spec::{Root, StartFailure};

/// mount(2) takes one page of settings, with the zero at its end.
const SETTINGS_BYTES_MAX: usize = 4095;

/// Mounts the root where it says.
pub(super) fn mount_root(root: &Root) -> Result<Inside, StartFailure> {
    if root.layers.is_empty() {
        let none = None::<&str>;
        mount(Some(&root.upper), &root.merged, none, MsFlags::MS_BIND, none).at("bind", &root.upper)?;
    } else {
        mount_overlay(root)?;
    }
    Inside::open(&root.merged).at("open the root", &root.merged)
}

fn mount_overlay(root: &Root) -> Result<(), StartFailure> {
    let (above, settings) = settings(root);
    if settings.len() <= SETTINGS_BYTES_MAX {
        let back = std::env::current_dir().unwrap_or(PathBuf::from("/"));
        std::env::set_current_dir(&above).at("enter", &above)?;
        let mounted =
            mount(Some("overlay"), &root.merged, Some("overlay"), MsFlags::empty(), Some(&settings[..]));
        std::env::set_current_dir(&back).at("enter", &back)?;
        return mounted.at("mount the overlay", &root.merged);
    }
    let target = Inside::open(&root.merged).at("open", &root.merged)?;
    let layered = layer_by_layer(root).map_err(|error| {
        refusal(format!(
            "mount the overlay {}: {} layers are more than this kernel takes: {error}",
            root.merged.display(),
            root.layers.len()
        ))
    })?;
    mounts::attach(&layered, target.root()).at("mount the overlay", &root.merged)
}

/// Linux 6.7 and newer: any number of layers, each named whole.
fn layer_by_layer(root: &Root) -> KernelResult<OwnedFd> {
    let context = over_layers("overlay", root.layers.iter().map(PathBuf::as_path))?;
    fsconfig_set_string(&context, "upperdir", escaped(&root.upper, b"\\"))?;
    fsconfig_set_string(&context, "workdir", escaped(&root.work, b"\\"))?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// An overlay that is still to be made of these layers, the uppermost first.
pub(crate) fn over_layers<'a>(
    source: &str,
    layers: impl IntoIterator<Item = &'a Path>,
) -> KernelResult<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", source)?;
    for layer in layers {
        fsconfig_set_string(&context, "lowerdir+", layer)?;
    }
    Ok(context)
}

/// The same layers as the setting that any kernel takes.
pub(crate) fn lowerdir<'a>(layers: impl IntoIterator<Item = &'a Path>) -> Vec<u8> {
    let mut setting = b"lowerdir=".to_vec();
    for (index, layer) in layers.into_iter().enumerate() {
        if index > 0 {
            setting.push(b':');
        }
        setting.extend(escaped(layer, b"\\:,"));
    }
    setting
}

/// The folder above all layers, and the settings with layers named from there: short names leave room for many.
fn settings(root: &Root) -> (PathBuf, Vec<u8>) {
    let above = common_folder(&root.layers);
    let mut settings = lowerdir(root.layers.iter().map(|layer| layer.strip_prefix(&above).unwrap_or(layer)));
    for (name, path) in [(",upperdir=", &root.upper), (",workdir=", &root.work)] {
        settings.extend(name.as_bytes());
        settings.extend(escaped(path, b"\\,"));
    }
    (above, settings)
}

fn common_folder(layers: &[PathBuf]) -> PathBuf {
    let mut above = layers.first().and_then(|layer| layer.parent()).unwrap_or(Path::new("/"));
    while let Some(next) =
        above.parent().filter(|_| !layers.iter().all(|layer| layer.starts_with(above) && layer != above))
    {
        above = next;
    }
    above.to_owned()
}

fn escaped(path: &Path, special: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if special.contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(layers: &[&str], expected: Expect) {
        let root = Root {
            layers: layers.iter().map(PathBuf::from).collect(),
            upper: "/c/up,per".into(),
            work: "/c/work".into(),
            merged: "/c/m".into(),
            readonly: false,
        };
        let (above, settings) = settings(&root);
        expected.assert_eq(&format!("{} {}", above.display(), String::from_utf8(settings).unwrap()));
    }

    #[test]
    fn layers_are_named_from_the_folder_above_all() {
        check(&["/l/a/fs"], expect![[r"/l/a lowerdir=fs,upperdir=/c/up\,per,workdir=/c/work"]]);
        check(
            &["/l/a/fs", "/l/b:c/fs"],
            expect![[r"/l lowerdir=a/fs:b\:c/fs,upperdir=/c/up\,per,workdir=/c/work"]],
        );
        check(&["/l", "/l/b"], expect![[r"/ lowerdir=l:l/b,upperdir=/c/up\,per,workdir=/c/work"]]);
        check(&["/x/1", "/y/2"], expect![[r"/ lowerdir=x/1:y/2,upperdir=/c/up\,per,workdir=/c/work"]]);
    }
}
