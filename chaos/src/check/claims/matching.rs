//! The greatest matching between two sides, by augmenting paths.

/// For each on the left, given whom it fits on the right (numbers below `right`), its partner in a matching that leaves
/// as few as possible alone.
pub(super) fn greatest(fits: &[&[u32]], right: usize) -> Vec<Option<u32>> {
    let mut matching = Matching { fits, taken: vec![None; right], tried: vec![usize::MAX; right] };
    for left in 0..fits.len() {
        matching.place(left);
    }
    let mut partners = vec![None; fits.len()];
    for (number, left) in (0..).zip(&matching.taken) {
        if let Some(left) = left {
            partners[*left] = Some(number);
        }
    }
    partners
}

struct Matching<'f> {
    fits: &'f [&'f [u32]],
    taken: Vec<Option<usize>>,
    /// For whom each was last looked at.
    tried: Vec<usize>,
}

impl Matching<'_> {
    /// Finds a place for one more, moving others; with a stack of its own, since a chain of moves may be long.
    fn place(&mut self, newcomer: usize) {
        // Who stands where on the path, and how many of its places were tried.
        let mut path: Vec<(usize, usize)> = vec![(newcomer, 0)];
        while let Some((left, next)) = path.last_mut() {
            let Some(right) = self.fits[*left].get(*next).map(|right| *right as usize) else {
                path.pop();
                continue;
            };
            *next += 1;
            if std::mem::replace(&mut self.tried[right], newcomer) == newcomer {
                continue;
            }
            match self.taken[right] {
                Some(other) => path.push((other, 0)),
                None => {
                    for (left, next) in path {
                        self.taken[self.fits[left][next - 1] as usize] = Some(left);
                    }
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_move_to_make_room() {
        assert_eq!(greatest(&[&[0, 1], &[0], &[1, 2]], 3), [Some(1), Some(0), Some(2)]);
    }

    #[test]
    fn who_has_no_place_stays_alone() {
        let matched = greatest(&[&[0], &[0], &[]], 1);
        assert_eq!(matched.iter().flatten().count(), 1);
        assert_eq!(matched[2], None);
    }

    #[test]
    fn a_long_chain_of_moves_is_walked() {
        let right: Vec<[u32; 2]> = (0..20_000).map(|left| [left, left + 1]).collect();
        let mut fits: Vec<&[u32]> = right.iter().map(<[u32; 2]>::as_slice).collect();
        fits.push(&[0]);
        assert!(greatest(&fits, 20_001).iter().all(Option::is_some));
    }
}
