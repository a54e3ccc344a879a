//! How much at a time: connections and handshakes of one listener, all threads together.
//!
//! A place is taken when a connection is accepted and given back when its [`Permit`] is dropped,
//! however the connection ends. Nobody waits for a place: what finds none is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places that are taken; how many there may be comes with each request, as a reload changes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Places {
    /// Takes a place, if fewer than `limit` are taken.
    pub(crate) fn take(&self, limit: usize) -> Option<Permit> {
        let more = |taken: usize| (taken < limit).then_some(taken + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Permit(Arc::clone(&self.0)))
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_given_back_is_free_again_and_a_lower_limit_takes_none_away() {
        let places = Places::default();
        let (first, second) = (places.take(2), places.take(2));
        assert!(first.is_some() && second.is_some() && places.take(2).is_none());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take(1).is_none());
        drop(second);
        assert!(places.take(1).is_some());
    }
}
