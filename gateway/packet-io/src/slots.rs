//! A driver's sockets by token, each with a generation that outlives it.
//!
//! What the kernel reports late names token and generation, so a packet or an event for a socket
//! that has gone is recognised even when the token has a new owner.

use std::io;
use std::net::UdpSocket;

use crate::driver::Token;

/// Generations wrap here: [`Occupant::to_u64`] leaves the top byte to its user.
const GENERATIONS: u32 = 1 << 24;

/// One socket's stay under a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occupant {
    /// The caller's name for it.
    pub(crate) token: Token,
    /// Which stay under that name: below 2^24.
    pub(crate) generation: u32,
}

impl Occupant {
    /// Packs it into the low 56 bits.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.token.0)
    }

    /// Unpacks the low 56 bits.
    pub(crate) fn from_u64(data: u64) -> Self {
        let generation = (data >> 32) as u32 % GENERATIONS;
        Self { token: Token(data as u32), generation }
    }
}

/// The table: a vector, because tokens are small and dense.
pub(crate) struct Slots<T>(Vec<Slot<T>>);

struct Slot<T> {
    generation: u32,
    held: Option<(UdpSocket, T)>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Slots<T> {
    /// Moves `socket` in under `token`, which must be free.
    pub(crate) fn insert(
        &mut self,
        token: Token,
        socket: UdpSocket,
        state: T,
    ) -> io::Result<Occupant> {
        let at = token.0 as usize;
        if at >= self.0.len() {
            self.0.resize_with(at + 1, || Slot { generation: 0, held: None });
        }
        let slot = &mut self.0[at];
        if slot.held.is_some() {
            let message = format!("token {at} already names a socket: remove it first");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        slot.held = Some((socket, state));
        Ok(Occupant { token, generation: slot.generation })
    }

    /// Moves the socket under `token` out and ends its generation.
    pub(crate) fn remove(&mut self, token: Token) -> Option<(Occupant, UdpSocket, T)> {
        let slot = self.0.get_mut(token.0 as usize)?;
        let (socket, state) = slot.held.take()?;
        let gone = Occupant { token, generation: slot.generation };
        slot.generation = (slot.generation + 1) % GENERATIONS;
        Some((gone, socket, state))
    }

    /// The socket now under `token`.
    #[inline]
    pub(crate) fn socket(&self, token: Token) -> Option<&UdpSocket> {
        self.0.get(token.0 as usize)?.held.as_ref().map(|(socket, _)| socket)
    }

    /// The very socket that `occupant` names; `None` when it has gone.
    #[inline]
    pub(crate) fn occupant(&mut self, occupant: Occupant) -> Option<(&UdpSocket, &mut T)> {
        let slot = self.0.get_mut(occupant.token.0 as usize)?;
        if slot.generation != occupant.generation {
            return None;
        }
        slot.held.as_mut().map(|(socket, state)| (&*socket, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn a_later_owner_of_the_token_is_not_the_earlier_occupant() {
        let mut slots = Slots::default();
        let first = slots.insert(Token(3), socket(), 'a').unwrap();
        assert_eq!(slots.occupant(first).map(|(_, state)| *state), Some('a'));
        slots.remove(Token(3)).unwrap();
        let second = slots.insert(Token(3), socket(), 'b').unwrap();
        assert!(slots.occupant(first).is_none());
        assert_eq!(Occupant::from_u64(second.to_u64()), second);
        assert_eq!(Occupant::from_u64(0xff << 56 | second.to_u64()), second);
    }

    #[test]
    fn a_taken_token_is_refused() {
        let mut slots = Slots::default();
        slots.insert(Token(0), socket(), ()).unwrap();
        let error = slots.insert(Token(0), socket(), ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
