//! The server's side: which certificate a client gets, and rustls's configuration for it.
//!
//! There is one configuration for each certificate, and one more where TLS 1.2 is preferred for
//! a device's sake. All of a listener's share its verifier, its tickets and its sessions; a ticket
//! is bound to the listener and its trust, so neither helps anywhere else.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CipherSuite, ServerConfig, SignatureAlgorithm, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};

use super::Common;
use super::fault::IdentityFault;
use super::names::NameMap;
use super::pair::{Pair, Signing};
use super::provider::{SUITES, limited_to};
use super::sessions::BoundedSessions;
use super::time::Seconds;
use super::trust::Trust;
use crate::settings::{ClientAuthentication, ListenerSettings, UnknownName, Versions};

/// What a client offers, of its ClientHello.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a> {
    /// The name it asks for (RFC 6066 section 3).
    pub(crate) server_name: Option<&'a str>,
    /// How we may sign.
    pub(crate) signature_schemes: &'a [SignatureScheme],
    /// Its cipher suites.
    pub(crate) cipher_suites: &'a [CipherSuite],
    /// Its versions.
    pub(crate) versions: Versions,
}

/// Why a client gets no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No certificate is for the name, and others are not shown.
    #[error("the client asked for {0:?}, which no certificate is for")]
    UnknownName(String),
    /// The listener originates TLS.
    #[error("the listener is no TLS server")]
    NotAServer,
}

impl Refusal {
    /// What the client is told.
    pub fn alert(&self) -> AlertDescription {
        match self {
            // RFC 6066 section 3.
            Self::UnknownName(_) => AlertDescription::UnrecognisedName,
            Self::NotAServer => AlertDescription::InternalError,
        }
    }

    /// What it is counted as.
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnknownName(_) => "unknown_name",
            Self::NotAServer => "internal",
        }
    }
}

/// Everything that clients of a listener may get.
#[derive(Debug)]
pub(crate) struct Server {
    names: NameMap,
    unknown_name: UnknownName,
    versions: Versions,
    /// Suites that a device takes; empty where that is not preferred.
    device_suites: Vec<CipherSuite>,
    /// By place of their pair.
    configs: Vec<Configs>,
}

/// The configurations for one certificate.
#[derive(Debug)]
struct Configs {
    all: Arc<ServerConfig>,
    /// TLS 1.2 with the suites that a device takes.
    device: Option<Arc<ServerConfig>>,
}

impl Server {
    pub(crate) fn new(
        listener: &ListenerSettings,
        common: &Common,
        pairs: &[Arc<Pair>],
        trust: Option<&Trust>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, IdentityFault> {
        if pairs.is_empty() {
            return Err(IdentityFault::NoCertificate);
        }
        let settings = &listener.identity;
        let mut names = NameMap::default();
        for (place, pair) in pairs.iter().enumerate() {
            names.insert(&pair.names, place);
        }
        let parts = Parts::new(listener, common, trust, provider)?;
        let versions = settings.versions;
        let device_suites = if versions.tls12 { common.device_suites.clone() } else { Vec::new() };
        let configs: Result<Vec<_>, _> =
            pairs.iter().map(|pair| parts.configs(pair, versions, &device_suites)).collect();
        Ok(Self {
            names,
            unknown_name: settings.unknown_name,
            versions,
            device_suites,
            configs: configs?,
        })
    }

    /// The first certificate for the name that the client can use. Where it can use none of them,
    /// the first: rustls then says what is missing.
    pub(crate) fn choose(
        &self,
        pairs: &[Arc<Pair>],
        offer: &Offer<'_>,
    ) -> Result<(Arc<ServerConfig>, Signing), Refusal> {
        let named: Vec<usize> =
            offer.server_name.map(|name| self.names.find(name).collect()).unwrap_or_default();
        let candidates = match (offer.server_name, self.unknown_name) {
            (Some(name), UnknownName::Refuse) if named.is_empty() => {
                return Err(Refusal::UnknownName(name.to_owned()));
            }
            _ if named.is_empty() => (0..pairs.len()).collect(),
            _ => named,
        };
        let fits = |place: &&usize| {
            pairs.get(**place).is_some_and(|pair| self.can_use(offer, &pair.certified))
        };
        let place = candidates.iter().find(fits).or(candidates.first()).copied().unwrap_or(0);
        let (Some(pair), Some(configs)) = (pairs.get(place), self.configs.get(place)) else {
            return Err(Refusal::NotAServer);
        };
        let device = configs.device.as_ref().filter(|_| self.takes_device(offer, &pair.certified));
        Ok((Arc::clone(device.unwrap_or(&configs.all)), pair.signing))
    }

    /// In TLS 1.3 a signature scheme is enough, in TLS 1.2 a suite must go with the key, too.
    fn can_use(&self, offer: &Offer<'_>, certified: &CertifiedKey) -> bool {
        let algorithm = certified.key.algorithm();
        let fits = |suite: &&SupportedCipherSuite| match suite {
            SupportedCipherSuite::Tls13(_) => self.versions.tls13 && offer.versions.tls13,
            SupportedCipherSuite::Tls12(_) => {
                self.versions.tls12
                    && offer.versions.tls12
                    && suite.usable_for_signature_algorithm(algorithm)
            }
        };
        let offered = |suite: &&SupportedCipherSuite| offer.cipher_suites.contains(&suite.suite());
        certified.key.choose_scheme(offer.signature_schemes).is_some()
            && SUITES.iter().filter(offered).any(|suite| fits(&suite))
    }

    fn takes_device(&self, offer: &Offer<'_>, certified: &CertifiedKey) -> bool {
        let algorithm = certified.key.algorithm();
        let shared = |suite: &&SupportedCipherSuite| {
            let suite_name = suite.suite();
            self.device_suites.contains(&suite_name)
                && offer.cipher_suites.contains(&suite_name)
                && goes_with(suite, algorithm)
        };
        offer.versions.tls12 && SUITES.iter().any(|suite| shared(&suite))
    }
}

fn goes_with(suite: &SupportedCipherSuite, algorithm: SignatureAlgorithm) -> bool {
    matches!(suite, SupportedCipherSuite::Tls12(_))
        && suite.usable_for_signature_algorithm(algorithm)
}

/// What all configurations of a listener share.
struct Parts<'a> {
    provider: &'a Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    alpn: Vec<Vec<u8>>,
}

impl<'a> Parts<'a> {
    fn new(
        listener: &ListenerSettings,
        common: &Common,
        trust: Option<&Trust>,
        provider: &'a Arc<CryptoProvider>,
    ) -> Result<Self, IdentityFault> {
        let authentication = listener.identity.client_authentication;
        let verifier = match (authentication, trust) {
            (ClientAuthentication::None, _) => WebPkiClientVerifier::no_client_auth(),
            (_, None) => return Err(IdentityFault::NoAuthority),
            (_, Some(trust)) => trust.client_verifier(authentication, Arc::clone(provider))?,
        };
        Ok(Self {
            provider,
            verifier,
            ticketer: common.tickets.ticketer(binding(listener, trust)),
            sessions: BoundedSessions::new(),
            alpn: protocols(&listener.identity.alpn)?,
        })
    }

    fn configs(
        &self,
        pair: &Pair,
        allowed: Versions,
        device_suites: &[CipherSuite],
    ) -> Result<Configs, IdentityFault> {
        let algorithm = pair.certified.key.algorithm();
        let limited = limited_to(device_suites);
        let has_one = limited.cipher_suites.iter().any(|suite| goes_with(suite, algorithm));
        let only12 = Versions { tls12: true, tls13: false };
        let device = has_one.then(|| self.config(pair, &limited, only12)).transpose()?;
        Ok(Configs { all: self.config(pair, self.provider, allowed)?, device })
    }

    fn config(
        &self,
        pair: &Pair,
        provider: &Arc<CryptoProvider>,
        allowed: Versions,
    ) -> Result<Arc<ServerConfig>, IdentityFault> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&versions(allowed))?
            .with_client_cert_verifier(Arc::clone(&self.verifier))
            .with_cert_resolver(Arc::new(Shown::new(pair)));
        config.alpn_protocols.clone_from(&self.alpn);
        config.ticketer = Arc::clone(&self.ticketer);
        config.session_storage = Arc::clone(&self.sessions);
        config.send_tls13_tickets = TICKETS;
        // The provider's order puts AES-GCM first, which kernels and NICs take more often.
        config.ignore_client_order = true;
        config.enable_secret_extraction = true;
        Ok(Arc::new(config))
    }
}

/// The certificate was chosen before the configuration was. What is left is whether its OCSP answer
/// still holds.
#[derive(Debug)]
struct Shown {
    bare: Arc<CertifiedKey>,
    stapled: Option<(Arc<CertifiedKey>, Seconds)>,
}

impl Shown {
    fn new(pair: &Pair) -> Self {
        let stapled = pair.staple.as_ref().map(|staple| {
            let mut certified = CertifiedKey::clone(&pair.certified);
            certified.ocsp = Some(staple.der.clone());
            (Arc::new(certified), staple.until)
        });
        Self { bare: Arc::clone(&pair.certified), stapled }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let holds = |(_, until): &&(_, Seconds)| Seconds::now() < *until;
        let stapled = self.stapled.as_ref().filter(holds).map(|(certified, _)| certified);
        Some(Arc::clone(stapled.unwrap_or(&self.bare)))
    }
}

/// What a listener's tickets are bound to: its name, whether it asks clients, and whom it believes.
fn binding(listener: &ListenerSettings, trust: Option<&Trust>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"postern tickets 1\0");
    context.update(&(listener.name.len() as u64).to_be_bytes());
    context.update(listener.name.as_bytes());
    context.update(match listener.identity.client_authentication {
        ClientAuthentication::None => b"n",
        ClientAuthentication::Optional => b"o",
        ClientAuthentication::Required => b"r",
    });
    if let Some(trust) = trust {
        trust.digest_into(&mut context);
    }
    let mut binding = [0; 32];
    binding.copy_from_slice(context.finish().as_ref());
    binding
}

/// rustls's names for the versions that are allowed.
pub(crate) fn versions(allowed: Versions) -> Vec<&'static SupportedProtocolVersion> {
    let tls13 = allowed.tls13.then_some(&rustls::version::TLS13);
    let tls12 = allowed.tls12.then_some(&rustls::version::TLS12);
    tls13.into_iter().chain(tls12).collect()
}

/// RFC 7301 section 3.1: names of 1 to 255 bytes.
pub(crate) fn protocols(names: &[String]) -> Result<Vec<Vec<u8>>, IdentityFault> {
    let checked = |name: &String| match name.len() {
        1..=255 => Ok(name.clone().into_bytes()),
        _ => Err(IdentityFault::Protocol { name: name.clone() }),
    };
    names.iter().map(checked).collect()
}

/// TLS 1.3 tickets after a handshake. A client of SIP has one connection and needs one to come back;
/// each further one is 250 bytes and a seal that nobody asked for.
const TICKETS: usize = 1;
