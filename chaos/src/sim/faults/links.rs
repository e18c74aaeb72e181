//! Which links are cut, by how many faults: one that ends leaves cut what another has cut.

use std::collections::BTreeMap;

use crate::sim::cluster::Cluster;

#[derive(Default)]
pub(super) struct Links {
    cuts: BTreeMap<(usize, usize), u32>,
}

impl Links {
    pub(super) fn cut(&mut self, cluster: &Cluster, links: &[(usize, usize)]) {
        for (from, to) in links {
            *self.cuts.entry((*from, *to)).or_default() += 1;
            cluster.cut(*from, *to);
        }
    }

    pub(super) fn mend(&mut self, cluster: &Cluster, links: &[(usize, usize)]) {
        for link in links {
            if self.release(*link) {
                cluster.mend(link.0, link.1);
            }
        }
    }

    /// Whether nobody cuts the link any more.
    fn release(&mut self, link: (usize, usize)) -> bool {
        let Some(cuts) = self.cuts.get_mut(&link) else { return false };
        *cuts -= 1;
        let is_free = *cuts == 0;
        if is_free {
            self.cuts.remove(&link);
        }
        is_free
    }

    pub(super) fn is_whole(&self, link: (usize, usize)) -> bool {
        !self.cuts.contains_key(&link)
    }

    /// As `n1>n2`.
    pub(super) fn describe(cluster: &Cluster, links: &[(usize, usize)]) -> Vec<String> {
        let name = |index: usize| cluster.members[index].name.as_str();
        links.iter().map(|(from, to)| format!("{}>{}", name(*from), name(*to))).collect()
    }
}

/// Every directed link between so many nodes.
pub(super) fn all(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |from| (0..count).filter(move |to| *to != from).map(move |to| (from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_free_when_the_last_fault_ends() {
        let mut links = Links::default();
        links.cuts.insert((0, 1), 2);
        assert!(!links.release((0, 1)));
        assert!(!links.is_whole((0, 1)) && links.is_whole((1, 0)));
        assert!(links.release((0, 1)));
        assert!(links.is_whole((0, 1)));
        assert!(!links.release((0, 1)));
    }

    #[test]
    fn three_nodes_have_six_links() {
        assert_eq!(all(3).collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]);
    }
}
