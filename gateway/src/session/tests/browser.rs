//! What the tests of DTLS and ICE share: a gateway with agents, and a browser's words.

use std::sync::Arc;

use ng::request::{IceMode, RtcpMux, Signal};
use ng::sdp::{Fingerprint, HashFunction, Protocol};

use super::world::{A, World, audio, settings, signal, towards};
use crate::session::settings::{Certificate, DTLS_PROFILES, Settings, WebRtc};
use crate::webrtc::plan::{CertificateSerial, IceAgent};

/// Settings with agents.
pub(super) fn with_agents() -> Settings {
    let hashes = [HashFunction::Sha256, HashFunction::Sha384, HashFunction::Sha512];
    let webrtc = WebRtc {
        certificate: Arc::new(Certificate {
            serial: CertificateSerial(7),
            fingerprints: hashes.map(|hash| print(hash, 0x77)).to_vec(),
        }),
        ice: IceAgent::Full,
        accept_sha1: false,
        profiles: DTLS_PROFILES.into(),
        threads: 2,
    };
    Settings { webrtc: Some(webrtc), ..settings() }
}

pub(super) fn world() -> World {
    World::with(with_agents())
}

/// A fingerprint of one byte.
pub(super) fn print(hash: HashFunction, byte: u8) -> Fingerprint {
    Fingerprint::new(hash, &vec![byte; hash.digest_len()]).unwrap()
}

/// What a browser says: DTLS under this certificate, ICE under these credentials.
pub(super) struct Browser {
    pub(super) certificate: u8,
    pub(super) generation: char,
    pub(super) setup: &'static str,
    pub(super) tls_id: Option<&'static str>,
    pub(super) further: Vec<String>,
}

impl Browser {
    pub(super) fn offering() -> Self {
        let further = vec![format!("candidate:1 1 udp 2130706431 {A} 4000 typ host")];
        Self { certificate: 1, generation: 'a', setup: "actpass", tls_id: None, further }
    }

    pub(super) fn answering() -> Self {
        Self { setup: "active", certificate: 2, ..Self::offering() }
    }

    /// Its body.
    pub(super) fn body(&self) -> String {
        let credentials = self.generation.to_string();
        let mut attributes = vec![
            "mid:0".to_owned(),
            "rtcp-mux".to_owned(),
            format!("setup:{}", self.setup),
            format!("fingerprint:{}", print(HashFunction::Sha256, self.certificate)),
            format!("ice-ufrag:{}", credentials.repeat(4)),
            format!("ice-pwd:{}", credentials.repeat(24)),
        ];
        attributes.extend(self.tls_id.map(|id| format!("tls-id:{id}")));
        attributes.extend(self.further.iter().cloned());
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        audio("0.0.0.0", 9, "UDP/TLS/RTP/SAVPF", &attributes)
    }

    pub(super) fn signal(&self, from: &str, to: Option<&str>) -> Signal {
        signal(from, to, &self.body())
    }
}

/// The same request towards a plain trunk.
pub(super) fn to_trunk(request: Signal) -> Signal {
    let mut request = towards(request, Protocol::RtpAvp);
    request.ice.mode = IceMode::Remove;
    request
}

/// The same request towards a browser: what `WebRTC` stands for.
pub(super) fn to_browser(request: Signal) -> Signal {
    let mut request = towards(request, Protocol::UdpTlsRtpSavpf);
    request.ice.mode = IceMode::Force;
    request.ice.trickle = true;
    request.rtcp_mux = RtcpMux { offer: true, require: true, ..RtcpMux::default() };
    request.sdes.off = true;
    request.flags.generate_mid = true;
    request.flags.no_rtcp_attribute = true;
    request
}

/// A plain party's body.
pub(super) fn plain(address: &str) -> String {
    audio(address, 5000, "RTP/AVP", &[])
}
