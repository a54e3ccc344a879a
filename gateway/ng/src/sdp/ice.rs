//! What SDP says of ICE (RFC 8839): credentials and candidates.
//!
//! As much as any agent could use and no more: candidates over UDP with an IP address, bounded in
//! number. Lines that can't be read are as if they weren't there, with the first reason kept for
//! whoever asks why the leg came to nothing.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use bytes::Bytes;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::line::{LineKind, fields};
use super::{Line, Sdp, candidate};

/// What a section, or the session part, says of ICE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceDescription {
    /// `a=ice-ufrag`.
    ufrag: Option<Bytes>,
    /// `a=ice-pwd`.
    pwd: Option<Password>,
    /// `a=ice-lite`: the party only answers checks.
    pub lite: bool,
    /// `a=ice-options`.
    pub options: IceOptions,
    /// Each `a=candidate` that an agent could use, in order, at most [`Sdp::MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// `a=end-of-candidates` (RFC 8840).
    pub end_of_candidates: bool,
    /// `a=remote-candidates`: our own that a controlling offerer chose, at most one a component.
    pub remote_candidates: Vec<RemoteCandidate>,
    /// `a=ice-mismatch`: the party saw a default destination that is no candidate of ours, and
    /// goes on without ICE (RFC 8839 section 5.3).
    pub mismatch: bool,
    /// Why the first of the lines that we could not take was not taken. Candidates over TCP and
    /// with names are left out without one.
    pub refused: Option<&'static str>,
}

/// `a=ice-options`: what we know of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IceOptions {
    /// `trickle`: more candidates may come (RFC 8838).
    pub trickle: bool,
    /// `ice2`: RFC 8445, no aggressive nomination.
    pub ice2: bool,
}

/// One component of `a=remote-candidates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteCandidate {
    /// 1 is RTP, 2 is RTCP.
    pub component: u8,
    /// The address that was chosen.
    pub address: SocketAddr,
}

impl IceDescription {
    /// The party's credentials, once it said both.
    pub fn credentials(&self) -> Option<IceCredentials> {
        IceCredentials::new(str(self.ufrag.as_deref()?)?, str(&self.pwd.as_ref()?.0)?)
    }

    /// Takes one line of a section, of the session part or of a fragment.
    pub(super) fn read(&mut self, line: &Line) {
        match line.kind() {
            LineKind::IceLite => self.lite = true,
            LineKind::Ice => self.read_attribute(line),
            _ => {}
        }
    }

    fn read_attribute(&mut self, line: &Line) {
        let value = line.value();
        match line.attribute_name().unwrap_or_default() {
            b"ice-ufrag" => match is_credential(value, UFRAG_LEN) {
                true => self.ufrag = Some(line.value_bytes()),
                false => self.refuse("a=ice-ufrag is not 4 to 256 letters, digits, + and /"),
            },
            b"ice-pwd" => match is_credential(value, PWD_LEN) {
                true => self.pwd = Some(Password(line.value_bytes())),
                false => self.refuse("a=ice-pwd is not 22 to 256 letters, digits, + and /"),
            },
            b"ice-options" => fields(value).for_each(|option| self.options.add(option)),
            b"ice-mismatch" => self.mismatch = true,
            b"end-of-candidates" => self.end_of_candidates = true,
            b"remote-candidates" => self.remote_candidates = candidate::parse_remote(value),
            b"candidate" if self.candidates.len() == Sdp::MAX_CANDIDATES => {
                self.refuse("more candidates than 64");
            }
            b"candidate" => match Candidate::parse(value) {
                Ok(candidate) => self.candidates.extend(candidate),
                Err(reason) => self.refuse(reason),
            },
            _ => {}
        }
    }

    /// Takes from the session part what the section doesn't say itself (RFC 8839 section 5.4).
    pub(super) fn inherit(&mut self, session: &Self) {
        if self.ufrag.is_none() {
            self.ufrag.clone_from(&session.ufrag);
        }
        if self.pwd.is_none() {
            self.pwd.clone_from(&session.pwd);
        }
        self.lite |= session.lite;
        self.options.trickle |= session.options.trickle;
        self.options.ice2 |= session.options.ice2;
        self.end_of_candidates |= session.end_of_candidates;
        self.refused = self.refused.or(session.refused);
    }

    fn refuse(&mut self, reason: &'static str) {
        self.refused.get_or_insert(reason);
    }
}

impl IceOptions {
    fn add(&mut self, option: &[u8]) {
        match option {
            b"trickle" => self.trickle = true,
            b"ice2" => self.ice2 = true,
            _ => {}
        }
    }
}

/// `a=ice-ufrag` and `a=ice-pwd`. The password is not printed, and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 4 to 256 characters.
    pub ufrag: Box<str>,
    /// 22 to 256 characters.
    pub pwd: Box<str>,
}

impl IceCredentials {
    /// Both halves; `None` where one is too short, too long or has characters that are not for
    /// credentials (RFC 8839 section 5.4: letters, digits, `+`, `/`; `-`, `_`, `=` and `#`, which
    /// are in the field, are taken too).
    pub fn new(ufrag: &str, pwd: &str) -> Option<Self> {
        fit(ufrag, pwd).then(|| Self { ufrag: ufrag.into(), pwd: pwd.into() })
    }

    /// Whether they are such as [`IceCredentials::new`] takes; put together by hand they need not be.
    pub fn are_well_formed(&self) -> bool {
        fit(&self.ufrag, &self.pwd)
    }
}

impl Zeroize for IceCredentials {
    /// The password; fragments are on the wire in the clear.
    fn zeroize(&mut self) {
        self.pwd.zeroize();
    }
}

impl Drop for IceCredentials {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for IceCredentials {}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:[redacted]", self.ufrag)
    }
}

/// One `a=candidate` over UDP with an IP address; others (TCP, `.local` names) are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Candidates of one base and server share it.
    pub foundation: Box<str>,
    /// 1 is RTP (and all of it with rtcp-mux), 2 is RTCP.
    pub component: u8,
    /// RFC 8445 section 5.1.2.
    pub priority: u32,
    /// Where it is.
    pub address: SocketAddr,
    /// What it is.
    pub kind: CandidateKind,
    /// The base's address of a reflexive or relayed one (`raddr`, `rport`).
    pub related: Option<SocketAddr>,
}

/// How a candidate was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the SDP word of the same name")]
pub enum CandidateKind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relayed,
}

/// `a=ice-pwd` as it came. Not printed.
#[derive(Clone, PartialEq, Eq)]
struct Password(Bytes);

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

fn fit(ufrag: &str, pwd: &str) -> bool {
    is_credential(ufrag.as_bytes(), UFRAG_LEN) && is_credential(pwd.as_bytes(), PWD_LEN)
}

fn is_credential(value: &[u8], length: RangeInclusive<usize>) -> bool {
    length.contains(&value.len()) && value.iter().copied().all(is_ice_char)
}

/// RFC 8839 section 5.1's `ice-char`, and what the field also writes.
pub(super) fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=#".contains(&byte)
}

fn str(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// RFC 8839 section 5.4.
const UFRAG_LEN: RangeInclusive<usize> = 4..=256;

/// RFC 8839 section 5.4.
const PWD_LEN: RangeInclusive<usize> = 22..=256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_wiped_and_never_printed() {
        fn is_wiped_when_dropped<T: ZeroizeOnDrop>(_: &T) {}
        let pwd = "asd88fgpdd777uzjYhagZg";
        let mut credentials = IceCredentials::new("8hhY", pwd).unwrap();
        assert_eq!(format!("{credentials:?}"), "8hhY:[redacted]");
        is_wiped_when_dropped(&credentials);
        credentials.zeroize();
        assert_eq!(credentials.pwd.as_bytes(), [0; 22]);
    }
}
