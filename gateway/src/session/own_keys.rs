//! Several keys of ours on one `a=crypto` line, told apart by MKIs (RFC 4568 section 6.1), so that we
//! may go on from one to the next in mid-call, without an offer.
//!
//! A party is given them in an answer where it named several itself, which shows that it tells them
//! apart, and in offers where the operator wishes it or it holds such keys already. Never beside a
//! key that passes from party to party: its owner's packets name none. The MKIs of a line go on where
//! those that the party has seen end, under `reset` too, so that it may keep old keys by their MKIs for
//! a while. A line that would pass 255 begins at 1 again.

use ring::rand::SystemRandom;
use srtp::{Lifetimes, MasterKey, Mki, Profile};

use crate::relay::key_plan::{SrtpKey, SrtpKeys};

use super::Refused;
use super::crypto::{self, LocalCrypto, PeerCrypto};
use super::settings::Settings;

/// An MKI of ours: one byte in each packet, 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnMki(u8);

impl OwnMki {
    /// Its value, as SDP says it.
    pub fn number(self) -> u8 {
        self.0
    }

    /// As `srtp` has it.
    pub fn mki(self) -> Mki {
        // One byte is never too many.
        Mki::new(&[self.0]).unwrap_or_default()
    }
}

/// The keys of a line beside the one that we begin under.
#[derive(Debug)]
pub(super) struct SpareKeys {
    /// The MKI of the one that we begin under; those here have the next ones.
    first: OwnMki,
    keys: Vec<MasterKey>,
}

impl SpareKeys {
    fn dangerous_duplicate(&self) -> Self {
        let keys = self.keys.iter().map(MasterKey::dangerous_duplicate).collect();
        Self { first: self.first, keys }
    }

    fn last(&self) -> u8 {
        // A line's MKIs end at 255 ([`Line`]), and it has eight keys at most.
        self.first.0.saturating_add(self.keys.len() as u8)
    }
}

/// What a new line of ours has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// One key, which packets do not name.
    OneKey,
    /// So many keys, under MKIs from this one on.
    Keys { count: u8, first: OwnMki },
}

impl Line {
    /// In an answer to `offered`, to a party that holds `in_force` of ours.
    pub(super) fn of_answer(
        settings: &Settings,
        offered: &PeerCrypto,
        in_force: Option<&LocalCrypto>,
    ) -> Self {
        match offered.keys.further.is_empty() {
            true => Self::OneKey,
            false => Self::after(settings, in_force.into_iter()),
        }
    }

    /// In an offer to a party that holds `in_force` of ours and was offered `offered` before.
    pub(super) fn of_offer(
        settings: &Settings,
        in_force: Option<&LocalCrypto>,
        offered: &[LocalCrypto],
    ) -> Self {
        let has_several = in_force.is_some_and(|local| local.spare.is_some());
        match settings.offer_several_keys || has_several {
            true => Self::after(settings, in_force.into_iter().chain(offered)),
            false => Self::OneKey,
        }
    }

    /// The same under `reset`: that the party tells keys apart is forgotten, but not under which
    /// MKIs it may still hold some.
    pub(super) fn of_reset(
        settings: &Settings,
        in_force: Option<&LocalCrypto>,
        offered: &[LocalCrypto],
    ) -> Self {
        match settings.offer_several_keys {
            true => Self::after(settings, in_force.into_iter().chain(offered)),
            false => Self::OneKey,
        }
    }

    fn after<'a>(settings: &Settings, seen: impl Iterator<Item = &'a LocalCrypto>) -> Self {
        let count = settings.keys_a_line;
        if count < 2 {
            return Self::OneKey;
        }
        let last = seen.filter_map(|local| local.spare.as_ref()).map(|spare| spare.last()).max();
        let last = last.filter(|last| u8::MAX - last >= count).unwrap_or(0);
        Self::Keys { count, first: OwnMki(last + 1) }
    }

    /// Fresh keys for it, beside the one that we begin under.
    pub(super) fn spare(
        self,
        profile: Profile,
        random: &SystemRandom,
    ) -> Result<Option<Box<SpareKeys>>, Refused> {
        let Self::Keys { count, first } = self else { return Ok(None) };
        let keys =
            (1..count).map(|_| crypto::generate(profile, random)).collect::<Result<_, _>>()?;
        Ok(Some(Box::new(SpareKeys { first, keys })))
    }
}

impl LocalCrypto {
    /// Second owners of all of its keys.
    pub(super) fn dangerous_keys(&self) -> (MasterKey, Option<Box<SpareKeys>>) {
        let spare = self.spare.as_ref().map(|spare| Box::new(spare.dangerous_duplicate()));
        (self.key.dangerous_duplicate(), spare)
    }

    /// The MKI of the key at this place, 0 for the one that we begin under; `None` where there is
    /// no such key, or only one.
    pub(super) fn mki(&self, place: usize) -> Option<OwnMki> {
        let spare = self.spare.as_ref()?;
        let place = u8::try_from(place).ok().filter(|_| place <= spare.keys.len())?;
        Some(OwnMki(spare.first.0.saturating_add(place)))
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> usize {
        1 + self.spare.as_ref().map_or(0, |spare| spare.keys.len())
    }

    /// For the worker and for SDP.
    pub(super) fn keys(&self, lifetimes: Lifetimes) -> SrtpKeys {
        let named = |(place, key): (usize, &MasterKey)| SrtpKey {
            master: key.dangerous_duplicate(),
            mki: self.mki(place).map(OwnMki::mki).unwrap_or_default(),
            lifetimes,
        };
        let spare = self.spare.iter().flat_map(|spare| &spare.keys);
        SrtpKeys { first: named((0, &self.key)), further: (1..).zip(spare).map(named).collect() }
    }
}
