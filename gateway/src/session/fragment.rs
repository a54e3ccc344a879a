//! Trickled candidates (RFC 8838, RFC 8840): fragments of SDP that come between offers and answers.
//!
//! A fragment adds to what its party said and to the ICE in force, and to nothing else. There is
//! nothing to say back: all candidates of ours are in the SDP that we write. Two requests of an SBC
//! may overtake each other, so a fragment may come ahead of the offer or answer that it belongs to:
//! such a one waits in its call ([`Early`]) for its party's next words. One that is late waits there
//! too, until others push it out.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use ng::request::Signal;
use ng::sdp::{Fragment, IceDescription};

use super::call::Call;
use super::party::{Media, PartyIndex};
use super::{Refused, Warnings};

/// Who sent a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// It came with `offer`: the party of the from-tag.
    Offerer,
    /// It came with `answer`: the party of the to-tag.
    Answerer,
}

/// Fragments of a call that found no words of their party to belong to, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Early(VecDeque<EarlyFragment>);

struct EarlyFragment {
    tag: Box<[u8]>,
    /// Its own copy: the request's memory is a whole datagram.
    body: Bytes,
}

impl Early {
    fn hold(&mut self, tag: &[u8], body: &Bytes) {
        if self.0.len() == EARLY_MAX {
            self.0.pop_front();
        }
        self.0.push_back(EarlyFragment { tag: tag.into(), body: Bytes::copy_from_slice(body) });
    }
}

/// The body has a password of ICE.
impl fmt::Debug for EarlyFragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fragment of {}: [redacted]", self.tag.escape_ascii())
    }
}

/// Reads a fragment's body.
pub(super) fn parse(body: &Bytes) -> Result<Fragment, Refused> {
    Fragment::parse(body).map_err(|error| {
        tracing::debug!(%error, "fragment refused");
        Refused(error.incumbent())
    })
}

/// Takes a fragment's candidates into the call, or keeps them for later.
pub(super) fn take(
    call: &mut Call,
    signal: &Signal,
    sender: Sender,
    fragment: &Fragment,
    warnings: &mut Warnings,
) {
    let tag = match sender {
        Sender::Offerer => Some(&signal.from_tag),
        Sender::Answerer => signal.to_tag.as_ref(),
    };
    let Some(tag) = tag else { return warnings.push(NOBODYS) };
    if add(call, tag, fragment) {
        return;
    }
    match signal.sdp.len() <= EARLY_BYTES_MAX {
        true => call.early.hold(tag, &signal.sdp),
        false => warnings.push(TOO_EARLY),
    }
}

/// The party of this tag has spoken: takes what came ahead of its words.
pub(super) fn catch_up(call: &mut Call, tag: &[u8]) {
    let mut early = std::mem::take(&mut call.early);
    early.0.retain(|held| {
        *held.tag != *tag || !parse(&held.body).is_ok_and(|fragment| add(call, tag, &fragment))
    });
    call.early = early;
}

/// Adds a fragment to what the party of this tag said; `false`: some of it is not of those words.
fn add(call: &mut Call, tag: &[u8], fragment: &Fragment) -> bool {
    let Some(party) = call.party(tag) else { return false };
    let mut all = true;
    if fragment.sections.is_empty() {
        for index in 0..call.parties[party.0].media.len() {
            all &= trickle(call, party, index, &fragment.ice);
        }
    }
    for (place, section) in fragment.sections.iter().enumerate() {
        let is_it = |media: &Media| {
            media.said.as_ref().is_some_and(|said| said.mid.as_deref() == section.mid.as_deref())
        };
        let index = match section.mid {
            Some(_) => call.parties[party.0].media.iter().position(is_it),
            None => Some(place),
        };
        all &= index.is_some_and(|index| trickle(call, party, index, &section.ice));
    }
    all
}

/// Takes candidates of one section, where they are of what its party said.
fn trickle(call: &mut Call, party: PartyIndex, index: usize, said: &IceDescription) -> bool {
    let media = call.parties[party.0].media.get_mut(index);
    let ice = media.and_then(|media| media.said.as_mut()?.ice.as_mut());
    let taken = ice.is_some_and(|ice| ice.trickle(said));
    if let Some(stream) = call.open_stream(party, index) {
        call.stream_mut(stream).trickle(said);
    }
    taken
}

const NOBODYS: &str = "candidates of nobody: an answer's fragment needs its to-tag";
const TOO_EARLY: &str =
    "candidates ahead of their party's words are left out: more than 4096 bytes";

/// Most fragments of a call that wait: a browser's come one for each interface and server.
const EARLY_MAX: usize = 8;

/// Most bytes of one that waits: some thirty candidates.
const EARLY_BYTES_MAX: usize = 4096;
