//! Whose each source is that a bundle's party is sent: one of the far side's streams, never two.
//!
//! Streams that knew nothing of each other meet in a bundle under one key, and an SSRC may be that
//! of two of them (RFC 3550 section 8.2). Its packets would be one stream to the party, and number
//! each other out of its window. Who was heard first keeps the SSRC; the other's packets are dropped
//! and counted, its reports too. An SSRC is never rewritten: too much speaks of it, some of it
//! in what only the parties read.
//!
//! Bounded: the source longest silent makes room. A worker owns it with its bundle.

use srtp::{rtcp, rtp};

use crate::relay::demultiplex::Media;
use crate::relay::drop_reason::DropReason;
use crate::relay::path::Batch;
use crate::relay::stream::Slot;

/// The sources that a bundle's party is sent, heard last first.
#[derive(Debug)]
pub(super) struct Owners(Vec<(u32, Slot)>);

impl Owners {
    /// Most sources remembered: simulcast with retransmissions is six to a section.
    const MOST: usize = 64;

    /// Those of `before` whose stream goes on sending here.
    pub(super) fn new(before: Option<Self>, goes_on: impl Fn(Slot) -> bool) -> Self {
        let mut owners = before.map_or_else(Vec::new, |before| before.0);
        owners.retain(|(_, owner)| goes_on(*owner));
        owners.reserve_exact(Self::MOST - owners.len());
        Self(owners)
    }

    /// Whose a source is, once heard.
    pub(super) fn of(&self, ssrc: u32) -> Option<Slot> {
        self.0.iter().find(|(known, _)| *known == ssrc).map(|(_, owner)| *owner)
    }

    /// Takes a packet of `ssrc` from the stream at `from`; whether the source is that stream's.
    fn admit(&mut self, ssrc: u32, from: Slot) -> bool {
        match self.0.iter().position(|(known, _)| *known == ssrc) {
            Some(at) => {
                let is_owner = self.0[at].1 == from;
                if is_owner && at > 0 {
                    self.0[..=at].rotate_right(1);
                }
                is_owner
            }
            None => {
                self.0.truncate(Self::MOST - 1);
                self.0.insert(0, (ssrc, from));
                true
            }
        }
    }
}

impl Batch<'_> {
    /// Whether what the stream at `from` sends may go into the bundle at `bundle`.
    #[inline(never)]
    pub(in crate::relay) fn enter(
        &mut self,
        (from, bundle): (Slot, Slot),
        media: Media,
        opened: &[u8],
    ) -> Result<(), DropReason> {
        let stream = self.streams.get_mut(bundle.key()).ok_or(DropReason::NoPeer)?;
        let owners = &mut stream.cold.routes.as_mut().ok_or(DropReason::NoPeer)?.owners;
        let admitted = match media {
            Media::Rtp => {
                let header = rtp::Header::new_checked(opened).map_err(|_| DropReason::Malformed)?;
                owners.admit(header.ssrc(), from)
            }
            // Who has sent no media yet, or none at all, is nobody's.
            Media::Rtcp => match rtcp::Header::new_checked(opened) {
                Ok(header) => owners.of(header.ssrc()).is_none_or(|owner| owner == from),
                Err(_) => return Err(DropReason::Malformed),
            },
        };
        if admitted { Ok(()) } else { Err(DropReason::SsrcCollision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIO: Slot = Slot(1);
    const VIDEO: Slot = Slot(2);

    #[test]
    fn who_is_heard_first_keeps_a_source() {
        let mut owners = Owners::new(None, |_| true);
        assert!(owners.admit(7, AUDIO) && !owners.admit(7, VIDEO));
        assert!(owners.admit(8, VIDEO) && owners.admit(7, AUDIO));
        assert_eq!((owners.of(7), owners.of(8), owners.of(9)), (Some(AUDIO), Some(VIDEO), None));
    }

    #[test]
    fn a_source_is_free_once_its_stream_goes() {
        let mut before = Owners::new(None, |_| true);
        assert!(before.admit(7, AUDIO) && before.admit(8, VIDEO));
        let mut owners = Owners::new(Some(before), |slot| slot == VIDEO);
        assert!(owners.admit(7, VIDEO) && !owners.admit(8, AUDIO));
    }

    #[test]
    fn sources_are_bounded_and_refused_ones_keep_none_from_its_owner() {
        let mut owners = Owners::new(None, |_| true);
        assert!(owners.admit(7, AUDIO));
        let room = owners.0.capacity();
        for ssrc in 1000..2000 {
            assert!(owners.admit(ssrc, VIDEO) && owners.admit(7, AUDIO) && !owners.admit(7, VIDEO));
        }
        assert_eq!((owners.0.len(), owners.0.capacity()), (Owners::MOST, room));
        assert_eq!(owners.of(1000), None);
    }
}
