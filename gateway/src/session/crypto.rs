//! SDES negotiation (RFC 4568): which suites we offer under which tags, which one we answer with,
//! and which of our keys an answer has chosen.
//!
//! Every leg gets keys of our own: the other leg's key is not passed on, so both sides are
//! decrypted, checked and encrypted again. With [`Compat::Rtpengine`] an offer also hands on the
//! offerer's keys ([`Sharing`]); what is agreed under such a key passes as it is. Keys that are in use stay over a re-INVITE for
//! as long as the peer goes on choosing their suite.

use ng::request::Sdes;
use ng::sdp::{CryptoAttribute, InlineKey};
use ring::rand::{SecureRandom, SystemRandom};
use srtp::{Lifetimes, MasterKey, Profile};
use zeroize::Zeroizing;

use crate::relay::key_plan::{SrtpKey, SrtpKeys};

use super::Refused;
use super::settings::{Compat, Settings};

/// A key of ours with the tag it goes by.
#[derive(Debug)]
pub(super) struct LocalCrypto {
    /// The tag in `a=crypto`.
    pub(super) tag: u32,
    /// Suite, key and salt.
    pub(super) key: MasterKey,
    /// It has been in force: once another has taken its place it cannot come back, because its
    /// packet indexes would start over under the same key.
    pub(super) used: bool,
    /// It is the other leg's, handed on: nothing is ever sealed with it here, because its owner
    /// seals with it.
    pub(super) shared: bool,
}

/// Whether an offer hands the offerer's keys on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Only keys of our own.
    Never,
    /// The offerer's own key for every suite that it offered (shared-key passthrough).
    OfferersKeys,
}

/// Keys of ours that a party has seen.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    /// The one in force.
    pub(super) in_force: Option<&'a LocalCrypto>,
    /// Those of the last offer to it.
    pub(super) offered: &'a [LocalCrypto],
}

/// A peer's keys.
#[derive(Debug)]
pub(super) struct PeerCrypto {
    /// The tag in `a=crypto`.
    pub(super) tag: u32,
    /// All that it may protect with.
    pub(super) keys: SrtpKeys,
}

impl PeerCrypto {
    /// What we can use of a peer's attributes, in its order.
    pub(super) fn usable(attributes: &[CryptoAttribute]) -> Vec<Self> {
        attributes.iter().filter(|a| acceptable(a)).map(Self::of).collect()
    }

    /// The suite.
    pub(super) fn profile(&self) -> Profile {
        self.keys.profile()
    }

    /// Its key, where it has only that and no packet names it.
    pub(super) fn unnamed(&self) -> Option<&MasterKey> {
        self.keys.first.mki.is_empty().then_some(&self.keys.first.master)
    }

    /// A second owner: one belongs to what was said, the other to what is in force.
    pub(super) fn dangerous_duplicate(&self) -> Self {
        Self { tag: self.tag, keys: self.keys.dangerous_duplicate() }
    }

    fn of(attribute: &CryptoAttribute) -> Self {
        let key = |inline: &InlineKey| SrtpKey {
            master: inline.master.dangerous_duplicate(),
            mki: inline.mki.clone(),
            lifetimes: inline.lifetimes.unwrap_or_default(),
        };
        let further = attribute.further.iter().map(key).collect();
        Self { tag: attribute.tag, keys: SrtpKeys { first: key(&attribute.key), further } }
    }
}

impl LocalCrypto {
    /// A second owner: one is printed or in force, the other may be chosen later.
    pub(super) fn dangerous_duplicate(&self) -> Self {
        let key = self.key.dangerous_duplicate();
        Self { tag: self.tag, key, used: self.used, shared: self.shared }
    }

    /// As it is written into SDP.
    pub(super) fn attribute(&self, sdes: &Sdes) -> CryptoAttribute {
        let printed = sdes.lifetime.then_some(PRINTED_LIFETIME);
        CryptoAttribute {
            tag: self.tag,
            key: InlineKey {
                lifetimes: printed.and_then(|packets| Lifetimes::from_sdes(packets).ok()),
                ..self.key.dangerous_duplicate().into()
            },
            further: Vec::new(),
            parameters: Vec::new(),
        }
    }
}

/// What to offer a party: the key in force first, then the suites of the other leg's offer with
/// their tags, then the rest of ours with tags counting up. A key that it was offered before and
/// that was never in force is offered again: an answer to the earlier offer may yet come (a fork
/// without branches, a proxy that asks twice).
pub(super) fn offer(
    settings: &Settings,
    sdes: &Sdes,
    shown: Shown<'_>,
    (source, sharing): (&[PeerCrypto], Sharing),
    random: &SystemRandom,
) -> Result<Vec<LocalCrypto>, Refused> {
    let mut list: Vec<LocalCrypto> = Vec::with_capacity(settings.suites.len());
    list.extend(
        shown.in_force.map(|local| LocalCrypto { used: true, ..local.dangerous_duplicate() }),
    );
    let ours = shown.in_force.into_iter().chain(shown.offered).map(|local| local.tag);
    let mut unseen = 1 + source.iter().map(|peer| peer.tag).chain(ours).max().unwrap_or(0);
    for profile in suites_to_offer(settings, sdes, source) {
        if list.iter().any(|local| local.key.profile() == profile) {
            continue;
        }
        let before = shown.offered.iter().find(|local| local.key.profile() == profile);
        let before = before.filter(|local| !local.used && !local.shared);
        let theirs = source.iter().find(|peer| peer.profile() == profile);
        let wanted = theirs.map(|peer| peer.tag);
        let is_free = |tag: &u32| list.iter().all(|local| local.tag != *tag);
        let seen = wanted.into_iter().chain(before.map(|local| local.tag)).find(is_free);
        let tag = seen.unwrap_or(unseen);
        unseen += u32::from(seen.is_none());
        // We print no MKI, so packets that carry one cannot pass as they are.
        let theirs = theirs.filter(|_| sharing == Sharing::OfferersKeys);
        let handed_on = theirs.and_then(PeerCrypto::unnamed);
        let key = match (handed_on, before) {
            (Some(key), _) => key.dangerous_duplicate(),
            (None, Some(local)) => local.key.dangerous_duplicate(),
            (None, None) => generate(profile, random)?,
        };
        list.push(LocalCrypto { tag, key, used: false, shared: handed_on.is_some() });
    }
    Ok(list)
}

/// The suites to offer, in order. `only-` wins over `no-`, `nonew` over both; where a filter
/// leaves nothing, SRTP is still wanted, so the filter gives way and not the encryption.
fn suites_to_offer(settings: &Settings, sdes: &Sdes, source: &[PeerCrypto]) -> Vec<Profile> {
    let mut offered: Vec<Profile> = Vec::with_capacity(Profile::COMMON.len());
    for peer in source {
        if !offered.contains(&peer.profile()) {
            offered.push(peer.profile());
        }
    }
    let mut suites = offered;
    if !sdes.no_new || suites.is_empty() {
        for &profile in &settings.suites {
            if !suites.contains(&profile) {
                suites.push(profile);
            }
        }
        if suites.iter().any(|&profile| allowed(sdes, profile)) {
            suites.retain(|&profile| allowed(sdes, profile));
        }
    }
    sort(&mut suites, settings.compat, &sdes.order);
    suites
}

/// Named ones first, in the order named; then, unless the incumbent's habits are wanted, 32-bit
/// tags last.
fn sort(suites: &mut [Profile], compat: Compat, named: &[Profile]) {
    suites.sort_by_key(|profile| match named.iter().position(|n| n == profile) {
        Some(place) => place,
        None => named.len() + usize::from(compat == Compat::Secure && short_tag(*profile)),
    });
}

/// The attribute of an offer to answer with. The suite in force stays; else the operator's
/// preference, then the other leg's suite, then the offerer's own order decide.
pub(super) fn choose<'a>(
    settings: &Settings,
    sdes: &Sdes,
    offered: &'a [PeerCrypto],
    in_force: Option<Profile>,
    other_leg: Option<Profile>,
) -> Option<&'a PeerCrypto> {
    let candidate = |profile: Profile| {
        offered.iter().find(|peer| peer.profile() == profile && allowed(sdes, profile))
    };
    let mut preferred = in_force
        .into_iter()
        .chain(sdes.offerer_preference.iter().copied())
        .chain(other_leg.filter(|&p| settings.compat == Compat::Rtpengine || !short_tag(p)));
    if let Some(peer) = preferred.find_map(candidate) {
        return Some(peer);
    }
    let mut rest = offered.iter().filter(|peer| allowed(sdes, peer.profile()));
    match settings.compat {
        Compat::Rtpengine => rest.next(),
        Compat::Secure => rest.min_by_key(|peer| short_tag(peer.profile())),
    }
}

/// Which of our offered keys an answer has chosen, with the peer's key: tag and suite must both
/// be ours (RFC 4568 section 5.1.3), and the key not one that another has replaced.
pub(super) fn accepted<'a>(
    offered: &'a [LocalCrypto],
    in_force: Option<&LocalCrypto>,
    answer: &'a [PeerCrypto],
) -> Option<(&'a LocalCrypto, &'a PeerCrypto)> {
    let is_fit = |local: &LocalCrypto| !local.used || in_force.is_some_and(|i| i.key == local.key);
    answer.iter().find_map(|peer| {
        let same =
            |local: &&LocalCrypto| local.tag == peer.tag && local.key.profile() == peer.profile();
        Some((offered.iter().find(same).filter(|local| is_fit(local))?, peer))
    })
}

/// A fresh master key and salt.
pub(super) fn generate(profile: Profile, random: &SystemRandom) -> Result<MasterKey, Refused> {
    let mut bytes = Zeroizing::new([0; KEY_AND_SALT_MAX]);
    let bytes = &mut bytes[..profile.key_len() + profile.salt_len()];
    random.fill(bytes).map_err(|_| Refused::NO_ENTROPY)?;
    MasterKey::from_concatenated(profile, bytes).map_err(|_| Refused::NO_ENTROPY)
}

/// Whether the operator's `only-` and `no-` leave this suite in.
fn allowed(sdes: &Sdes, profile: Profile) -> bool {
    match sdes.only.is_empty() {
        false => sdes.only.contains(&profile),
        true => !sdes.no.contains(&profile),
    }
}

/// We always encrypt and authenticate, and derive keys once: an attribute that asks otherwise is
/// one we cannot honour, so it is as if it was not offered.
fn acceptable(attribute: &CryptoAttribute) -> bool {
    attribute.profile().weakness().is_none()
        && attribute.parameters.iter().all(|parameter| {
            let upper = parameter.to_ascii_uppercase();
            !upper.starts_with(b"UNENCRYPTED_")
                && !upper.starts_with(b"UNAUTHENTICATED_")
                && (!upper.starts_with(b"KDR=") || upper == b"KDR=0")
        })
}

/// Suites whose 4-byte tag lets one forgery in 2^32 through.
fn short_tag(profile: Profile) -> bool {
    profile.rtp_overhead() < 10
}

/// The longest key and salt of any suite: AES-256 counter mode's, RFC 6188.
const KEY_AND_SALT_MAX: usize = 46;

/// What `SDES-lifetime` prints: the incumbent's `2^31`, the SRTCP limit of RFC 3711 section 9.2.
const PRINTED_LIFETIME: u64 = 1 << 31;
