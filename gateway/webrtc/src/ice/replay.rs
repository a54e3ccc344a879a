//! Nominations that a lite agent has acted on. It believes an authentic check where it comes from, as
//! it never asks back; but a source is not authentic, and whoever sees a check on its way can send
//! it again from elsewhere. By its transaction, which is, a check is known that came before.

use std::collections::VecDeque;

use super::stun::TransactionId;

/// The last [`MOST`], as parts of their random transactions.
#[derive(Default)]
pub(super) struct Acted(VecDeque<u32>);

impl Acted {
    pub(super) fn knows(&self, transaction: TransactionId) -> bool {
        self.0.contains(&part(transaction))
    }

    pub(super) fn note(&mut self, transaction: TransactionId) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(part(transaction));
    }
}

fn part(TransactionId([a, b, c, d, ..]): TransactionId) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

/// 4 KiB. RFC 8445 nominates once; a party that does so with each check, as browsers do in 2.5 s or
/// so, is remembered for 40 minutes.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_no_more_are_kept() {
        let of = |n: u32| {
            let mut transaction = [0; 12];
            transaction[..4].copy_from_slice(&n.to_be_bytes());
            TransactionId(transaction)
        };
        let mut acted = Acted::default();
        (0..=MOST as u32).for_each(|n| acted.note(of(n)));
        assert!(!acted.knows(of(0)) && (1..=MOST as u32).all(|n| acted.knows(of(n))));
        assert!(!acted.knows(of(MOST as u32 + 1)));
        assert_eq!(acted.0.len(), MOST);
    }
}
