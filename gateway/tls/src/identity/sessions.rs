//! Sessions that the server remembers, for TLS 1.2 clients that know session numbers and no tickets
//! (RFC 5246 section 7.3).
//!
//! Bounded in number and in size, so what one listener remembers takes 4 MiB at most. A store
//! belongs to one identity: after a reload there is another one, and nothing that was agreed under
//! the old trust goes on. TLS 1.3 and clients with tickets leave nothing here.

use std::sync::Arc;

use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

/// The store.
#[derive(Debug)]
pub(crate) struct BoundedSessions(Arc<ServerSessionMemoryCache>);

impl BoundedSessions {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(ServerSessionMemoryCache::new(MOST)))
    }
}

impl StoresServerSessions for BoundedSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        value.len() <= LONGEST && self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Sessions at a time; the oldest one goes first.
const MOST: usize = 1024;

/// Bytes of a session: a client's chain of two or three certificates fits, with its keys.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_many_sessions_nor_long_ones_fill_the_memory() {
        let sessions = BoundedSessions::new();
        assert!(!sessions.put(vec![1], vec![0; LONGEST + 1]));
        for number in 0..10 * MOST as u64 {
            assert!(sessions.put(number.to_be_bytes().to_vec(), vec![0; LONGEST]));
        }
        let kept = (0..10 * MOST as u64).filter(|key| sessions.get(&key.to_be_bytes()).is_some());
        assert!(kept.count() <= MOST);
    }
}
