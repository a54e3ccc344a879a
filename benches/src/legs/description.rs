//! The SDP of an answering WebRTC leg, and what the relay's offer tells it.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use loadgen::body;
use ng::sdp::{Candidate, Fingerprint, IceCredentials};
use webrtc::ice::{Component, Implementation, LocalCandidate, RemoteParameters};

/// What a leg has beside media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// DTLS from the signalled address.
    Dtls,
    /// DTLS over the path that ICE finds.
    Ice,
}

impl Kind {
    /// The word of `m=` and of `transport-protocol`.
    pub fn transport(self) -> &'static str {
        match self {
            Self::Dtls => "UDP/TLS/RTP/SAVP",
            Self::Ice => "UDP/TLS/RTP/SAVPF",
        }
    }
}

/// The relay's leg as it describes it.
#[derive(Debug)]
pub struct Remote {
    /// Where it receives.
    pub address: SocketAddr,
    /// Its certificate fits one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// Its ICE, with candidates of the one component.
    pub ice: Option<(RemoteParameters, Vec<Candidate>)>,
}

impl Remote {
    /// Reads the relay's offer to the answering leg.
    pub fn read(offer: &Bytes) -> Result<Self> {
        let (section, address) = body::audio(offer)?;
        let fingerprints = section.dtls.fingerprints;
        ensure!(!fingerprints.is_empty(), "the relay offers no DTLS");
        let implementation =
            if section.ice.lite { Implementation::Lite } else { Implementation::Full };
        let ice = section.ice.credentials().map(|credentials| {
            let mut candidates = section.ice.candidates;
            candidates.retain(|candidate| candidate.component == Component::Rtp.number());
            (RemoteParameters { credentials, implementation }, candidates)
        });
        Ok(Self { address, fingerprints, ice })
    }
}

/// The answer of a leg that receives at `address` and sends the ClientHello.
pub fn answer(
    kind: Kind,
    address: SocketAddr,
    fingerprint: &Fingerprint,
    ice: Option<(&IceCredentials, LocalCandidate)>,
) -> Result<Bytes> {
    let (ip, port, transport) = (address.ip(), address.port(), kind.transport());
    let mut body = format!(
        "v=0\r\no=benches 1 1 IN IP4 {ip}\r\ns=benches\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} {transport} 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\na=rtcp-mux\r\n\
         a=setup:active\r\na=fingerprint:{fingerprint}\r\n"
    );
    if let Some((credentials, local)) = ice {
        let Candidate { foundation, component, priority, .. } = local.to_sdp(address);
        write!(
            body,
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=candidate:{foundation} {component} UDP {priority} {ip} {port} typ host\r\n\
             a=end-of-candidates\r\n",
            credentials.ufrag, credentials.pwd,
        )
        .context("writing to memory")?;
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use ng::sdp::HashFunction;

    use super::*;

    fn written(kind: Kind) -> Bytes {
        let address = "127.0.0.1:4000".parse().unwrap();
        let fingerprint = Fingerprint::new(HashFunction::Sha256, &[0xA5; 32]).unwrap();
        let credentials =
            IceCredentials::new("abcdefgh", "abcdefghijklmnopqrstuvwxyz").expect("credentials");
        let local = LocalCandidate { component: Component::Rtp, address, preference: 65535 };
        let ice = (kind == Kind::Ice).then_some((&credentials, local));
        answer(kind, address, &fingerprint, ice).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let read = Remote::read(&written(Kind::Ice)).unwrap();
        assert_eq!(read.address, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(read.fingerprints[0].digest(), [0xA5; 32]);
        let (remote, candidates) = read.ice.unwrap();
        assert_eq!(&*remote.credentials.ufrag, "abcdefgh");
        assert_eq!(remote.implementation, Implementation::Full);
        assert_eq!(candidates[0].address, read.address);
        assert!(Remote::read(&written(Kind::Dtls)).unwrap().ice.is_none());
    }

    #[test]
    fn an_offer_without_a_fingerprint_is_no_webrtc() {
        let offer = body::plain_sdp("127.0.0.1:4000".parse().unwrap());
        assert!(Remote::read(&offer).is_err());
    }
}
