//! Which version of a custom kind clients are offered first: `v2`, `v1`, `v2beta1`, `v1alpha3`, then the rest.

use std::cmp::Ordering;

/// Before: preferred.
pub fn by_priority(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// How stable a version is, then its numbers; none for what is no version in Kubernetes' manner.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let number = |text: &str| text.parse::<u64>().ok();
    if let Some((major, minor)) = rest.split_once("beta") {
        return Some((1, number(major)?, number(minor)?));
    }
    if let Some((major, minor)) = rest.split_once("alpha") {
        return Some((0, number(major)?, number(minor)?));
    }
    Some((2, number(rest)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_comes_before_beta_and_both_before_words() {
        let mut versions = ["foo1", "v1alpha1", "v10", "v2beta1", "v2", "v11alpha2", "v1beta2", "foo10"];
        versions.sort_by(|a, b| by_priority(a, b));
        let wanted = ["v10", "v2", "v2beta1", "v1beta2", "v11alpha2", "v1alpha1", "foo1", "foo10"];
        assert_eq!(versions, wanted);
    }
}
