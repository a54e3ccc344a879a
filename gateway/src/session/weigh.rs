//! What an answer makes of one of its sections, towards its party and then towards the offerer.
//! Nothing changes here.
//!
//! A section is weighed against what its party was offered. Where the protection agreed on is not to
//! be had (no usable key, another suite than offered, plain RTP where SRTP was offered) the section
//! is rejected: silence is better than media in clear. Which section of a bundle is weighed for the
//! transport of all is `agree`'s to say.

use ng::request::{DtlsRole as Wanted, IceMode};
use ng::sdp::MediaSection;
use srtp::Profile;

use crate::relay::command::StreamIndex;
use crate::webrtc::plan::{DtlsRole, Epoch};

use super::bundle::Groups;
use super::call::Call;
use super::crypto::{self, LocalCrypto, PeerCrypto};
use super::dtls::{Association, Connectivity, Exchange, Offerer, OwnDtls, PeerDtls};
use super::ice::{IceLeg, OwnIce, OwnKind, PeerIce, Wish};
use super::keying::{self, Keying};
use super::media::{Keys, Kind, Said};
use super::mux::{self, Settled};
use super::offer::Context;
use super::own_keys::Line;
use super::party::{Offered, PartyIndex};
use super::protection::SdesKeys;
use super::{Refused, Warnings, terms};

/// What a section of an answer is to us.
pub(super) enum Heard {
    /// RTP to relay, as its party described it.
    Relay(Box<Said>),
    /// The answerer does not take it.
    Declined,
    Reject,
    PassThrough,
}

/// One side of a section that carries its transport.
pub(super) struct Leg {
    pub(super) stream: StreamIndex,
    pub(super) protection: Agreement,
    pub(super) mux: Settled,
    pub(super) ice: Option<IceLeg>,
}

/// What a leg is to be protected by.
pub(super) enum Agreement {
    /// Nothing: plain RTP.
    Clear,
    /// SDES.
    Sdes(Box<SdesKeys>),
    /// DTLS.
    Dtls(Box<Association>),
}

/// Why a section cannot be had.
pub(super) enum Unfit {
    /// It is rejected, the others stand.
    Section(&'static str),
    /// The request is refused.
    Request(Refused),
}

impl From<Refused> for Unfit {
    fn from(refused: Refused) -> Self {
        Self::Request(refused)
    }
}

impl Agreement {
    fn sdes(&self) -> Option<&SdesKeys> {
        match self {
            Self::Sdes(keys) => Some(keys),
            Self::Clear | Self::Dtls(_) => None,
        }
    }
}

/// Weighs one section.
pub(super) struct Weighing<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) call: &'a Call,
    pub(super) offerer: PartyIndex,
    pub(super) answerer: PartyIndex,
    pub(super) index: usize,
}

impl Weighing<'_> {
    /// Reads it.
    pub(super) fn hear(
        &self,
        section: &MediaSection,
        groups: &Groups,
        warnings: &mut Warnings,
    ) -> Result<Heard, Refused> {
        let transport = groups.transport(self.context.sdp, self.index);
        let keys = Keys::of(self.context.settings, transport);
        match Kind::of(section, &keys, groups.place(self.index)) {
            Kind::Foreign => return Ok(self.foreign()),
            Kind::Disabled => return Ok(Heard::Declined),
            Kind::Unusable(reason) => {
                warnings.push(if reason == Refused::NO_KEY { NO_KEY } else { reason.0 });
                return Ok(Heard::Reject);
            }
            Kind::Relay => {}
        }
        let before = self.call.parties[self.answerer.0].media.get(self.index);
        let before = before.and_then(|media| media.said.as_ref());
        let said = Said::of(self.index, groups, self.context, keys, before)?;
        Ok(Heard::Relay(Box::new(said)))
    }

    /// What was offered as RTP cannot be answered as something else.
    fn foreign(&self) -> Heard {
        let media = self.call.parties[self.offerer.0].media.get(self.index);
        match media.is_some_and(|media| media.said.is_none()) {
            true => Heard::PassThrough,
            false => Heard::Reject,
        }
    }

    /// What the offerer said of it, where both parties have a stream for it.
    pub(super) fn offered(&self) -> Result<(&Said, &Offered), Unfit> {
        let (parties, index) = (&self.call.parties, self.index);
        let from = self.call.open_stream(self.offerer, index);
        let to = self.call.open_stream(self.answerer, index);
        let (Some(_), Some(_)) = (from, to) else { return Err(Unfit::Section(NOT_OFFERED)) };
        let offer = parties[self.offerer.0].media[index].said.as_ref();
        let offered = parties[self.answerer.0].media[index].offered.as_ref();
        offer.zip(offered).ok_or(Unfit::Section(NOT_OFFERED))
    }

    /// The answerer's side of a section that carries its transport.
    pub(super) fn answerer_leg(&self, said: &Said) -> Result<Leg, Unfit> {
        let (_, offered) = self.offered()?;
        let stream = self.call.open_stream(self.answerer, self.index);
        let stream = stream.ok_or(Unfit::Section(NOT_OFFERED))?;
        Ok(Leg {
            stream,
            protection: self.answerer_protection(offered, stream, said)?,
            mux: mux::answerer_leg(offered, said),
            ice: self.answerer_ice(offered, stream, said),
        })
    }

    /// The offerer's side of one, given how the answerer's leg is protected.
    pub(super) fn offerer_leg(&self, theirs: &Agreement) -> Result<Leg, Unfit> {
        let (offer, _) = self.offered()?;
        let stream = self.call.open_stream(self.offerer, self.index);
        let stream = stream.ok_or(Unfit::Section(NOT_OFFERED))?;
        Ok(Leg {
            stream,
            protection: self.offerer_protection(offer, stream, theirs)?,
            mux: mux::offerer_leg(&self.call.parties[self.offerer.0].media[self.index], offer),
            ice: self.offerer_ice(offer, stream)?,
        })
    }

    fn answerer_protection(
        &self,
        offered: &Offered,
        stream: StreamIndex,
        said: &Said,
    ) -> Result<Agreement, Unfit> {
        let (ours, theirs) = (offered.protocol.is_srtp(), said.protocol.is_srtp());
        let fits = if theirs { offered.asks_for_srtp() } else { !ours };
        if !fits {
            return Err(Unfit::Section(OTHER_PROTECTION));
        }
        if !offered.asks_for_srtp() {
            return Ok(Agreement::Clear);
        }
        match (keying::chosen(self.context.signal, offered, said), &offered.dtls, &said.dtls) {
            (Some(Keying::Dtls), Some(own), Some(peer)) => {
                let exchange = self.exchange(stream, Offerer::Us, said.ice.as_ref());
                Ok(Agreement::Dtls(Box::new(Association::accept(exchange, own, peer))))
            }
            (Some(_), ..) => self
                .answerer_keys(&offered.crypto, stream, &said.crypto)
                .map(|keys| Agreement::Sdes(Box::new(keys)))
                .ok_or(Unfit::Section(OTHER_SUITE)),
            // RFC 8643 section 3.2: who answers without has chosen plain RTP.
            (None, ..) if !ours && !theirs => Ok(Agreement::Clear),
            (None, ..) => Err(Unfit::Section(NO_KEY)),
        }
    }

    fn offerer_protection(
        &self,
        offer: &Said,
        stream: StreamIndex,
        other_leg: &Agreement,
    ) -> Result<Agreement, Unfit> {
        let shared = other_leg.sdes().filter(|keys| keys.local.shared);
        let taken_up = !matches!(other_leg, Agreement::Clear) || self.context.signal.osrtp.accept;
        let secured = offer.protocol.is_srtp() || (offer.is_opportunistic() && taken_up);
        if !secured {
            return match shared {
                Some(_) => Err(Unfit::Section(NOT_SHARED)),
                None => Ok(Agreement::Clear),
            };
        }
        if let Some(keys) = shared {
            let keys = shared_keys(&offer.crypto, keys).ok_or(Unfit::Section(NOT_SHARED))?;
            return Ok(Agreement::Sdes(Box::new(keys)));
        }
        let in_force = self.call.stream(stream).keying();
        match (keying::to_answer(self.context.signal, offer, in_force), &offer.dtls) {
            (Some(Keying::Dtls), Some(peer)) => self.offerer_association(offer, stream, peer),
            (Some(_), _) => {
                let suite = other_leg.sdes().map(|keys| keys.local.key.profile());
                let keys = self.offerer_keys(&offer.crypto, stream, suite)?;
                let keys = keys.ok_or(Unfit::Section(NO_SUITE))?;
                Ok(Agreement::Sdes(Box::new(keys)))
            }
            (None, _) => Err(Unfit::Section(NO_KEYING)),
        }
    }

    fn offerer_association(
        &self,
        offer: &Said,
        stream: StreamIndex,
        peer: &PeerDtls,
    ) -> Result<Agreement, Unfit> {
        let Context { settings, signal, random, .. } = self.context;
        let webrtc = settings.webrtc.as_ref().ok_or(Unfit::Section(NO_KEYING))?;
        let exchange = self.exchange(stream, Offerer::Party, offer.ice.as_ref());
        let new = || OwnDtls::new(webrtc, [peer.hash(), signal.dtls.fingerprint], random);
        Ok(Agreement::Dtls(Box::new(Association::answer(exchange, peer, new)?)))
    }

    fn exchange(
        &self,
        stream: StreamIndex,
        offerer: Offerer,
        ice: Option<&PeerIce>,
    ) -> Exchange<'_> {
        let signal = self.context.signal;
        let stream = self.call.stream(stream);
        let leg = stream.leg();
        let wanted = signal.dtls.role.map(|role| match role {
            Wanted::Active => DtlsRole::Client,
            Wanted::Passive => DtlsRole::Server,
        });
        let before = leg.and_then(|leg| leg.ice.as_ref());
        Exchange {
            offerer,
            before: stream.association(),
            epoch: leg.map_or(Epoch::default(), |leg| leg.epoch),
            preference: wanted.or(leg.and_then(|leg| leg.preference)).unwrap_or(DtlsRole::Client),
            ice: match signal.flags.no_tls_id {
                // Who wants no tls-id goes by fingerprints alone.
                true => Connectivity::Kept,
                false => IceLeg::connectivity(before, ice),
            },
        }
    }

    fn answerer_ice(&self, offered: &Offered, stream: StreamIndex, said: &Said) -> Option<IceLeg> {
        let before = self.call.stream(stream).leg().and_then(|leg| leg.ice.as_ref());
        let (own, peer) = (offered.ice.clone()?, said.ice.clone()?);
        Some(IceLeg::agreed(own, peer, Offerer::Us, before))
    }

    /// The offerer's ICE, where it offered it. Under a restart of its own it gets new credentials.
    fn offerer_ice(&self, offer: &Said, stream: StreamIndex) -> Result<Option<IceLeg>, Refused> {
        let Context { settings, signal, random, .. } = self.context;
        let offered = offer.ice.as_ref().filter(|_| signal.ice.mode != IceMode::Remove);
        let (Some(peer), Some(webrtc)) = (offered, &settings.webrtc) else { return Ok(None) };
        let leg = self.call.stream(stream).leg();
        let before = leg.and_then(|leg| leg.ice.as_ref());
        let goes_on = IceLeg::connectivity(before, Some(peer)) == Connectivity::Kept;
        let seen = before.map(|ice| &ice.own).filter(|_| goes_on);
        let asked = leg.and_then(|leg| leg.agent).unwrap_or(webrtc.ice);
        let wish = Wish {
            agent: seen.map_or(asked, |own| own.agent),
            kind: match signal.ice.mode {
                IceMode::ForceRelay => OwnKind::Relay,
                _ => seen.map_or(OwnKind::Host, |own| own.kind),
            },
            // What the party knows: we do both.
            options: peer.options,
        };
        let own = OwnIce::next(seen, wish, random)?;
        Ok(Some(IceLeg::agreed(own, peer.clone(), Offerer::Party, before)))
    }

    /// The key pair for the answerer: the one that it chose of ours, and its own. What its answer
    /// leaves out is left out both ways.
    fn answerer_keys(
        &self,
        offered: &[LocalCrypto],
        stream: StreamIndex,
        answered: &[PeerCrypto],
    ) -> Option<SdesKeys> {
        let (settings, agreed) = (self.context.settings, self.agreed(stream));
        let (local, peer) = crypto::accepted(settings, offered, agreed, answered)?;
        let local = LocalCrypto { session: peer.session, ..local.dangerous_duplicate() };
        Some(SdesKeys { peer: peer.dangerous_duplicate(), local })
    }

    /// The key pair for the offerer: its key of the suite chosen, and ours, which stays while the
    /// suite does.
    fn offerer_keys(
        &self,
        offered: &[PeerCrypto],
        stream: StreamIndex,
        other_leg: Option<Profile>,
    ) -> Result<Option<SdesKeys>, Refused> {
        let in_force = self.in_force(stream);
        let profile = in_force.map(|local| local.key.profile());
        let sdes = &self.context.signal.sdes;
        let Some(peer) = crypto::choose(self.context.settings, sdes, offered, profile, other_leg)
        else {
            return Ok(None);
        };
        let session = terms::to_answer(self.context.settings, sdes, peer.session);
        let goes_on = |local: &&LocalCrypto| {
            // Under other terms its packet indexes would start over.
            local.key.profile() == peer.profile() && local.session == session
        };
        let (key, spare) = match in_force.filter(goes_on) {
            Some(local) => local.dangerous_keys(),
            None => {
                let Context { settings, random, .. } = self.context;
                let line = Line::of_answer(settings, peer, in_force);
                let spare = line.spare(peer.profile(), random)?;
                (crypto::generate(peer.profile(), random)?, spare)
            }
        };
        let local = LocalCrypto { tag: peer.tag, key, spare, session, used: true, shared: false };
        Ok(Some(SdesKeys { peer: peer.dangerous_duplicate(), local }))
    }

    /// Our key in force towards a party.
    fn in_force(&self, stream: StreamIndex) -> Option<&LocalCrypto> {
        self.call.stream(stream).own_crypto()
    }

    /// The key that a party holds, be it ours or the other party's.
    fn agreed(&self, stream: StreamIndex) -> Option<&LocalCrypto> {
        self.call.stream(stream).local_crypto()
    }
}

/// The offerer's pair where the answerer chose the offerer's own key: that key, and the
/// answerer's. None where a later offer took that key back, or where the answerer's packets carry
/// an MKI, which a key that passes is printed without.
fn shared_keys(offered: &[PeerCrypto], answerer: &SdesKeys) -> Option<SdesKeys> {
    let own = |peer: &&PeerCrypto| peer.unnamed() == Some(&answerer.local.key);
    let peer = offered.iter().find(own)?;
    let key = answerer.peer.unnamed()?.dangerous_duplicate();
    let session = answerer.peer.session;
    let local = LocalCrypto { tag: peer.tag, key, spare: None, session, used: true, shared: true };
    Some(SdesKeys { peer: peer.dangerous_duplicate(), local })
}

const NO_KEY: &str = "media rejected: the answer has SRTP without a usable a=crypto";
const NOT_OFFERED: &str = "media rejected: the answer has a section that was not offered";
const OTHER_PROTECTION: &str = "media rejected: SRTP offered and RTP answered, or the reverse";
const OTHER_SUITE: &str = "media rejected: the answer's a=crypto is none of those offered";
const NOT_SHARED: &str =
    "media rejected: the key passed through was withdrawn or answered with an MKI";
const NO_SUITE: &str = "media rejected: no suite offered is allowed by SDES options";
const NO_KEYING: &str = "media rejected: nothing offered to key SRTP by is allowed";
