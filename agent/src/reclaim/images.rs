//! Which images go when the disk fills up: unused ones, those longest unused first. Pure.
//!
//! The kubelet's image collection: it begins above a high share of the disk, stops below a low one, and spares
//! what is young.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;

use crate::images::{PAUSE_IMAGE, WEB_IMAGE};
use crate::node::Usage;
use crate::runtime::{NamedImage, PodRuntime};

/// When images are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePolicy {
    /// Percent of the disk above which it begins.
    pub high_percent: u64,
    /// Percent of the disk below which it stops.
    pub low_percent: u64,
    /// What has been there for less than this stays.
    pub age_min: Duration,
}

impl Default for ImagePolicy {
    /// Kubernetes' defaults.
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, age_min: Duration::from_secs(120) }
    }
}

impl ImagePolicy {
    /// How many bytes must go; `None` while there is room.
    pub(super) fn excess(&self, usage: &Usage) -> Option<u64> {
        let (free, all) = (usage.storage_free_bytes, usage.storage_bytes);
        if all == 0 {
            return None;
        }
        let used_percent = 100 - free.min(all) * 100 / all;
        let wanted = all / 100 * (100 - self.low_percent.min(100));
        (used_percent >= self.high_percent).then(|| wanted.saturating_sub(free))
    }
}

/// What was seen of each image, by id. Memory only: a new agent takes what it finds for old.
#[derive(Debug, Default)]
pub(super) struct Seen {
    images: BTreeMap<String, Times>,
    has_looked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    first: Timestamp,
    used: Timestamp,
}

impl Seen {
    /// Takes in what is there now and what of it containers use.
    pub(super) fn observe(&mut self, images: &[NamedImage], used: &BTreeSet<String>, now: Timestamp) {
        let first = if self.has_looked { now } else { Timestamp::UNIX_EPOCH };
        self.has_looked = true;
        self.images.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let times = self.images.entry(image.id.clone()).or_insert(Times { first, used: first });
            if is_used(image, used) {
                times.used = now;
            }
        }
    }

    /// The ids of what may go, in the order in which it should, and how large each is.
    pub(super) fn unused(
        &self,
        images: &[NamedImage],
        used: &BTreeSet<String>,
        (age_min, now): (Duration, Timestamp),
    ) -> Vec<(String, u64)> {
        let old = |times: &Times| {
            Duration::try_from(now.duration_since(times.first)).unwrap_or_default() >= age_min
        };
        let mut unused: Vec<(Times, &NamedImage)> = images
            .iter()
            .filter(|image| !is_used(image, used) && !is_ours(image))
            .filter_map(|image| Some((*self.images.get(&image.id)?, image)))
            .filter(|(times, _)| old(times))
            .collect();
        unused.sort_by(|(a, one), (b, other)| (a.used, a.first, &one.id).cmp(&(b.used, b.first, &other.id)));
        unused.into_iter().map(|(_, image)| (image.id.clone(), image.size)).collect()
    }
}

/// How containers name the images that they were made from.
pub(super) fn used_by(pods: &BTreeMap<String, PodRuntime>) -> BTreeSet<String> {
    pods.values().flat_map(|pod| &pod.containers).map(|container| container.image_id.clone()).collect()
}

fn is_used(image: &NamedImage, used: &BTreeSet<String>) -> bool {
    used.contains(&image.id) || image.names.iter().any(|name| used.contains(name))
}

/// Made by the agent itself, so nothing could bring them back while it runs.
fn is_ours(image: &NamedImage) -> bool {
    image.names.iter().any(|name| name == PAUSE_IMAGE || name == WEB_IMAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn image(id: &str, name: &str) -> NamedImage {
        NamedImage { id: id.to_owned(), names: vec![name.to_owned()], size: 10 }
    }

    fn disk(free_percent: u64) -> Usage {
        Usage { storage_bytes: 1000, storage_free_bytes: free_percent * 10, ..Usage::default() }
    }

    #[test]
    fn it_begins_above_the_high_mark_and_aims_below_the_low_one() {
        let policy = ImagePolicy::default();
        assert_eq!(policy.excess(&disk(16)), None);
        assert_eq!(policy.excess(&disk(15)), Some(50));
        assert_eq!(policy.excess(&disk(0)), Some(200));
        assert_eq!(policy.excess(&Usage::default()), None, "a disk that is not known is not full");
    }

    #[test]
    fn what_is_unused_longest_goes_first_and_what_is_young_stays() {
        let images = [image("a", "x/a:1"), image("b", "x/b:1"), image("w", WEB_IMAGE)];
        let mut seen = Seen::default();
        let uses = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        seen.observe(&images, &uses(&["a"]), at(1000));
        seen.observe(&images, &uses(&["x/b:1"]), at(1010));
        let with_new = [images.as_slice(), &[image("n", "x/n:1")]].concat();
        seen.observe(&with_new, &uses(&[]), at(1020));
        let unused = |used: &[&str], age: u64| {
            let all = seen.unused(&with_new, &uses(used), (Duration::from_secs(age), at(1030)));
            all.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(unused(&[], 120), ["a", "b"]);
        assert_eq!(unused(&[], 0), ["a", "b", "n"]);
        assert_eq!(unused(&["a"], 0), ["b", "n"]);
    }
}
