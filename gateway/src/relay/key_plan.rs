//! What a plan says of a stream's keys, in the types that `srtp` has checked.
//!
//! A party may announce several keys and change the set of them: [`SrtpKeys::transition`] says
//! whether the receive state (streams, replay windows) can go on over the change. It goes on
//! wherever a key stays, since a context made anew would take that key's packets a second time.

use srtp::{
    KeyParameters, Lifetimes, MAX_KEYS, MasterKey, Mki, Profile, SessionParameters, Weaknesses,
};

/// What the party protects with: what we open with.
#[derive(Debug)]
pub enum ReceivePlan {
    /// As it is, with its replay state.
    Keep,
    /// Plain RTP.
    Clear,
    /// SRTP under keys that a DTLS handshake will bring. Those there are go on until then; where
    /// the leg was plain, nothing does.
    Await,
    /// SRTP under these keys and terms from now on.
    Set(Box<SrtpKeys>, Terms),
    /// SRTP under the keys there are, but for these.
    Change(Box<KeyChange>),
}

/// What we protect with towards the party.
#[derive(Debug)]
pub enum SendPlan {
    /// As it is, with its indexes.
    Keep,
    /// Plain RTP.
    Clear,
    /// SRTP under a key that a DTLS handshake will bring. The one there is goes on until then;
    /// where the leg was plain, nothing does.
    Await,
    /// SRTP under the first of these keys and these terms from now on; the others are there to go on
    /// to ([`Command::SwitchKey`](super::command::Command::SwitchKey)).
    Set(Box<SrtpKeys>, Terms),
}

/// What a leg goes without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What was agreed to be left out.
    pub session: SessionParameters,
    /// What the operator accepts, the suite's own weakness included.
    pub accepted: Weaknesses,
}

/// The keys of one direction: all of one profile and, where there are several, told apart by their
/// MKIs.
#[derive(Debug)]
pub struct SrtpKeys {
    /// The one named first.
    pub first: SrtpKey,
    /// The others, together at most [`MAX_KEYS`].
    pub further: Vec<SrtpKey>,
}

/// A key with what was negotiated around it.
#[derive(Debug)]
pub struct SrtpKey {
    /// Suite, master key and salt.
    pub master: MasterKey,
    /// What every packet carries to name it.
    pub mki: Mki,
    /// Most packets under it.
    pub lifetimes: Lifetimes,
}

/// The difference between two sets of keys that have some in common.
#[derive(Debug)]
pub struct KeyChange {
    /// New ones.
    pub install: Vec<SrtpKey>,
    /// Those that are no longer in the set.
    pub retire: Vec<Mki>,
}

/// How one set of keys follows another.
#[derive(Debug)]
pub enum Transition {
    /// They are the same.
    Same,
    /// Some stay: the receive state goes on.
    Changed(KeyChange),
    /// None stays, or the old ones stand in the way: the new set begins anew.
    Replaced,
}

impl SrtpKeys {
    /// The suite.
    pub fn profile(&self) -> Profile {
        self.first.master.profile()
    }

    /// Every key, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &SrtpKey> {
        std::iter::once(&self.first).chain(&self.further)
    }

    /// How `next` follows these. What keys may protect was said with them first and stays: their
    /// packets are being counted.
    pub fn transition(&self, next: &Self) -> Transition {
        let install: Vec<&SrtpKey> = next.iter().filter(|key| !self.has(key)).collect();
        let retire: Vec<Mki> =
            self.iter().filter(|key| !next.has(key)).map(|key| key.mki.clone()).collect();
        let (before, after) = (1 + self.further.len(), 1 + next.further.len());
        let none_stays = install.len() == after;
        let is_taken = |new: &&SrtpKey| self.iter().any(|old| old.mki == new.mki);
        if install.is_empty() && retire.is_empty() {
            Transition::Same
        } else if none_stays || install.iter().any(is_taken) || before + install.len() > MAX_KEYS {
            Transition::Replaced
        } else {
            let install = install.into_iter().map(SrtpKey::dangerous_duplicate).collect();
            Transition::Changed(KeyChange { install, retire })
        }
    }

    /// A second owner: signalling keeps one, the worker gets the other.
    pub fn dangerous_duplicate(&self) -> Self {
        Self {
            first: self.first.dangerous_duplicate(),
            further: self.further.iter().map(SrtpKey::dangerous_duplicate).collect(),
        }
    }

    fn has(&self, key: &SrtpKey) -> bool {
        self.iter().any(|known| known.mki == key.mki && known.master == key.master)
    }
}

impl From<SrtpKey> for SrtpKeys {
    fn from(first: SrtpKey) -> Self {
        Self { first, further: Vec::new() }
    }
}

/// What a finished DTLS handshake brought (RFC 5764 section 4.2).
#[derive(Debug)]
pub struct HandshakeKeys {
    /// What the party protects with.
    pub receive: SrtpKey,
    /// What we protect with.
    pub send: SrtpKey,
    /// From when on.
    pub handover: Handover,
}

/// When we go on under the keys of a handshake, where others are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// With the next packet: we were the client, and the server's Finished says that it has them.
    AtOnce,
    /// With the next packet after the first that the party protects under them: we were the server, and our
    /// Finished is on its way. Or half a second after the first packet for a party that stays silent.
    OnceHeard,
}

impl SrtpKey {
    /// A key that no packet names, under the suite's own limits.
    pub fn unnamed(master: MasterKey) -> Self {
        Self { master, mki: Mki::none(), lifetimes: Lifetimes::MAX }
    }

    /// As `srtp` takes it.
    pub fn parameters(&self) -> KeyParameters<'_> {
        let (mki, lifetimes) = (self.mki.clone(), self.lifetimes);
        KeyParameters { master: &self.master, mki, lifetimes }
    }

    /// A second owner.
    pub fn dangerous_duplicate(&self) -> Self {
        let master = self.master.dangerous_duplicate();
        Self { master, mki: self.mki.clone(), lifetimes: self.lifetimes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(mki: u8, byte: u8) -> SrtpKey {
        let master = MasterKey::from_concatenated(Profile::AeadAes128Gcm, &[byte; 28]).unwrap();
        SrtpKey { mki: Mki::new(&[mki]).unwrap(), ..SrtpKey::unnamed(master) }
    }

    fn keys(named: impl IntoIterator<Item = (u8, u8)>) -> SrtpKeys {
        let mut keys = named.into_iter().map(|(mki, byte)| key(mki, byte));
        SrtpKeys { first: keys.next().unwrap(), further: keys.collect() }
    }

    fn mkis<'a>(mkis: impl IntoIterator<Item = &'a Mki>) -> Vec<u8> {
        mkis.into_iter().flat_map(|mki| mki.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_same_keys_in_another_order_are_the_same() {
        let before = keys([(1, 1), (2, 2)]);
        assert!(matches!(before.transition(&keys([(2, 2), (1, 1)])), Transition::Same));
    }

    #[test]
    fn where_a_key_stays_only_the_others_change() {
        let Transition::Changed(change) =
            keys([(1, 1), (2, 2)]).transition(&keys([(2, 2), (3, 3)]))
        else {
            panic!("not a change");
        };
        assert_eq!(mkis(change.install.iter().map(|key| &key.mki)), [3]);
        assert_eq!(mkis(&change.retire), [1]);
    }

    #[test]
    fn without_a_key_in_common_or_with_an_mki_taken_again_the_set_begins_anew() {
        let before = keys([(1, 1), (2, 2)]);
        assert!(matches!(before.transition(&keys([(3, 3)])), Transition::Replaced));
        assert!(matches!(before.transition(&keys([(1, 1), (2, 9)])), Transition::Replaced));
        let unnamed = |byte| {
            let profile = Profile::AeadAes128Gcm;
            let master = MasterKey::from_concatenated(profile, &[byte; 28]).unwrap();
            SrtpKeys::from(SrtpKey::unnamed(master))
        };
        assert!(matches!(unnamed(1).transition(&unnamed(2)), Transition::Replaced));
        assert!(matches!(unnamed(1).transition(&unnamed(1)), Transition::Same));
    }

    #[test]
    fn old_and_new_keys_together_never_exceed_what_a_direction_holds() {
        let before = keys((0..10).map(|at| (at, at)));
        let fits = keys((9..16).map(|at| (at, at)));
        assert!(matches!(before.transition(&fits), Transition::Changed(_)));
        let one_more = keys((9..17).map(|at| (at, at)));
        assert!(matches!(before.transition(&one_more), Transition::Replaced));
    }
}
