//! BUNDLE (RFC 9143): which sections we write as one group.
//!
//! Each section has a stream of its own, with ports, ICE and DTLS of its own, so a group of ours
//! has one section: the first of those that could be in it. The others are not bundled, which
//! RFC 9143 section 7.3.3 lets an answerer choose, and which a party with the bundle policy
//! "balanced" takes. One section alone is a group as soon as it is a browser's: with the policy
//! "max-bundle" they refuse SDP without any.

use bytes::Bytes;
use ng::sdp::{Bundle, LocalMedia, MediaRewrite, MediaSection, Sdp};

use super::call::Call;
use super::media::Said;
use super::party::PartyIndex;

/// Groups of an offer.
pub(super) fn offered(
    call: &Call,
    answerer: PartyIndex,
    sdp: &Sdp,
    rewrites: &[MediaRewrite],
) -> Vec<Bundle> {
    let alone = relayed(sdp, rewrites).count() == 1;
    let is_bundled = |index: usize, section: &MediaSection, local: &LocalMedia| {
        let browser = alone && local.dtls.is_some() && local.ice.is_some();
        browser
            || said(call, answerer, index).is_some_and(|said| said.bundled)
            || (local.dtls.is_some() && self::is_bundled(sdp, section))
    };
    let mut found = relayed(sdp, rewrites)
        .filter(|(index, section, local)| is_bundled(*index, section, local))
        .filter_map(|(_, section, local)| mid(section, local));
    found.next().map(group).into_iter().collect()
}

/// Groups of an answer: of what its offerer had bundled.
pub(super) fn answered(
    call: &Call,
    offerer: PartyIndex,
    sdp: &Sdp,
    rewrites: &[MediaRewrite],
) -> Vec<Bundle> {
    let mut found = relayed(sdp, rewrites).filter_map(|(index, section, local)| {
        let offer = said(call, offerer, index).filter(|offer| offer.bundled)?;
        mid(section, local).filter(|mid| offer.mid.as_deref() == Some(&**mid))
    });
    found.next().map(group).into_iter().collect()
}

/// Whether a section is in one of the groups of its body.
pub(super) fn is_bundled(sdp: &Sdp, section: &MediaSection) -> bool {
    sdp.session.bundles.iter().any(|group| holds(group, section))
}

fn holds(group: &Bundle, section: &MediaSection) -> bool {
    section.mid.as_ref().is_some_and(|mid| group.mids.contains(mid))
}

fn group(mid: Bytes) -> Bundle {
    Bundle { mids: vec![mid] }
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
