//! Trickled candidates: bodies of `application/trickle-ice-sdpfrag` (RFC 8840), which come with ng's
//! flag `fragment`.
//!
//! A fragment is no session description: it has no `v=`, and its `m=` lines only say where a section
//! begins; `a=mid` names it (RFC 8840 section 9). Senders that leave `m=` out are understood too.

use bytes::Bytes;

use super::line::LineKind;
use super::parse::{Lines, check_line};
use super::{IceDescription, Line, Sdp, SdpError};

/// A fragment: news of some sections' ICE.
#[derive(Debug, Default)]
pub struct Fragment {
    /// What holds for every section: credentials, `a=end-of-candidates` for all.
    pub ice: IceDescription,
    /// The sections in order, at most [`Sdp::MAX_MEDIA`].
    pub sections: Vec<FragmentSection>,
}

/// News of one section.
#[derive(Debug, Default)]
pub struct FragmentSection {
    /// `a=mid`; without one the section is the one at this place in the session.
    pub mid: Option<Bytes>,
    /// Its ICE, with what it has from the fragment as a whole.
    pub ice: IceDescription,
}

impl Fragment {
    /// Parses a fragment. The result holds slices of `body`, which stays in memory as long.
    pub fn parse(body: &Bytes) -> Result<Self, SdpError> {
        if body.len() > Sdp::MAX_BYTES {
            return Err(SdpError::TooLarge { found: body.len(), limit: Sdp::MAX_BYTES });
        }
        let mut fragment = Self::default();
        for (number, line) in Lines::of(body) {
            fragment.read(number, &check_line(number, line)?)?;
        }
        for section in &mut fragment.sections {
            section.ice.inherit(&fragment.ice);
        }
        match fragment.says_anything() {
            true => Ok(fragment),
            false => Err(SdpError::Missing { what: "line of ICE" }),
        }
    }

    fn read(&mut self, number: usize, line: &Line) -> Result<(), SdpError> {
        let mid =
            (line.kind() == LineKind::Mid && !line.value().is_empty()).then(|| line.value_bytes());
        let named = self.sections.last().is_some_and(|section| section.mid.is_some());
        let begins = match line.kind() {
            LineKind::Media => true,
            // Without an `m=` of its own.
            LineKind::Mid => self.sections.is_empty() || named,
            _ => false,
        };
        if begins && self.sections.len() == Sdp::MAX_MEDIA {
            let limit = Sdp::MAX_MEDIA;
            return Err(SdpError::TooMany { line: number, what: "sections", limit });
        }
        if begins {
            self.sections.push(FragmentSection::default());
        }
        match self.sections.last_mut() {
            Some(section) => {
                section.mid = mid.or(section.mid.take());
                section.ice.read(line);
            }
            None => self.ice.read(line),
        }
        Ok(())
    }

    /// Whether there is any ICE in it: else it is something else's body.
    fn says_anything(&self) -> bool {
        let sections = self.sections.iter().map(|section| &section.ice);
        sections.chain([&self.ice]).any(|ice| *ice != IceDescription::default())
    }
}
