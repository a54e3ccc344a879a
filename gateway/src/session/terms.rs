//! What a leg may go without: the session parameters of RFC 4568 section 6.3, and the suites that
//! do not protect.
//!
//! The operator accepts weaknesses one by one ([`Settings::accepted`]). A line that asks for more
//! is as if it was not there, and none is offered that is not accepted. What an answer leaves out
//! is left out both ways, by it and by what it answers.

use ng::request::Sdes;
use ng::sdp::CryptoAttribute;
use srtp::{Profile, SessionParameters, Weaknesses};

use super::crypto::PeerCrypto;
use super::settings::{Compat, Settings};

/// What protection under `profile` with these parameters lacks.
pub(super) fn weaknesses(profile: Profile, session: SessionParameters) -> Weaknesses {
    let all = profile.weakness().into_iter().chain(session.weaknesses());
    all.fold(Weaknesses::NONE, Weaknesses::with)
}

/// Whether the operator accepts that, and `srtp` has it.
pub(super) fn are_accepted(
    accepted: Weaknesses,
    profile: Profile,
    session: SessionParameters,
) -> bool {
    let mut lacking = profile.weakness().into_iter().chain(session.weaknesses());
    session.check(profile).is_ok() && lacking.all(|weakness| accepted.contains(weakness))
}

/// Whether we can use a peer's line. We derive keys once, so one that asks otherwise is out, too.
pub(super) fn are_usable(accepted: Weaknesses, line: &CryptoAttribute) -> bool {
    let rate =
        |parameter: &[u8]| parameter.len() > 4 && parameter[..4].eq_ignore_ascii_case(b"KDR=");
    are_accepted(accepted, line.profile(), line.session)
        && line.parameters.iter().all(|parameter| !rate(parameter) || &parameter[4..] == b"0")
}

/// What to leave out of an offer of `profile`: what the request asks for and, as the incumbent
/// does, what the other leg's line has.
pub(super) fn to_offer(
    settings: &Settings,
    sdes: &Sdes,
    profile: Profile,
    theirs: Option<&PeerCrypto>,
) -> SessionParameters {
    let copied = theirs.filter(|_| settings.compat == Compat::Rtpengine);
    let wanted = union(sdes.weaken, copied.map(|line| line.session).unwrap_or_default());
    let wanted = without(wanted, sdes.strengthen);
    // GCM encrypts and authenticates what it sends, whoever asks for less.
    let possible = match wanted.check(profile) {
        Ok(()) => wanted,
        Err(_) => SessionParameters {
            unencrypted_rtcp: wanted.unencrypted_rtcp,
            ..SessionParameters::default()
        },
    };
    match are_accepted(settings.accepted, profile, possible) {
        true => possible,
        false => SessionParameters::default(),
    }
}

/// What to leave out of an answer to a line that leaves out `offered`. Only the incumbent's ways
/// have an answer that leaves out less.
pub(super) fn to_answer(
    settings: &Settings,
    sdes: &Sdes,
    offered: SessionParameters,
) -> SessionParameters {
    match settings.compat {
        Compat::Rtpengine => without(offered, sdes.strengthen),
        Compat::Secure => offered,
    }
}

/// Whether an answer that leaves out `answered` answers an offer that leaves out `offered`: it may
/// insist on more protection. The incumbent takes any.
pub(super) fn answer(
    settings: &Settings,
    offered: SessionParameters,
    answered: SessionParameters,
) -> bool {
    let beyond = without(answered, offered) != SessionParameters::default();
    settings.compat == Compat::Rtpengine || !beyond
}

fn union(a: SessionParameters, b: SessionParameters) -> SessionParameters {
    SessionParameters {
        unencrypted_rtp: a.unencrypted_rtp || b.unencrypted_rtp,
        unencrypted_rtcp: a.unencrypted_rtcp || b.unencrypted_rtcp,
        unauthenticated_rtp: a.unauthenticated_rtp || b.unauthenticated_rtp,
    }
}

fn without(a: SessionParameters, b: SessionParameters) -> SessionParameters {
    SessionParameters {
        unencrypted_rtp: a.unencrypted_rtp && !b.unencrypted_rtp,
        unencrypted_rtcp: a.unencrypted_rtcp && !b.unencrypted_rtcp,
        unauthenticated_rtp: a.unauthenticated_rtp && !b.unauthenticated_rtp,
    }
}
