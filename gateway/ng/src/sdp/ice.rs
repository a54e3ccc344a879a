//! What SDP says of ICE (RFC 8839): credentials and candidates.

use std::fmt;
use std::net::SocketAddr;

/// `a=ice-ufrag` and `a=ice-pwd`. The password is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 4 to 256 characters.
    pub ufrag: Box<str>,
    /// 22 to 256 characters.
    pub pwd: Box<str>,
}

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
