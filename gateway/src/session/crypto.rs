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
use srtp::{Lifetimes, MasterKey, Profile, SessionParameters};
use zeroize::Zeroizing;

use crate::relay::key_plan::{SrtpKey, SrtpKeys};

use super::own_keys::{Line, SpareKeys};
use super::settings::{Compat, Settings};
use super::{Refused, terms};

/// A key of ours with the tag it goes by, and those to go on to.
#[derive(Debug)]
pub(super) struct LocalCrypto {
    /// The tag in `a=crypto`.
    pub(super) tag: u32,
    /// Suite, key and salt: what we begin under.
    pub(super) key: MasterKey,
    /// What we may go on to; `None`: nothing, and packets name no key.
    pub(super) spare: Option<Box<SpareKeys>>,
    /// What is left out under it.
    pub(super) session: SessionParameters,
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
    /// What new ones go on.
    pub(super) line: Line,
}

/// A peer's keys.
#[derive(Debug)]
pub(super) struct PeerCrypto {
    /// The tag in `a=crypto`.
    pub(super) tag: u32,
    /// All that it may protect with.
    pub(super) keys: SrtpKeys,
    /// What its line leaves out.
    pub(super) session: SessionParameters,
}

impl PeerCrypto {
    /// What we can use of a peer's attributes, in its order.
    pub(super) fn usable(settings: &Settings, attributes: &[CryptoAttribute]) -> Vec<Self> {
        let usable = |line: &&CryptoAttribute| terms::are_usable(settings.accepted, line);
        attributes.iter().filter(usable).map(Self::of).collect()
    }

    /// The suite.
    pub(super) fn profile(&self) -> Profile {
        self.keys.profile()
    }

    /// Whether its line leaves anything out.
    fn leaves_out(&self) -> bool {
        self.session != SessionParameters::default()
    }

    /// Its key, where it has only that and no packet names it.
    pub(super) fn unnamed(&self) -> Option<&MasterKey> {
        self.keys.first.mki.is_empty().then_some(&self.keys.first.master)
    }

    /// A second owner: one belongs to what was said, the other to what is in force.
    pub(super) fn dangerous_duplicate(&self) -> Self {
        let keys = self.keys.dangerous_duplicate();
        Self { tag: self.tag, keys, session: self.session }
    }

    fn of(attribute: &CryptoAttribute) -> Self {
        let key = |inline: &InlineKey| SrtpKey {
            master: inline.master.dangerous_duplicate(),
            mki: inline.mki.clone(),
            lifetimes: inline.lifetimes.unwrap_or_default(),
        };
        let further = attribute.further.iter().map(key).collect();
        let keys = SrtpKeys { first: key(&attribute.key), further };
        Self { tag: attribute.tag, keys, session: attribute.session }
    }
}

impl LocalCrypto {
    /// A second owner: one is printed or in force, the other may be chosen later.
    pub(super) fn dangerous_duplicate(&self) -> Self {
        let (key, spare) = self.dangerous_keys();
        Self { key, spare, ..*self }
    }

    /// As it is written into SDP.
    pub(super) fn attribute(&self, sdes: &Sdes) -> CryptoAttribute {
        let printed = sdes.lifetime.then_some(PRINTED_LIFETIME);
        let lifetimes = printed.and_then(|packets| Lifetimes::from_sdes(packets).ok());
        let inline = |key: SrtpKey| InlineKey { master: key.master, lifetimes, mki: key.mki };
        let SrtpKeys { first, further } = self.keys(Lifetimes::MAX);
        CryptoAttribute {
            tag: self.tag,
            key: inline(first),
            further: further.into_iter().map(inline).collect(),
            session: self.session,
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
    let theirs_of = |profile| source.iter().find(|peer| peer.profile() == profile);
    let wanted_of = |profile| terms::to_offer(settings, sdes, profile, theirs_of(profile));
    // The key in force comes first, unless its terms are to change: then another takes its place.
    list.extend(
        shown
            .in_force
            .filter(|local| local.session == wanted_of(local.key.profile()))
            .map(|local| LocalCrypto { used: true, ..local.dangerous_duplicate() }),
    );
    let ours = shown.in_force.into_iter().chain(shown.offered).map(|local| local.tag);
    let mut unseen = 1 + source.iter().map(|peer| peer.tag).chain(ours).max().unwrap_or(0);
    for profile in suites_to_offer(settings, sdes, source) {
        if list.iter().any(|local| local.key.profile() == profile) {
            continue;
        }
        let before = shown.offered.iter().find(|local| local.key.profile() == profile);
        let (theirs, session) = (theirs_of(profile), wanted_of(profile));
        let before =
            before.filter(|local| !local.used && !local.shared && local.session == session);
        let wanted = theirs.map(|peer| peer.tag);
        let is_free = |tag: &u32| list.iter().all(|local| local.tag != *tag);
        let seen = wanted.into_iter().chain(before.map(|local| local.tag)).find(is_free);
        let tag = seen.unwrap_or(unseen);
        unseen += u32::from(seen.is_none());
        // A key that passes is printed without MKI, so packets with one cannot pass as they are.
        let theirs = theirs.filter(|p| sharing == Sharing::OfferersKeys && p.session == session);
        let handed_on = theirs.and_then(PeerCrypto::unnamed);
        let (key, spare) = match (handed_on, before) {
            (Some(key), _) => (key.dangerous_duplicate(), None),
            (None, Some(local)) => local.dangerous_keys(),
            (None, None) => (generate(profile, random)?, shown.line.spare(profile, random)?),
        };
        let shared = handed_on.is_some();
        list.push(LocalCrypto { tag, key, spare, session, used: false, shared });
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
    if settings.compat == Compat::Secure {
        // That we accept a weak suite does not mean that we ask anybody else for it.
        offered.retain(|suite| suite.weakness().is_none() || settings.suites.contains(suite));
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
/// tags last, and weak suites after these.
fn sort(suites: &mut [Profile], compat: Compat, named: &[Profile]) {
    suites.sort_by_key(|profile| match named.iter().position(|n| n == profile) {
        Some(place) => place,
        None if compat == Compat::Rtpengine => named.len(),
        None => named.len() + usize::from(short_tag(*profile)) + 2 * usize::from(is_weak(*profile)),
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
    let usable = || offered.iter().filter(|peer| allowed(sdes, peer.profile()));
    let candidate = |profile: Profile| {
        let mut lines = usable().filter(|peer| peer.profile() == profile);
        match settings.compat {
            Compat::Rtpengine => lines.next(),
            Compat::Secure => lines.min_by_key(|peer| peer.leaves_out()),
        }
    };
    let mut preferred = in_force.into_iter().chain(sdes.offerer_preference.iter().copied());
    let is_fine = |peer: &&PeerCrypto| {
        let weak = is_weak(peer.profile()) || short_tag(peer.profile()) || peer.leaves_out();
        settings.compat == Compat::Rtpengine || !weak
    };
    let as_the_other = || other_leg.and_then(candidate).filter(is_fine);
    if let Some(peer) = preferred.find_map(candidate).or_else(as_the_other) {
        return Some(peer);
    }
    match settings.compat {
        Compat::Rtpengine => usable().next(),
        Compat::Secure => usable().min_by_key(|peer| {
            let profile = peer.profile();
            (is_weak(profile), peer.leaves_out(), short_tag(profile))
        }),
    }
}

/// Which of our offered keys an answer has chosen, with the peer's key: tag and suite must both
/// be ours (RFC 4568 section 5.1.3), and the key not one that another has replaced.
pub(super) fn accepted<'a>(
    settings: &Settings,
    offered: &'a [LocalCrypto],
    in_force: Option<&LocalCrypto>,
    answer: &'a [PeerCrypto],
) -> Option<(&'a LocalCrypto, &'a PeerCrypto)> {
    let goes_on = |local: &LocalCrypto, peer: &PeerCrypto| {
        in_force.is_some_and(|i| i.key == local.key && (i.shared || i.session == peer.session))
    };
    answer.iter().find_map(|peer| {
        let same =
            |local: &&LocalCrypto| local.tag == peer.tag && local.key.profile() == peer.profile();
        let fits = |local: &&LocalCrypto| {
            (!local.used || goes_on(local, peer))
                && terms::answer(settings, local.session, peer.session)
        };
        Some((offered.iter().find(same).filter(fits)?, peer))
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

/// Suites whose 4-byte tag lets one forgery in 2^32 through.
fn short_tag(profile: Profile) -> bool {
    profile.rtp_overhead() < 10
}

/// Suites that policy has to accept: F8 and NULL.
fn is_weak(profile: Profile) -> bool {
    profile.weakness().is_some()
}

/// The longest key and salt of any suite: AES-256 counter mode's, RFC 6188.
const KEY_AND_SALT_MAX: usize = 46;

/// What `SDES-lifetime` prints: the incumbent's `2^31`, the SRTCP limit of RFC 3711 section 9.2.
const PRINTED_LIFETIME: u64 = 1 << 31;
