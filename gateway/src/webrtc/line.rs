//! Datagrams that wait, and legs in turn: a leg has one turn for all that it sent meanwhile. Bounded
//! by legs, and for each of them, so that who repeats itself takes nobody's turn.

use std::collections::{BTreeMap, VecDeque};

use super::leg::LegKey;
use crate::relay::uplink::AgentPacket;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Line {
    turns: VecDeque<LegKey>,
    waiting: BTreeMap<LegKey, Vec<AgentPacket>>,
    bounds: Bounds,
}

/// How many may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) legs: usize,
    /// Datagrams of each.
    pub(super) of_a_leg: usize,
}

/// There is no room for it, or it waits already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Line {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { turns: VecDeque::new(), waiting: BTreeMap::new(), bounds }
    }

    /// Puts a datagram behind those of its leg, or its leg behind the others.
    pub(super) fn push(&mut self, packet: AgentPacket) -> Result<(), Full> {
        let leg = LegKey::new(packet.call, packet.stream);
        let (legs, all) = (self.turns.len(), &mut self.waiting);
        match all.get_mut(&leg) {
            Some(own) => {
                let known = own.iter().any(|one| one.bytes() == packet.bytes());
                if known || own.len() >= self.bounds.of_a_leg {
                    return Err(Full);
                }
                own.push(packet);
            }
            None if legs < self.bounds.legs => {
                all.insert(leg, vec![packet]);
                self.turns.push_back(leg);
            }
            None => return Err(Full),
        }
        Ok(())
    }

    /// What the leg whose turn it is has sent, in order.
    pub(super) fn pop(&mut self) -> Option<Vec<AgentPacket>> {
        self.waiting.remove(&self.turns.pop_front()?)
    }

    /// Legs that wait.
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::command::{CallKey, StreamIndex};

    fn packet(stream: u16, bytes: &[u8]) -> AgentPacket {
        AgentPacket::of(CallKey(1), StreamIndex(stream), bytes)
    }

    fn line() -> Line {
        Line::new(Bounds { legs: 2, of_a_leg: 3 })
    }

    #[test]
    fn a_leg_has_one_turn_with_all_that_it_sent_in_order() {
        let mut line = line();
        for (stream, bytes) in [(0, b"a"), (1, b"b"), (0, b"c")] {
            line.push(packet(stream, bytes)).unwrap();
        }
        assert_eq!(line.len(), 2);
        let turns: Vec<Vec<_>> = std::iter::from_fn(|| line.pop())
            .map(|turn| turn.iter().map(|one| one.bytes().to_vec()).collect())
            .collect();
        assert_eq!(turns, [vec![b"a".to_vec(), b"c".to_vec()], vec![b"b".to_vec()]]);
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn who_repeats_itself_or_sends_much_takes_nobodys_turn() {
        let mut line = line();
        line.push(packet(0, b"hello")).unwrap();
        assert_eq!(line.push(packet(0, b"hello")), Err(Full));
        for bytes in [b"1", b"2"] {
            line.push(packet(0, bytes)).unwrap();
        }
        assert_eq!(line.push(packet(0, b"3")), Err(Full));
        line.push(packet(1, b"hello")).unwrap();
        assert_eq!(line.push(packet(2, b"hello")), Err(Full), "as many legs as may wait");
        assert_eq!(line.pop().map(|turn| turn.len()), Some(3));
        line.push(packet(2, b"hello")).unwrap();
    }
}
