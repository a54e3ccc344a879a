//! BUNDLE (RFC 9143): which sections of a party share one transport, and the groups that we write.
//!
//! 1. [`Groups`] reads a body: which sections are in a group that we take, and which one of each is
//!    tagged, whose transport the others have. A group is taken from a party that keys it by DTLS
//!    and multiplexes RTCP; of any other party each section has a transport of its own.
//! 2. The sections of a group have one stream (`draft`, `agree`). Towards a party that has not yet
//!    said that it bundles each section has its own until its answer.
//! 3. [`offered`] and [`answered`] say which sections are written as a group, tagged section first.
//!
//! Sections of one group repeat its DTLS and ICE, which RFC 9143 section 7.1.3 leaves to the tagged
//! one alone: every browser does so, and some peers look for them. Candidates are in the tagged one.

use bytes::Bytes;
use ng::sdp::{Bundle, HeaderExtension, LocalMedia, MediaRewrite, MediaSection, Sdp};

use crate::relay::command::MAX_ROUTES;

use super::call::Call;
use super::media::{Keys, Said};
use super::offer::Context;
use super::party::PartyIndex;
use super::settings::Settings;

/// A section's place in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which group of the body.
    pub(super) group: usize,
    /// The tagged section.
    pub(super) tag: usize,
    /// Its place in the group's list.
    pub(super) at: usize,
}

/// What a party says of a section that it bundles.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) place: Place,
    /// It has no transport of its own to fall back on: port zero.
    pub(super) bundle_only: bool,
    /// The number of the MID header extension; 0: it has none.
    pub(super) mid_extension: u8,
    /// The sources that it announced (RFC 5576).
    pub(super) ssrcs: Box<[u32]>,
}

/// The groups of a body, by section.
pub(super) struct Groups {
    places: Vec<Option<Place>>,
    /// Those that a group has no place for, and that have no transport but its own.
    surplus: Vec<usize>,
}

impl Groups {
    /// Those of an offer.
    pub(super) fn of_offer(context: &Context<'_>) -> Self {
        let Context { settings, signal, sdp, .. } = *context;
        let takes = settings.webrtc.is_some() && !signal.rtcp_mux.reject;
        Self::read(settings, sdp, |_| takes)
    }

    /// Those of an answer: of sections that its party was offered in a group.
    pub(super) fn of_answer(context: &Context<'_>, call: &Call, answerer: PartyIndex) -> Self {
        Self::read(context.settings, context.sdp, |index| {
            let media = call.parties[answerer.0].media.get(index);
            media.and_then(|media| media.offered.as_ref()).is_some_and(|offered| offered.bundled)
        })
    }

    fn read(settings: &Settings, sdp: &Sdp, may_join: impl Fn(usize) -> bool) -> Self {
        let mut places: Vec<Option<Place>> = vec![None; sdp.media.len()];
        let mut surplus = Vec::new();
        for (group, bundle) in sdp.session.bundles.iter().enumerate() {
            let members = bundle.mids.iter().filter_map(|mid| section_of(sdp, mid));
            // A section is in one group at most: the first counts.
            let is_free = |index: &usize| may_join(*index) && places[*index].is_none();
            let mut members: Vec<usize> = members.filter(is_free).collect();
            let beyond = members.split_off(members.len().min(MAX_ROUTES));
            let can_carry = |index: &&usize| can_carry(settings, &sdp.media[**index]);
            let Some(&tag) = members.iter().find(can_carry) else { continue };
            let has_none = |index: &usize| !has_own_transport(&sdp.media[*index], &sdp.media[tag]);
            surplus.extend(beyond.into_iter().filter(has_none));
            for (at, member) in members.into_iter().enumerate() {
                if member == tag || can_ride(&sdp.media[member], &sdp.media[tag]) {
                    places[member] = places[member].or(Some(Place { group, tag, at }));
                }
            }
        }
        Self { places, surplus }
    }

    /// Whether a section would need a place in a group that is full.
    pub(super) fn is_surplus(&self, index: usize) -> bool {
        self.surplus.contains(&index)
    }

    /// A section's place, where it is in a group.
    pub(super) fn place(&self, index: usize) -> Option<Place> {
        self.places.get(index).copied().flatten()
    }

    /// The section whose transport it has, where that is another.
    pub(super) fn carrier(&self, index: usize) -> Option<usize> {
        self.place(index).map(|place| place.tag).filter(|tag| *tag != index)
    }

    /// All sections: first tagged ones, then those without a group, then those that need another.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_by_key(|index| match self.place(*index) {
            Some(place) if place.tag == *index => 0,
            None => 1,
            Some(_) => 2,
        });
        order
    }

    /// The sections of the same group, in its order.
    pub(super) fn of_group(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let group = self.place(index).map(|place| place.group);
        let in_it = move |other: &usize| {
            group.is_some() && self.place(*other).map(|place| place.group) == group
        };
        (0..self.places.len()).filter(in_it)
    }

    /// The section that says what a section's transport is: itself, or the tagged one.
    pub(super) fn transport<'a>(&self, sdp: &'a Sdp, index: usize) -> &'a MediaSection {
        let own = &sdp.media[index];
        match self.carrier(index).map(|tag| &sdp.media[tag]) {
            Some(tagged) if !has_own_transport(own, tagged) => tagged,
            _ => own,
        }
    }

    /// What is remembered of it.
    pub(super) fn membership(&self, sdp: &Sdp, index: usize) -> Option<Box<Membership>> {
        let (place, section) = (self.place(index)?, &sdp.media[index]);
        Some(Box::new(Membership {
            place,
            bundle_only: section.port == 0,
            mid_extension: mid_extension(section),
            ssrcs: announced(section),
        }))
    }
}

/// The one section with this `mid`.
fn section_of(sdp: &Sdp, mid: &Bytes) -> Option<usize> {
    let has = |(_, section): &(usize, &MediaSection)| section.mid.as_ref() == Some(mid);
    let mut found = sdp.media.iter().enumerate().filter(has);
    let (index, _) = found.next()?;
    found.next().is_none().then_some(index)
}

/// Whether a section has a transport that others can share. RFC 9143 section 9.3: with rtcp-mux.
fn can_carry(settings: &Settings, section: &MediaSection) -> bool {
    is_rtp(section)
        && section.port != 0
        && section.rtcp_mux
        && Keys::of(settings, section).dtls.is_ok()
}

fn can_ride(section: &MediaSection, tagged: &MediaSection) -> bool {
    is_rtp(section)
        && (section.port != 0 || section.bundle_only)
        && section.protocol.is_srtp() == tagged.protocol.is_srtp()
        && (section.rtcp_mux || !has_own_transport(section, tagged))
}

fn is_rtp(section: &MediaSection) -> bool {
    section.protocol.is_rtp() && *section.kind != *b"message"
}

/// Whether a section of a group says another transport than the tagged one, for the case that the
/// group comes to nothing.
fn has_own_transport(section: &MediaSection, tagged: &MediaSection) -> bool {
    let (own, shared) = (section.ice.credentials(), tagged.ice.credentials());
    let elsewhere = (section.port, section.connection) != (tagged.port, tagged.connection);
    section.port != 0
        && match (own, shared) {
            (Some(own), Some(shared)) => own != shared,
            (None, None) => elsewhere,
            (own, _) => own.is_some(),
        }
}

fn mid_extension(section: &MediaSection) -> u8 {
    let mut extensions = section.extensions.iter();
    let mid = extensions.find(|extension| *extension.uri == *HeaderExtension::MID);
    mid.and_then(|extension| u8::try_from(extension.id).ok()).unwrap_or(0)
}

/// Each source of `a=ssrc` once.
fn announced(section: &MediaSection) -> Box<[u32]> {
    let mut sources: Vec<u32> = Vec::new();
    for line in &section.lines {
        let source = line.text().strip_prefix(b"a=ssrc:").and_then(|value| {
            let digits = value.split(|byte| !byte.is_ascii_digit()).next()?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        });
        sources.extend(source.filter(|source| !sources.contains(source)));
    }
    sources.into()
}

/// The section's payload types: bit `n` for type `n`.
pub(super) fn payload_types(section: &MediaSection) -> u128 {
    let number = |format: &Bytes| std::str::from_utf8(format).ok()?.parse::<u32>().ok();
    let numbers = section.formats.iter().filter_map(number).filter(|number| *number < 128);
    numbers.fold(0, |all, number| all | 1 << number)
}

/// The sections of an offer's group, tagged first; none where there is no group.
pub(super) fn offered(
    call: &Call,
    answerer: PartyIndex,
    sdp: &Sdp,
    rewrites: &[MediaRewrite],
) -> Vec<usize> {
    let is_bundled = |index: usize, section: &MediaSection, local: &LocalMedia| {
        let browser = local.dtls.is_some() && local.ice.is_some();
        browser
            || said(call, answerer, index).is_some_and(|said| said.bundled)
            || (local.dtls.is_some() && self::is_bundled(sdp, section))
    };
    let mut group: Vec<(usize, &MediaSection, &LocalMedia)> = Vec::new();
    for candidate in relayed(sdp, rewrites) {
        let (index, section, local) = candidate;
        // RFC 9143 section 9.3, of a group of one section too.
        let can_share = local.dtls.is_some() && local.rtcp_mux;
        let is_candidate = can_share && is_bundled(index, section, local);
        let Some(mid) = mid(section, local).filter(|_| is_candidate) else { continue };
        let fits = |other: &(usize, &MediaSection, &LocalMedia)| {
            let shared = other.2.rtp == local.rtp;
            self::mid(other.1, other.2).as_ref() != Some(&mid)
                && (shared || can_be_told_apart(sdp, section, other.1))
        };
        if group.len() < MAX_ROUTES && group.iter().all(fits) {
            group.push(candidate);
        }
    }
    group.into_iter().map(|(index, ..)| index).collect()
}

/// The sections of each group of an answer, tagged first: of what its offerer had bundled.
pub(super) fn answered(
    call: &Call,
    offerer: PartyIndex,
    sdp: &Sdp,
    rewrites: &[MediaRewrite],
) -> Vec<Vec<usize>> {
    let accepted = relayed(sdp, rewrites).filter_map(|(index, section, local)| {
        let offer = said(call, offerer, index).filter(|offer| offer.bundled)?;
        // RFC 9143 section 9.3.
        let mid = mid(section, local).filter(|_| local.rtcp_mux)?;
        (offer.mid.as_deref() == Some(&*mid)).then_some((index, offer.membership.as_deref()))
    });
    let mut accepted: Vec<(usize, Option<&Membership>)> = accepted.collect();
    let shares = accepted.iter().any(|(_, membership)| membership.is_some());
    accepted.retain(|(_, membership)| membership.is_some() == shares);
    if !shares {
        // Each has a transport of its own: one group of one section is all there can be.
        accepted.truncate(1);
    }
    accepted.sort_by_key(|(_, membership)| {
        // What has no transport of its own is never tagged.
        membership.map(|of| (of.place.group, of.bundle_only, of.place.at))
    });
    let group = |of: &(usize, Option<&Membership>)| of.1.map(|membership| membership.place.group);
    let groups = accepted.chunk_by(|one, other| group(one) == group(other));
    groups.map(|sections| sections.iter().map(|(index, _)| *index).collect()).collect()
}

/// Groups as they are written. What the sections of one transport have in common beside their
/// credentials is left to the tagged one.
pub(super) fn write(
    sdp: &Sdp,
    rewrites: &mut [MediaRewrite],
    groups: &[Vec<usize>],
) -> Vec<Bundle> {
    let mut bundles = Vec::with_capacity(groups.len());
    for group in groups.iter().filter(|group| !group.is_empty()) {
        let written = group.iter().filter_map(|index| match rewrites.get(*index)? {
            MediaRewrite::Relay(local) => mid(&sdp.media[*index], local),
            MediaRewrite::Reject { .. } | MediaRewrite::PassThrough => None,
        });
        bundles.push(Bundle { mids: written.collect() });
        let address = |rewrite: &MediaRewrite| match rewrite {
            MediaRewrite::Relay(local) => Some(local.rtp),
            MediaRewrite::Reject { .. } | MediaRewrite::PassThrough => None,
        };
        let tagged = group.first().and_then(|tag| address(&rewrites[*tag]));
        for index in &group[1..] {
            if let MediaRewrite::Relay(local) = &mut rewrites[*index]
                && Some(local.rtp) == tagged
                && let Some(ice) = &mut local.ice
            {
                ice.candidates.clear();
                ice.remote_candidates.clear();
                ice.end_of_candidates = false;
            }
        }
    }
    bundles
}

/// Whether a section is in one of the groups of its body.
pub(super) fn is_bundled(sdp: &Sdp, section: &MediaSection) -> bool {
    sdp.session.bundles.iter().any(|group| holds(group, section))
}

/// Whether a receiver knows the packets of two sections from each other: who offered them bundled
/// them itself, or says the MID in packets, or no payload type is of both (RFC 9143 section 9.1.1).
pub(super) fn can_be_told_apart(sdp: &Sdp, one: &MediaSection, other: &MediaSection) -> bool {
    let both = [one, other];
    let together = |group: &Bundle| both.iter().all(|section| holds(group, section));
    sdp.session.bundles.iter().any(together)
        || both.iter().all(|section| mid_extension(section) != 0)
        || payload_types(one) & payload_types(other) == 0
}

fn holds(group: &Bundle, section: &MediaSection) -> bool {
    section.mid.as_ref().is_some_and(|mid| group.mids.contains(mid))
}

fn relayed<'a>(
    sdp: &'a Sdp,
    rewrites: &'a [MediaRewrite],
) -> impl Iterator<Item = (usize, &'a MediaSection, &'a LocalMedia)> {
    let pairs = sdp.media.iter().zip(rewrites).enumerate();
    pairs.filter_map(|(index, (section, rewrite))| match rewrite {
        MediaRewrite::Relay(local) => Some((index, section, &**local)),
        MediaRewrite::Reject { .. } | MediaRewrite::PassThrough => None,
    })
}

/// The `a=mid` that is written.
fn mid(section: &MediaSection, local: &LocalMedia) -> Option<Bytes> {
    section.mid.clone().or_else(|| local.generate_mid.clone())
}

fn said(call: &Call, party: PartyIndex, index: usize) -> Option<&Said> {
    call.parties[party.0].media.get(index)?.said.as_ref()
}
