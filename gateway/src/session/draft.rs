//! What an offer would make of each of its sections: the first half of an offer, which may fail and
//! changes nothing.
//!
//! A draft holds what the offerer said, what the answerer will be offered, and the ports for both.
//! Keys, DTLS and ICE that the answerer has seen before are shown again: an answer to an earlier
//! offer may yet come. Sections that share a transport have one stream (`seat`), and the answerer
//! is offered of all of them what it is offered of the first.

use ng::request::{IceMode, Transport};
use ng::sdp::{IceOptions, MediaSection, Protocol};

use crate::relay::command::StreamIndex;

use super::bundle::Groups;
use super::call::{Call, PARTIES_MAX};
use super::crypto::{self, LocalCrypto, Sharing, Shown};
use super::dialogue::{Dialogue, Side};
use super::dtls::OwnDtls;
use super::ice::{self, OwnIce, OwnKind, Wish};
use super::keying::{self, Shows};
use super::lease::Lease;
use super::media::{Keys, Kind, Said};
use super::mux;
use super::offer::Context;
use super::own_keys::Line;
use super::party::{Media, Offered};
use super::place::{self, Places};
use super::ports::PortSource;
use super::seat::{Seat, Seating};
use super::settings::Compat;
use super::stream::Stream;
use super::{Refused, Warnings};

/// A section on its way through an offer.
pub(super) enum Draft {
    Relay(Box<RelayDraft>),
    Reject,
    PassThrough,
}

/// What becomes of a section in the body.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Relay,
    Reject,
    PassThrough,
}

impl Draft {
    pub(super) fn fate(&self) -> Fate {
        match self {
            Self::Relay(_) => Fate::Relay,
            Self::Reject => Fate::Reject,
            Self::PassThrough => Fate::PassThrough,
        }
    }
}

/// A section that will be relayed.
pub(super) struct RelayDraft {
    pub(super) said: Said,
    pub(super) offered: Offered,
    /// The stream of the offerer's section.
    pub(super) offerer: Seat,
    /// The stream of the answerer's section.
    pub(super) answerer: Seat,
}

/// Everything drafted.
pub(super) struct Drafts {
    pub(super) dialogue: Dialogue,
    pub(super) places: Places,
    pub(super) sections: Vec<Draft>,
    /// In which order they are to be committed.
    pub(super) order: Vec<usize>,
}

/// Drafts every section.
pub(super) fn draft<P: PortSource>(
    context: &Context<'_>,
    lease: &mut Lease<'_, P>,
    call: &Call,
    warnings: &mut Warnings,
) -> Result<Drafts, Refused> {
    let dialogue = Dialogue::of_offer(call, context.signal)?;
    let joins = |side| usize::from(side == Side::New);
    let joining = joins(dialogue.offerer) + joins(dialogue.answerer);
    if call.parties.len() + joining > PARTIES_MAX {
        return Err(Refused::TOO_LARGE);
    }
    let wants_ice = !matches!(context.signal.ice.mode, IceMode::Default | IceMode::Remove);
    if wants_ice && context.settings.webrtc.is_none() {
        warnings.push("ICE is not enabled: its attributes are taken out");
    }
    let weaken = context.signal.sdes.weaken;
    if weaken.weaknesses().any(|weakness| !context.settings.accepted.contains(weakness)) {
        warnings.push(NOT_ACCEPTED);
    }
    let places = place::of(context, call, dialogue, warnings);
    let groups = Groups::of_offer(context);
    let order = groups.order();
    let mut refusal = None;
    let mut drafting = Drafting {
        seating: Seating::new(context, lease, call, dialogue, places),
        context,
        call,
        dialogue,
        groups: &groups,
        sections: context.sdp.media.iter().map(|_| Draft::Reject).collect(),
    };
    for &index in &order {
        let (draft, reason) = drafting.section(index, &context.sdp.media[index])?;
        refusal = refusal.or(reason);
        drafting.sections[index] = draft;
    }
    let sections = drafting.sections;
    if let Some(refusal) = refusal {
        if sections.iter().all(|draft| matches!(draft, Draft::Reject)) {
            return Err(refusal);
        }
        warnings.push(refusal.0);
    }
    Ok(Drafts { dialogue, places, sections, order })
}

struct Drafting<'a, 'l, P: PortSource> {
    context: &'a Context<'a>,
    seating: Seating<'a, 'l, P>,
    call: &'a Call,
    dialogue: Dialogue,
    groups: &'a Groups,
    /// By index; rejected until drafted.
    sections: Vec<Draft>,
}

impl<'a, P: PortSource> Drafting<'a, '_, P> {
    /// A section's draft, with the reason when it is rejected for what it asks.
    fn section(
        &mut self,
        index: usize,
        section: &MediaSection,
    ) -> Result<(Draft, Option<Refused>), Refused> {
        let Context { settings, signal, sdp, .. } = *self.context;
        let keys = Keys::of(settings, self.groups.transport(sdp, index));
        match Kind::of(section, &keys, self.groups.place(index)) {
            Kind::Foreign => return Ok((Draft::PassThrough, None)),
            Kind::Disabled => return Ok((Draft::Reject, None)),
            Kind::Unusable(reason) => return Ok((Draft::Reject, Some(reason))),
            Kind::Relay if self.groups.is_surplus(index) => {
                return Ok((Draft::Reject, Some(Refused::BUNDLE_FULL)));
            }
            Kind::Relay => {}
        }
        let protocol = match &signal.transport {
            Some(Transport::To(protocol)) => protocol.clone(),
            Some(Transport::Accept) | None => section.protocol.clone(),
        };
        let before = self.media(self.dialogue.offerer, index).and_then(|media| media.said.as_ref());
        let mut said = Said::of(index, self.groups, self.context, keys, before)?;
        if signal.flags.reject_ice {
            said.ice = None;
        }
        let answerer = open_stream(self.call, self.dialogue.answerer, index);
        let in_force = answerer.filter(|_| !signal.flags.reset);
        let in_force = in_force.and_then(|stream| self.call.stream(stream).keying());
        match keying::to_offer((settings, signal), &said, &protocol, in_force) {
            Ok(shows) => {
                let draft = self.relay(index, said, protocol, shows)?;
                Ok((Draft::Relay(Box::new(draft)), None))
            }
            Err(reason) => Ok((Draft::Reject, Some(reason))),
        }
    }

    fn relay(
        &mut self,
        index: usize,
        said: Said,
        protocol: Protocol,
        shows: Shows,
    ) -> Result<RelayDraft, Refused> {
        let is_drafted = |of: &usize| matches!(self.sections[*of], Draft::Relay(_));
        let carrier = self.groups.carrier(index).filter(is_drafted);
        let group = self.groups.of_group(index);
        let offerer = self.seating.offerer(index, &said, carrier, group)?;
        let fits = |of: usize| match &self.sections[of] {
            Draft::Relay(draft) => draft.offered.takes_in(&protocol, shows),
            Draft::Reject | Draft::PassThrough => false,
        };
        let answerer = self.seating.answerer(index, fits)?;
        let offered = match (&answerer, self.sections.get(answerer.carrier().unwrap_or(index))) {
            (Seat::With(_), Some(Draft::Relay(draft))) => draft.offered.shared(protocol),
            _ => self.offered(index, &said, protocol, shows)?,
        };
        Ok(RelayDraft { said, offered, offerer, answerer })
    }

    /// What the answerer is offered of a section with a transport of its own.
    fn offered(
        &self,
        index: usize,
        said: &Said,
        protocol: Protocol,
        shows: Shows,
    ) -> Result<Offered, Refused> {
        let answerer = open_stream(self.call, self.dialogue.answerer, index);
        let stream = answerer.map(|stream| self.call.stream(stream));
        let mux_in_force = stream.map(|stream| stream.mux).unwrap_or_default();
        Ok(Offered {
            crypto: self.crypto(index, said, stream, shows)?,
            dtls: self.dtls(index, stream, shows)?,
            ice: self.ice(index, said, stream)?,
            rtcp_mux: mux::offers(self.context.signal.rtcp_mux, said, mux_in_force),
            protocol,
            bundled: false,
        })
    }

    fn crypto(
        &self,
        index: usize,
        said: &Said,
        stream: Option<&Stream>,
        shows: Shows,
    ) -> Result<Vec<LocalCrypto>, Refused> {
        if !shows.has_sdes() {
            return Ok(Vec::new());
        }
        let Context { settings, random, signal, .. } = self.context;
        let shown = self.shown(index, stream);
        let asks = said.protocol.is_srtp() || said.is_opportunistic();
        let source = if asks { &said.crypto[..] } else { &[] };
        let sharing = self.sharing(index, said, stream);
        crypto::offer(settings, &signal.sdes, shown, (source, sharing), random)
    }

    /// Our side of DTLS: what the answerer has seen of it, else a new one.
    fn dtls(
        &self,
        index: usize,
        stream: Option<&Stream>,
        shows: Shows,
    ) -> Result<Option<OwnDtls>, Refused> {
        let Context { settings, random, signal, .. } = self.context;
        let Some(webrtc) = settings.webrtc.as_ref().filter(|_| shows.has_dtls()) else {
            return Ok(None);
        };
        let media = self.media(self.dialogue.answerer, index);
        let in_force = stream.and_then(Stream::association).map(|association| &association.own);
        let offered = media.and_then(|media| media.offered.as_ref()?.dtls.as_ref());
        let is_new = |own: &&OwnDtls| !in_force.is_some_and(|before| before.is(own));
        let seen = match stream.is_some_and(Stream::begins_anew) {
            true => offered.filter(is_new),
            false => in_force.or(offered),
        };
        if let Some(own) = seen.filter(|_| !signal.flags.reset) {
            return Ok(Some(own.clone()));
        }
        let theirs = media.and_then(|media| media.said.as_ref()?.dtls.as_ref()?.hash());
        OwnDtls::new(webrtc, [theirs, signal.dtls.fingerprint], random).map(Some)
    }

    /// Our side of ICE, where the answerer is to have any.
    fn ice(
        &self,
        index: usize,
        said: &Said,
        stream: Option<&Stream>,
    ) -> Result<Option<OwnIce>, Refused> {
        let Context { settings, random, signal, .. } = self.context;
        let Some(webrtc) = &settings.webrtc else { return Ok(None) };
        let leg = stream.and_then(Stream::leg);
        let in_force = leg.and_then(|leg| leg.ice.as_ref()).map(|ice| &ice.own);
        let reset = signal.flags.reset;
        let wanted = match signal.ice.mode {
            IceMode::Remove => false,
            IceMode::Force | IceMode::ForceRelay | IceMode::Optional => true,
            IceMode::Default => said.ice.is_some() || in_force.is_some(),
        };
        if !wanted || leg.is_some_and(|leg| leg.declined_ice && !reset) {
            return Ok(None);
        }
        let media = self.media(self.dialogue.answerer, index);
        let offered = media.and_then(|media| media.offered.as_ref()?.ice.as_ref());
        let is_new = |own: &&OwnIce| in_force.is_none_or(|b| b.credentials != own.credentials);
        let seen = match stream.is_some_and(Stream::restarts_ice) {
            true => offered.filter(is_new),
            false => in_force.or(offered),
        };
        let seen = seen.filter(|_| !reset);
        let wish = Wish {
            agent: ice::towards_answerer(signal.ice.lite)
                .or(leg.and_then(|leg| leg.agent))
                .unwrap_or(webrtc.ice),
            kind: match signal.ice.mode {
                IceMode::ForceRelay => OwnKind::Relay,
                _ => seen.map_or(OwnKind::Host, |own| own.kind),
            },
            options: IceOptions {
                trickle: signal.ice.trickle || seen.is_some_and(|own| own.options.trickle),
                ice2: signal.ice.ice2 || seen.is_some_and(|own| own.options.ice2),
            },
        };
        OwnIce::next(seen, wish, random).map(Some)
    }

    /// Whether the answerer gets the offerer's keys. Not where either leg has a key of ours in
    /// force: its packet indexes are known to us alone and cannot be handed over. Nor where one
    /// key is of a whole bundle.
    fn sharing(&self, index: usize, said: &Said, answerer: Option<&Stream>) -> Sharing {
        let flags = &self.context.signal.flags;
        let offerer = open_stream(self.call, self.dialogue.offerer, index);
        let mut legs = offerer.map(|stream| self.call.stream(stream)).into_iter().chain(answerer);
        let wanted = self.context.settings.compat == Compat::Rtpengine
            && said.membership.is_none()
            && !flags.recrypt
            && !flags.no_passthrough;
        match wanted && !legs.any(|leg| leg.own_crypto().is_some()) {
            true => Sharing::OfferersKeys,
            false => Sharing::Never,
        }
    }

    /// The keys that the answerer has seen of a section; none under `reset`.
    fn shown(&self, index: usize, stream: Option<&'a Stream>) -> Shown<'a> {
        let media = self.media(self.dialogue.answerer, index);
        let offered = media.and_then(|media| media.offered.as_ref());
        let offered: &[LocalCrypto] = offered.map_or(&[], |offered| &offered.crypto);
        let in_force = stream.and_then(Stream::own_crypto);
        let is_due = stream.is_some_and(|stream| stream.renewal.is_due());
        let Context { settings, signal, .. } = self.context;
        if signal.flags.reset {
            let line = Line::of_reset(settings, in_force, offered);
            return Shown { in_force: None, offered: &[], line };
        }
        let line = Line::of_offer(settings, in_force, offered);
        Shown { in_force: in_force.filter(|_| !is_due), offered, line }
    }

    /// A section of a party that is in the call.
    fn media(&self, side: Side, index: usize) -> Option<&'a Media> {
        match side {
            Side::Known(party) => self.call.parties.get(party.0)?.media.get(index),
            Side::New => None,
        }
    }
}

pub(super) fn open_stream(call: &Call, side: Side, section: usize) -> Option<StreamIndex> {
    match side {
        Side::Known(party) => call.open_stream(party, section),
        Side::New => None,
    }
}

const NOT_ACCEPTED: &str = "SDES-unencrypted_srtp, -unencrypted_srtcp or -unauthenticated_srtp is \
                            ignored: srtp.accept does not name it";
