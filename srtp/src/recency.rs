//! In which order the streams of a table were last heard.
//!
//! A list linked in both directions through the places of the table. The order is exact, and each
//! step takes constant time however many streams there are; a stamp per stream would need a search
//! for the oldest, which a peer could ask for with every packet. A packet of the stream heard last,
//! the usual case, changes nothing.

use crate::replay::double_if_full;

/// The places of a table, ordered by when they were last touched.
#[derive(Debug, Default)]
pub(crate) struct Recency {
    links: Vec<Link>,
    newest: u16,
    oldest: u16,
}

/// A place's neighbours. The ends of the list link to nothing of meaning.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: u16,
    newer: u16,
}

impl Recency {
    /// Adds the next place as the newest. There may be 65,536.
    pub(crate) fn push(&mut self) {
        double_if_full(&mut self.links, 1);
        let at = self.links.len() as u16;
        self.links.push(Link::default());
        self.put_first(at);
    }

    /// The place touched last; 0 if there is none.
    pub(crate) fn newest(&self) -> usize {
        usize::from(self.newest)
    }

    /// The place that has not been touched for longest; 0 if there is none.
    pub(crate) fn oldest(&self) -> usize {
        usize::from(self.oldest)
    }

    /// Makes `at` the newest.
    pub(crate) fn touch(&mut self, at: usize) {
        let at = at as u16;
        if at == self.newest {
            return;
        }
        let Link { older, newer } = self.links[usize::from(at)];
        self.links[usize::from(newer)].older = older;
        if at == self.oldest {
            self.oldest = newer;
        } else {
            self.links[usize::from(older)].newer = newer;
        }
        self.put_first(at);
    }

    /// Every place, the oldest first.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = usize> {
        let first = (!self.links.is_empty()).then_some(self.oldest);
        std::iter::successors(first, |&at| {
            (at != self.newest).then(|| self.links[usize::from(at)].newer)
        })
        .map(usize::from)
    }

    fn put_first(&mut self, at: u16) {
        self.links[usize::from(at)].older = self.newest;
        self.links[usize::from(self.newest)].newer = at;
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_list_that_is_searched(
            count in 1usize..20,
            touched in proptest::collection::vec(any::<proptest::sample::Index>(), 0..200)
        ) {
            let mut recency = Recency::default();
            let mut model: Vec<usize> = (0..count).collect();
            model.iter().for_each(|_| recency.push());
            for at in touched {
                let at = at.index(count);
                recency.touch(at);
                model.retain(|known| *known != at);
                model.push(at);
                prop_assert_eq!(recency.newest(), at);
                prop_assert_eq!(recency.oldest(), model[0]);
                prop_assert_eq!(&recency.oldest_first().collect::<Vec<_>>(), &model);
            }
        }
    }

    #[test]
    fn the_last_place_of_the_largest_table_is_a_place() {
        let mut recency = Recency::default();
        (0..1 << 16).for_each(|_| recency.push());
        assert_eq!((recency.oldest(), recency.newest()), (0, 65_535));
        recency.touch(0);
        assert_eq!((recency.oldest(), recency.newest()), (1, 0));
        assert!(recency.oldest_first().eq((1..1 << 16).chain([0])));
    }
}
