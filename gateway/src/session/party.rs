//! A party of a call (the incumbent's "monologue"): whoever goes by a tag, or will once it answers.
//!
//! A callee is anonymous at first: it exists from the offer on, known only by its via-branch, and
//! gets its name from the tag of its answer. Later answers under other tags (a proxy that forks
//! further on) become aliases of it.

use std::time::Instant;

use ng::sdp::Protocol;

use crate::relay::command::StreamIndex;

use super::crypto::LocalCrypto;
use super::dtls::OwnDtls;
use super::ice::OwnIce;
use super::keying::Shows;
use super::media::Said;
use super::mux::MuxAnswer;
use super::origin::Origin;
use super::place::Place;

/// A party's place in its call; stays for the call's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartyIndex(pub(super) usize);

/// One side of a dialogue.
#[derive(Debug)]
pub(super) struct Party {
    /// Its tag, once known.
    pub(super) tag: Option<Box<[u8]>>,
    /// Further tags it has answered under.
    pub(super) aliases: Vec<Box<[u8]>>,
    /// The via-branch of the offer that made it.
    pub(super) branch: Option<Box<[u8]>>,
    /// `label`.
    pub(super) label: Option<Box<[u8]>>,
    /// Who it talks with: the last dialogue counts.
    pub(super) partner: Option<PartyIndex>,
    /// Where its ports are opened.
    pub(super) place: Place,
    /// Its media sections, by index.
    pub(super) media: Vec<Media>,
    /// What `replace` keeps the same in all SDP going to it.
    pub(super) origin: Option<Box<Origin>>,
    /// When it came into the call.
    pub(super) created: Instant,
    /// When it is to end (a delayed `delete` of a branch).
    pub(super) deletion: Option<Instant>,
    /// It has left: its streams are closed, its index stays.
    pub(super) ended: bool,
}

/// One party's one media section.
#[derive(Debug, Default)]
pub(super) struct Media {
    /// `audio`, `video`, …
    pub(super) kind: Box<[u8]>,
    /// Its stream, while it has one: that of other sections, too, where they are bundled.
    pub(super) stream: Option<StreamIndex>,
    /// The stream that its packets go to.
    pub(super) peer: Option<StreamIndex>,
    /// What the party said of itself last, in an offer or an answer.
    pub(super) said: Option<Said>,
    /// The same of a section that a later offer leaves out: its packets are told by it until the
    /// answer, which may never come.
    pub(super) withdrawn: Option<Box<Said>>,
    /// What it was offered last.
    pub(super) offered: Option<Offered>,
    /// How to answer its offer of rtcp-mux.
    pub(super) mux_answer: MuxAnswer,
}

/// What a party was offered of a section: its answer is weighed against this.
#[derive(Debug)]
pub(super) struct Offered {
    /// The transport.
    pub(super) protocol: Protocol,
    /// The keys, all ours; empty for plain RTP and where only DTLS was offered.
    pub(super) crypto: Vec<LocalCrypto>,
    /// Our side of DTLS.
    pub(super) dtls: Option<OwnDtls>,
    /// Our side of ICE.
    pub(super) ice: Option<OwnIce>,
    /// With `a=rtcp-mux`.
    pub(super) rtcp_mux: bool,
    /// In a `a=group:BUNDLE`.
    pub(super) bundled: bool,
}

impl Party {
    /// A party that has neither said nor been told anything.
    pub(super) fn new(place: Place, now: Instant) -> Self {
        Self {
            tag: None,
            aliases: Vec::new(),
            branch: None,
            label: None,
            partner: None,
            place,
            media: Vec::new(),
            origin: None,
            created: now,
            deletion: None,
            ended: false,
        }
    }

    /// Whether it goes by this tag.
    pub(super) fn is(&self, tag: &[u8]) -> bool {
        !self.ended
            && (self.tag.as_deref() == Some(tag) || self.aliases.iter().any(|a| &**a == tag))
    }

    /// Whether it is a callee of this branch that has no name yet.
    pub(super) fn is_anonymous(&self) -> bool {
        !self.ended && self.tag.is_none()
    }

    /// Gives it its name, or one more.
    pub(super) fn answer_as(&mut self, tag: &[u8]) {
        if self.is(tag) {
            return;
        }
        match self.tag {
            None => self.tag = Some(tag.into()),
            // More tags than any fork has are not worth remembering; the answer still counts.
            Some(_) if self.aliases.len() < ALIASES_MAX => self.aliases.push(tag.into()),
            Some(_) => {}
        }
    }

    /// The first of the sections that share this one's stream, where that is another.
    pub(super) fn carrier(&self, index: usize) -> Option<usize> {
        let stream = self.media.get(index)?.stream?;
        let first = self.media.iter().position(|media| media.stream == Some(stream));
        first.filter(|first| *first != index)
    }

    /// Its section of this index, made when it is not there yet.
    pub(super) fn section(&mut self, index: usize) -> &mut Media {
        if let Some(missing) = (index + 1).checked_sub(self.media.len()) {
            // Exactly: most parties have one section for life, and there are many parties.
            self.media.reserve_exact(missing);
            self.media.resize_with(index + 1, Media::default);
        }
        &mut self.media[index]
    }
}

impl Offered {
    /// The same for another section that shares its transport.
    pub(super) fn shared(&self, protocol: Protocol) -> Self {
        Self {
            protocol,
            crypto: self.crypto.iter().map(LocalCrypto::dangerous_duplicate).collect(),
            dtls: self.dtls.clone(),
            ice: self.ice.clone(),
            rtcp_mux: self.rtcp_mux,
            bundled: false,
        }
    }

    /// Whether a section that is to show these keys under this transport may have the same.
    pub(super) fn takes_in(&self, protocol: &Protocol, shows: Shows) -> bool {
        let same =
            (shows.has_sdes(), shows.has_dtls()) == (!self.crypto.is_empty(), self.dtls.is_some());
        same && self.rtcp_mux && protocol.is_srtp() == self.protocol.is_srtp()
    }

    /// SRTP was offered, be it under a plain profile.
    pub(super) fn asks_for_srtp(&self) -> bool {
        self.protocol.is_srtp() || !self.crypto.is_empty() || self.dtls.is_some()
    }
}

impl Media {
    /// Neither the party nor what it was offered asks for SRTP.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |said: &Said| !said.protocol.is_srtp() && !said.is_opportunistic();
        self.said.as_ref().is_none_or(plain)
            && self.offered.as_ref().is_none_or(|offered| !offered.asks_for_srtp())
    }

    /// The transport spoken with it: its own word, or what it was offered before it had one.
    pub(super) fn protocol(&self) -> Option<&Protocol> {
        let said = self.said.as_ref().map(|said| &said.protocol);
        said.or(self.offered.as_ref().map(|offered| &offered.protocol))
    }
}

/// Most other tags one party is known by.
const ALIASES_MAX: usize = 16;
