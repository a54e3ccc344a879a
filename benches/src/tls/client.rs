//! How the load's TLS client is configured, so that the terminator is what is measured.
//!
//! It offers TLS 1.3 with X25519 alone and one cipher suite, so that all terminators do the same
//! work. It does its own share cheaply: it takes any certificate without verifying, and keeps one
//! X25519 key for all connections (half of its key exchange; the terminator cannot tell, and a
//! load has nothing to hide).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use aws_lc_rs::agreement::{PrivateKey, PublicKey, UnparsedPublicKey, X25519, agree};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue};
use rustls::client::{Tls12Resumption, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, SignatureScheme};
use serde::Serialize;

/// A cipher suite of TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Suite {
    /// TLS_AES_128_GCM_SHA256.
    #[serde(rename = "AES-128-GCM")]
    Aes128Gcm,
    /// TLS_AES_256_GCM_SHA384.
    #[serde(rename = "AES-256-GCM")]
    Aes256Gcm,
}

impl Suite {
    /// Those that are measured.
    pub const ALL: [Self; 2] = [Self::Aes128Gcm, Self::Aes256Gcm];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
        }
    }
}

/// A configuration for `suite`, whose connections begin with a ticket of `tickets`
/// where it has any, and leave theirs there.
pub fn configuration(suite: Suite, tickets: &Arc<Tickets>) -> Result<Arc<ClientConfig>> {
    let suite = match suite {
        Suite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
    };
    let provider = CryptoProvider {
        cipher_suites: vec![suite],
        kx_groups: vec![&OneKey],
        ..default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAny))
        .with_no_client_auth();
    config.resumption =
        Resumption::store(Arc::clone(tickets) as _).tls12_resumption(Tls12Resumption::Disabled);
    Ok(Arc::new(config))
}

/// Tickets of one terminator, oldest first, each to be used once (RFC 8446, appendix C.4).
#[derive(Debug)]
pub struct Tickets {
    kept: Mutex<VecDeque<Tls13ClientSessionValue>>,
    room: usize,
    received: AtomicU64,
}

impl Tickets {
    /// Tickets to resume with.
    pub fn kept() -> Arc<Self> {
        Self::with_room(ROOM)
    }

    /// Tickets that are counted and thrown away: every handshake is a full one.
    pub fn counted() -> Arc<Self> {
        Self::with_room(0)
    }

    fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), room, received: AtomicU64::new(0) })
    }

    /// How many came so far, kept or not.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Tls13ClientSessionValue>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        Some(NamedGroup::X25519)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.received.fetch_add(1, Ordering::Relaxed);
        let mut tickets = self.queue();
        if tickets.len() < self.room {
            tickets.push_back(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.queue().pop_front()
    }
}

/// X25519 with the same key every time.
#[derive(Debug)]
struct OneKey;

/// `None` where the random source failed.
static KEY: LazyLock<Option<(PrivateKey, PublicKey)>> = LazyLock::new(|| {
    let private = PrivateKey::generate(&X25519).ok()?;
    let public = private.compute_public_key().ok()?;
    Some((private, public))
});

fn key() -> Result<&'static (PrivateKey, PublicKey), Error> {
    KEY.as_ref().ok_or(Error::FailedToGetRandomBytes)
}

impl SupportedKxGroup for OneKey {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let (private, public) = key()?;
        Ok(Box::new(Exchange { private, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    private: &'static PrivateKey,
    public: &'static PublicKey,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        let fault = Error::General("the server's key share is no X25519 key".into());
        agree(self.private, peer, fault, |secret| Ok(SharedSecret::from(secret)))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// Takes any certificate: whether it is right is not what is measured.
#[derive(Debug)]
struct TakesAny;

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Enough for any number of connections in flight.
const ROOM: usize = 4096;
