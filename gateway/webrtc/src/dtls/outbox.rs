//! Datagrams that wait to be sent, and how much may be sent to an address that is not proven.
//!
//! A ClientHello with a forged source makes us answer with some times its size. Without the
//! HelloVerifyRequest of RFC 6347 section 4.2.1 that is bounded as QUIC bounds it (RFC 9000 section
//! 8.1): until the address is proven, at most three times the bytes that came from it. What is
//! beyond that waits for more to come; memory is bounded by [`MAX_WAITING`].

use std::collections::VecDeque;

/// Most datagrams that wait: two flights with a certificate chain of 16 KiB at the default MTU.
const MAX_WAITING: usize = 32;

/// Bytes sent for one received, until the address is proven.
const AMPLIFICATION: u64 = 3;

/// `ContentType` of an alert's record (RFC 5246 section 6.2.1).
const ALERT: u8 = 21;

/// Whether packets sent to the peer's address are known to reach the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unproven,
    Proven,
}

/// One association's datagrams.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    leaving: Vec<u8>,
    address: Address,
    received: u64,
    sent: u64,
}

impl Outbox {
    pub(crate) fn new(address: Address) -> Self {
        let (waiting, leaving) = (VecDeque::new(), Vec::new());
        Self { waiting, leaving, address, received: 0, sent: 0 }
    }

    pub(crate) fn prove(&mut self) {
        self.address = Address::Proven;
    }

    /// So many bytes came from the peer's address.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// Queues datagrams; beyond the bound they are lost, as on a network.
    pub(crate) fn push(&mut self, datagrams: Vec<Vec<u8>>) {
        let room = MAX_WAITING.saturating_sub(self.waiting.len());
        self.waiting.extend(datagrams.into_iter().take(room));
    }

    /// True where [`Self::next`] has something.
    pub(crate) fn may_leave(&self) -> bool {
        self.waiting.front().is_some_and(|next| {
            let budget = self.received.saturating_mul(AMPLIFICATION);
            self.address == Address::Proven || self.sent + next.len() as u64 <= budget
        })
    }

    /// The next datagram that may leave.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        if !self.may_leave() {
            return None;
        }
        self.leaving = self.waiting.pop_front()?;
        self.sent += self.leaving.len() as u64;
        Some(&self.leaving)
    }

    /// True while something waits for its address to be proven, or for more budget.
    pub(crate) fn is_held(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Forgets what waits, but for alerts: what is over has no more to say.
    pub(crate) fn keep_alerts(&mut self) {
        self.waiting.retain(|datagram| datagram.first() == Some(&ALERT));
    }

    /// Gives back what an idle association does not need.
    pub(crate) fn shed(&mut self) {
        self.leaving = Vec::new();
        self.waiting.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unproven_address_gets_three_times_what_came_from_it() {
        let mut outbox = Outbox::new(Address::Unproven);
        outbox.push(vec![vec![1; 300], vec![2; 300]]);
        assert_eq!(outbox.next(), None);
        outbox.received(100);
        assert_eq!(outbox.next(), Some(&[1; 300][..]));
        assert_eq!(outbox.next(), None);
        outbox.received(99);
        assert_eq!(outbox.next(), None);
        outbox.received(1);
        assert_eq!(outbox.next(), Some(&[2; 300][..]));
    }

    #[test]
    fn a_proven_address_gets_all_at_once() {
        let mut outbox = Outbox::new(Address::Unproven);
        outbox.push(vec![vec![1; 300], vec![2; 300]]);
        outbox.prove();
        assert!(outbox.next().is_some() && outbox.next().is_some());
        assert_eq!(outbox.next(), None);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = Outbox::new(Address::Proven);
        outbox.push(vec![vec![0; 10]; 1000]);
        let sent = std::iter::from_fn(|| outbox.next().map(<[u8]>::len)).count();
        assert_eq!(sent, MAX_WAITING);
    }
}
