//! How a leg is keyed: which of SDES and DTLS an offer shows, and which of them an answer takes.
//!
//! The incumbent's rules. Where SRTP is wanted and nothing is agreed yet, both are offered; of both,
//! DTLS is taken unless the request prefers SDES. What keys a leg goes on keying it. SRTP is wanted
//! under a secure profile, and under a plain one as far as the party takes it up (OSRTP, RFC 8643).

use ng::request::Signal;
use ng::sdp::Protocol;

use super::Refused;
use super::media::Said;
use super::party::Offered;
use super::settings::Settings;

/// What keys a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keying {
    Sdes,
    Dtls,
}

/// What an offer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Plain RTP.
    Nothing,
    /// `a=crypto`.
    Sdes,
    /// `a=fingerprint` and its like.
    Dtls,
    /// The answerer's choice.
    Both,
}

impl Shows {
    /// With `a=crypto`.
    pub(super) fn has_sdes(self) -> bool {
        matches!(self, Self::Sdes | Self::Both)
    }

    /// With `a=fingerprint`.
    pub(super) fn has_dtls(self) -> bool {
        matches!(self, Self::Dtls | Self::Both)
    }
}

/// What to show the answerer of a section that goes to it as `protocol`. `in_force` is what its leg
/// is keyed by.
pub(super) fn to_offer(
    (settings, signal): (&Settings, &Signal),
    said: &Said,
    protocol: &Protocol,
    in_force: Option<Keying>,
) -> Result<Shows, Refused> {
    let opportunistic = signal.osrtp.offer || said.is_opportunistic();
    if !protocol.is_srtp() && !opportunistic {
        return Ok(Shows::Nothing);
    }
    let dtls = settings.webrtc.is_some()
        && !signal.dtls.off
        && (protocol.is_dtls() || in_force != Some(Keying::Sdes));
    let sdes = !signal.sdes.off && in_force != Some(Keying::Dtls);
    match (sdes, dtls) {
        (_, false) if protocol.is_dtls() => Err(Refused::DTLS),
        (true, true) => Ok(Shows::Both),
        (true, false) => Ok(Shows::Sdes),
        (false, true) => Ok(Shows::Dtls),
        (false, false) if protocol.is_srtp() => Err(Refused::DTLS),
        (false, false) => Ok(Shows::Nothing),
    }
}

/// What an answerer has chosen of what it was offered; `None`: nothing that we could use.
pub(super) fn chosen(signal: &Signal, offered: &Offered, said: &Said) -> Option<Keying> {
    let dtls = offered.dtls.is_some() && said.dtls.is_some();
    let sdes = !offered.crypto.is_empty() && !said.crypto.is_empty();
    match (sdes, dtls) {
        (true, true) if signal.dtls.off || signal.sdes.prefer => Some(Keying::Sdes),
        (_, true) => Some(Keying::Dtls),
        (true, false) => Some(Keying::Sdes),
        (false, false) => None,
    }
}

/// What to answer an offerer with; `None`: it offered nothing that we may take.
pub(super) fn to_answer(signal: &Signal, offer: &Said, in_force: Option<Keying>) -> Option<Keying> {
    let dtls = offer.dtls.is_some() && !signal.dtls.off;
    let sdes = !offer.crypto.is_empty();
    match (sdes, dtls, in_force) {
        (true, true, Some(Keying::Sdes)) if !signal.sdes.off => Some(Keying::Sdes),
        (true, true, None) if signal.sdes.prefer => Some(Keying::Sdes),
        (_, true, _) => Some(Keying::Dtls),
        (true, false, _) => Some(Keying::Sdes),
        (false, false, _) => None,
    }
}
