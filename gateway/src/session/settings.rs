//! What the operator decides about calls, as the session needs it (the shell fills it from TOML
//! and the command line).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ng::request::{AddressFamily, EndpointLearning};
use ng::sdp::{Fingerprint, HashFunction};
use srtp::{Profile, Weaknesses};

use crate::webrtc::plan::{CertificateSerial, IceAgent};

use super::ports::InterfaceIndex;

/// Settings of the call state. Replacing them affects later requests only.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Logical interfaces; the first is the default. A reload may append, never reorder: calls
    /// remember places in this list.
    pub interfaces: Vec<Interface>,
    /// The suites offered, in this order.
    pub suites: Vec<Profile>,
    /// What an agreement may lack (`srtp.accept`); a line that lacks more is as if it was not there.
    pub accepted: Weaknesses,
    /// Keys on a line of ours for a party that tells several apart by MKI (`srtp.mki_keys`); 1:
    /// never several. At most 8.
    pub keys_a_line: u8,
    /// Offer so many to anybody (`srtp.offer_mki`).
    pub offer_several_keys: bool,
    /// Whose habits to follow where safety and compatibility differ.
    pub compat: Compat,
    /// How addresses are learned where the request does not say.
    pub learning: EndpointLearning,
    /// Drop packets from elsewhere once learned, where the request does not say.
    pub strict_source: bool,
    /// IP TOS / traffic class where the request does not say; `None` leaves the system's.
    pub tos: Option<u8>,
    /// How long a deleted call lives on, where the request does not say.
    pub delete_delay: Duration,
    /// An answered call without any packet for this long has ended.
    pub timeout: Duration,
    /// The same where every stream is on hold.
    pub silent_timeout: Duration,
    /// An offer without an answer for this long has ended.
    pub offer_timeout: Duration,
    /// Most calls at once; `None` is no limit.
    pub max_sessions: Option<usize>,
    /// DTLS and ICE; `None`: there are no agents for them, so neither is offered nor taken.
    pub webrtc: Option<WebRtc>,
}

/// DTLS-SRTP and ICE, as far as signalling decides them.
#[derive(Clone, Debug)]
pub struct WebRtc {
    /// What new DTLS associations show.
    pub certificate: Arc<Certificate>,
    /// What we are towards a party that uses ICE, where the request does not say.
    pub ice: IceAgent,
    /// Take fingerprints under SHA-1.
    pub accept_sha1: bool,
    /// What `use_srtp` may agree on, in order of preference.
    pub profiles: Arc<[Profile]>,
    /// Agent threads: a call's is its key modulo this; at least 1.
    pub threads: u16,
}

/// A certificate of ours as SDP tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its name towards the agents, who have its key.
    pub serial: CertificateSerial,
    /// Its fingerprint under each hash function that we have; SHA-256 among them.
    pub fingerprints: Vec<Fingerprint>,
}

impl Certificate {
    /// The fingerprint under this hash function.
    pub fn fingerprint(&self, hash: HashFunction) -> Option<&Fingerprint> {
        self.fingerprints.iter().find(|fingerprint| fingerprint.hash() == hash)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            suites: SUITES.to_vec(),
            accepted: Weaknesses::NONE,
            keys_a_line: 2,
            offer_several_keys: false,
            compat: Compat::Secure,
            learning: EndpointLearning::Heuristic,
            strict_source: true,
            tos: None,
            delete_delay: Duration::from_secs(30),
            timeout: Duration::from_secs(60),
            silent_timeout: Duration::from_secs(3600),
            offer_timeout: Duration::from_secs(3600),
            max_sessions: None,
            webrtc: None,
        }
    }
}

impl Settings {
    /// The interface of this name.
    pub fn interface(&self, name: &[u8]) -> Option<InterfaceIndex> {
        let place = self.interfaces.iter().position(|i| i.name.as_bytes() == name)?;
        u16::try_from(place).ok().map(InterfaceIndex)
    }
}

/// A logical interface: a name for `direction`, and where to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name.
    pub name: String,
    /// Its addresses, at least one.
    pub addresses: Vec<LocalAddress>,
}

impl Interface {
    /// Whether it can open ports of this family.
    pub fn has(&self, family: AddressFamily) -> bool {
        self.addresses.iter().any(|a| family_of(a.bind) == family)
    }
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// Where to bind.
    pub bind: IpAddr,
    /// What to tell peers instead (NAT, `name/address!advertised`).
    pub advertised: Option<IpAddr>,
}

/// Whose habits to follow where safety and compatibility differ (`ng.compat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// Ours: strict after learning, short tags last.
    #[default]
    Secure,
    /// The incumbent's, for those who need it.
    Rtpengine,
}

/// The suites that we offer by default: strong ones first, short tags last (phones exist that know
/// nothing else). Whoever has AES_192_CM has AES_256_CM; it is taken when offered.
pub const SUITES: [Profile; 6] = [
    Profile::AeadAes256Gcm,
    Profile::AeadAes128Gcm,
    Profile::AesCm256HmacSha1_80,
    Profile::AesCm128HmacSha1_80,
    Profile::AesCm256HmacSha1_32,
    Profile::AesCm128HmacSha1_32,
];

/// The profiles of DTLS-SRTP (RFC 5764, RFC 7714), the incumbent's four in its order.
pub const DTLS_PROFILES: [Profile; 4] = [
    Profile::AeadAes256Gcm,
    Profile::AeadAes128Gcm,
    Profile::AesCm128HmacSha1_80,
    Profile::AesCm128HmacSha1_32,
];

/// The incumbent's suites in its order.
pub const INCUMBENTS_SUITES: [Profile; 12] = [
    Profile::AeadAes256Gcm,
    Profile::AeadAes128Gcm,
    Profile::AesCm256HmacSha1_80,
    Profile::AesCm256HmacSha1_32,
    Profile::AesCm192HmacSha1_80,
    Profile::AesCm192HmacSha1_32,
    Profile::AesCm128HmacSha1_80,
    Profile::AesCm128HmacSha1_32,
    Profile::F8_128HmacSha1_80,
    Profile::F8_128HmacSha1_32,
    Profile::NullHmacSha1_80,
    Profile::NullHmacSha1_32,
];

/// The family of an address.
pub(crate) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::V4,
        IpAddr::V6(_) => AddressFamily::V6,
    }
}
