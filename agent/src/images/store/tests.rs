//! The store: imports, names, sharing, removal, and what a dead process leaves.

use std::fs;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::causes::in_full;
use crate::images::archive::{self, Entry, Image};
use crate::images::import::Archive;
use crate::images::unpack::tars::{Fields, Tar};

fn open(dir: &Path) -> ImageStore {
    ImageStore::open(dir.join("images"), vec![dir.join("hosts")]).unwrap()
}

fn image(name: &str, content: &str) -> Bytes {
    let entries = [Entry::File { path: "file", mode: 0o644, content: content.as_bytes() }];
    let image = Image { name, entries: &entries, entrypoint: &["/file"], exposed_ports: &[] };
    archive::build(&image).unwrap().into()
}

/// An archive of one image with these layers; `diff_ids` as the configuration claims them.
fn layered(name: &str, layers: &[Vec<u8>], diff_ids: &[String]) -> Bytes {
    let blob = |bytes: &[u8]| json!({ "digest": Digest::of(bytes).as_str(), "size": bytes.len() });
    let config = json!({ "os": "linux", "rootfs": { "diff_ids": diff_ids } }).to_string();
    let listed: Vec<_> = layers.iter().map(|layer| blob(layer)).collect();
    let manifest =
        json!({ "schemaVersion": 2, "config": blob(config.as_bytes()), "layers": listed }).to_string();
    let mut entry = blob(manifest.as_bytes());
    entry["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let mut tar = Tar::default().file("index.json", &index);
    for bytes in [config.as_bytes(), manifest.as_bytes()].into_iter().chain(layers.iter().map(Vec::as_slice))
    {
        let path = format!("blobs/sha256/{}", Digest::of(bytes).hex());
        let size = bytes.len() as u64;
        let fields = Fields::of(b'0');
        tar = tar.header(&path, &Fields { size, ..fields }).bytes(bytes);
    }
    tar.end().into()
}

fn diff_ids(layers: &[Vec<u8>]) -> Vec<String> {
    layers.iter().map(|layer| Digest::of(layer).to_string()).collect()
}

fn layer(path: &str) -> Vec<u8> {
    Tar::default().file(path, path).end()
}

/// How many layers are on the disk, and that nothing is under construction.
fn layers_on_disk(store: &ImageStore) -> usize {
    assert_eq!(fs::read_dir(store.inner.dir.join(WORK)).unwrap().count(), 0);
    fs::read_dir(store.inner.dir.join(LAYERS)).unwrap().count()
}

#[tokio::test]
async fn an_image_is_found_by_its_names_and_id_and_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let imported = store.import(Archive::Bytes(image("nginx:1.14", "hello"))).await.unwrap();
    let [image] = imported.as_slice() else { panic!("{imported:?}") };
    assert_eq!(image.names, ["docker.io/library/nginx:1.14"]);
    assert_eq!(image.config.entrypoint, ["/file"]);
    assert_eq!(image.size, 5);
    assert_eq!(fs::read_to_string(image.layers[0].join("file")).unwrap(), "hello");
    for store in [store, open(dir.path())] {
        for name in ["nginx:1.14", "docker.io/nginx:1.14", &image.id, &image.id["sha256:".len()..]] {
            assert_eq!(store.image(name).as_ref(), Some(image), "{name}");
        }
        for name in ["nginx", "nginx:1.1", "", "sha256:00", "other/nginx:1.14"] {
            assert_eq!(store.image(name), None, "{name}");
        }
        assert_eq!(store.images(), std::slice::from_ref(image));
    }
}

#[tokio::test]
async fn a_name_moves_to_the_image_that_got_it_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old = store.import(Archive::Bytes(image("web:1", "old"))).await.unwrap()[0].clone();
    let new = store.import(Archive::Bytes(image("web:1", "new"))).await.unwrap()[0].clone();
    assert_eq!(store.image("web:1").unwrap().id, new.id);
    assert_eq!(store.image(&old.id).unwrap().names, [""; 0]);
    store.import(Archive::Bytes(image("web:2", "new"))).await.unwrap();
    let names = store.image(&new.id).unwrap().names.clone();
    assert_eq!(names, ["docker.io/library/web:2", "docker.io/library/web:1"]);
    assert_eq!(layers_on_disk(&store), 2);
}

#[tokio::test]
async fn layers_are_shared_and_go_with_their_last_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (base, one, two) = (layer("base"), layer("one"), layer("two"));
    let mut images = Vec::new();
    for (name, top) in [("a:1", &one), ("a:2", &two)] {
        let layers = [base.clone(), top.clone()];
        let archive = layered(name, &layers, &diff_ids(&layers));
        images.push(store.import(Archive::Bytes(archive)).await.unwrap()[0].clone());
    }
    assert_eq!(images[0].layers[1], images[1].layers[1]);
    assert!(images[0].layers[0].join("one").exists(), "the topmost comes first");
    assert_eq!(layers_on_disk(&store), 3);
    store.remove(&images[0].id).unwrap();
    store.remove(&images[0].id).unwrap();
    assert_eq!(layers_on_disk(&store), 2);
    assert!(images[1].layers.iter().all(|layer| layer.exists()));
    store.remove(&images[1].id).unwrap();
    assert_eq!((layers_on_disk(&store), store.images().len()), (0, 0));
}

#[tokio::test]
async fn a_layer_that_is_held_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = store.import(Archive::Bytes(image("a:1", "x"))).await.unwrap()[0].clone();
    let (record, _) = store.state().images[&image.id].clone();
    let hold = store.hold(record.layers().flatten().collect());
    store.remove(&image.id).unwrap();
    assert_eq!(layers_on_disk(&store), 1);
    store.keep(record).unwrap();
    drop(hold);
    store.sweep().unwrap();
    assert_eq!(layers_on_disk(&store), 1);
}

#[tokio::test]
async fn a_layer_that_is_there_stays_when_it_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = store.import(Archive::Bytes(image("a:1", "x"))).await.unwrap()[0].clone();
    let file = Tar::default().file("file", "x").end();
    let made = layer("made");
    for bytes in [&file, &made, &made] {
        let content = Content { bytes: bytes.as_slice(), blob: Digest::of(bytes) };
        store.add_layer(&Digest::of(bytes), content).unwrap();
    }
    assert_eq!(store.image("a:1").unwrap().layers, image.layers);
    // The image's own, `file` as this test writes it, and one of `made`.
    assert_eq!(layers_on_disk(&store), 3);
}

#[tokio::test]
async fn what_a_dead_process_left_half_made_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let kept = store.import(Archive::Bytes(image("kept:1", "x"))).await.unwrap()[0].clone();
    // A layer that appeared without an image, one half-written, half of a list, and a folder that is no layer.
    let orphan = layer("orphan");
    let content = Content { bytes: orphan.as_slice(), blob: Digest::of(&orphan) };
    store.add_layer(&Digest::of(&orphan), content).unwrap();
    let images = dir.path().join("images");
    fs::create_dir_all(images.join("work/99/fs/bin")).unwrap();
    fs::write(images.join("work/99/fs/bin/half"), "").unwrap();
    fs::write(images.join("work/images.json"), "[{").unwrap();
    fs::create_dir_all(images.join("layers/77/fs")).unwrap();
    assert_eq!(fs::read_dir(images.join("layers")).unwrap().count(), 3);
    drop(store);
    let store = open(dir.path());
    assert_eq!(layers_on_disk(&store), 1);
    assert_eq!(store.images(), std::slice::from_ref(&kept));
    assert!(kept.layers[0].join("file").exists());
    // Nothing gets the number of what is there.
    store.import(Archive::Bytes(image("next:1", "y"))).await.unwrap();
    assert_eq!(layers_on_disk(&store), 2);
}

#[tokio::test]
async fn an_image_without_its_layer_is_forgotten_and_a_damaged_list_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = store.import(Archive::Bytes(image("a:1", "x"))).await.unwrap()[0].clone();
    fs::remove_dir_all(image.layers[0].parent().unwrap()).unwrap();
    assert_eq!(open(dir.path()).images(), []);
    fs::write(dir.path().join("images/images.json"), "[{").unwrap();
    let error = ImageStore::open(dir.path().join("images"), Vec::new()).unwrap_err();
    assert!(error.to_string().ends_with("images.json is damaged"), "{error}");
}

#[tokio::test]
async fn content_that_is_not_what_was_promised_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, two) = (layer("one"), layer("two"));
    let wrong_layer = layered("a:1", std::slice::from_ref(&one), &diff_ids(&[two]));
    let uneven = layered("a:1", std::slice::from_ref(&one), &[]);
    let mut changed =
        layered("a:1", std::slice::from_ref(&one), &diff_ids(std::slice::from_ref(&one))).to_vec();
    let at = changed.windows(3).rposition(|three| three == b"one").unwrap();
    changed[at] = b'O';
    for (archive, reason) in [
        (wrong_layer, "its content is not what the image says"),
        (uneven, "the manifest has 1 layers, the configuration 0"),
        (changed.into(), "cannot keep the image: the content of sha256:"),
        (Bytes::from(Tar::default().file("x", "").end()), "the archive lacks index.json"),
    ] {
        let error = in_full(&store.import(Archive::Bytes(archive)).await.unwrap_err());
        assert!(error.contains(reason), "{error}");
        assert_eq!((layers_on_disk(&store), store.images().len()), (0, 0));
    }
}

#[tokio::test]
async fn images_imported_at_once_make_each_layer_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let layers = [layer("base"), layer("top")];
    let imports = (0..8).map(|at| {
        let archive = layered(&format!("a:{at}"), &layers, &diff_ids(&layers));
        store.import(Archive::Bytes(archive))
    });
    let imported = futures::future::join_all(imports).await;
    assert!(imported.iter().all(Result::is_ok), "{imported:?}");
    assert_eq!(layers_on_disk(&store), 2);
    assert_eq!(store.images()[0].names.len(), 8);
    // A number for each of the holds, and one for each layer: nobody made what was there.
    assert_eq!(store.state().next, 8 + 2);
}

#[tokio::test]
async fn archives_in_a_folder_are_imported_and_bad_ones_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fs::write(dir.path().join("a.tar"), image("localhost/web:1", "x")).unwrap();
    fs::write(dir.path().join("bad.tar"), "no archive").unwrap();
    fs::write(dir.path().join("a.txt"), "another's").unwrap();
    crate::images::import_from(dir.path(), &store).await;
    let names: Vec<String> = store.images().iter().flat_map(|image| image.names.clone()).collect();
    assert_eq!(names, ["localhost/web:1"]);
    assert!(store.import(Archive::File(dir.path().join("none"))).await.is_err());
}
