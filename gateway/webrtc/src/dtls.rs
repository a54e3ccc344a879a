//! DTLS-SRTP (RFC 5763, RFC 5764), sans-IO, over AWS-LC's libssl: DTLS 1.2 in both roles.
//!
//! Datagrams and the time go in; datagrams, keys and the next deadline come out. The flow:
//! 1. [`Association::new`]: a client's ClientHello waits to be sent; a server waits for one.
//! 2. After each [`receive`](Association::receive), [`handle_timeout`](Association::handle_timeout),
//!    [`signed`](Association::signed), [`address_proven`](Association::address_proven) and
//!    [`close`](Association::close): [`poll`](Association::poll) until it gives
//!    [`Output::Timeout`].
//! 3. [`Output::Secured`] brings the keys. The association stays, small and without a timer: it
//!    answers a repeated Finished and takes a close_notify.
//! 4. [`Output::Failed`] or [`Output::Closed`] is its last event; what it holds is given back.
//!
//! What is not here: which datagrams are DTLS (RFC 7983), from whom they may come, and how many
//! handshakes there may be. No HelloVerifyRequest is sent: amplification is bounded by
//! `outbox` instead. No DTLS 1.0, no 1.3, no renegotiation, no resumption.

mod association;
pub(crate) mod fingerprint;
mod hooks;
mod keys;
mod outbox;
pub(crate) mod sys;

use std::fmt;
use std::time::{Duration, Instant};

use srtp::Profile;

pub use self::association::{Association, Unusable};
pub use self::keys::SrtpKeys;
use crate::identity::SignatureAlgorithm;

/// Our side of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We send the ClientHello.
    Client,
    /// The peer does.
    Server,
}

/// How associations behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsSettings {
    /// Most bytes of UDP payload in a datagram; at least [`MIN_MTU`].
    pub mtu: usize,
    /// The first retransmission; doubles each time, up to 60 s (RFC 6347 section 4.2.4.1). That
    /// section's 1 s is a SHOULD for want of knowing the path, and holds up a call for a second for
    /// each flight that is lost; browsers begin at 50 ms. 400 ms is beyond any round trip that one
    /// can talk over (ITU-T G.114), so a repetition means loss, not delay.
    pub retransmit_after: Duration,
    /// Bound on the whole handshake: of a client from its start, of a server from the first
    /// datagram on.
    pub handshake_timeout: Duration,
    /// Fingerprints under SHA-1 count.
    pub accept_sha1: bool,
}

impl Default for DtlsSettings {
    fn default() -> Self {
        Self {
            mtu: 1200,
            retransmit_after: Duration::from_millis(400),
            handshake_timeout: Duration::from_secs(30),
            accept_sha1: false,
        }
    }
}

/// Least [`DtlsSettings::mtu`]: what libssl works with.
pub const MIN_MTU: usize = 256 - 28;

/// What an association wants, or came to.
#[derive(Debug)]
pub enum Output<'a> {
    /// Send this datagram to the peer.
    Transmit(&'a [u8]),
    /// Let the key that is elsewhere sign this, and bring it by
    /// [`signed`](Association::signed).
    Sign(SignRequest),
    /// The handshake is done: the SRTP profile agreed and its keys.
    Secured {
        /// The profile.
        profile: Profile,
        /// Both sides' keys.
        keys: SrtpKeys,
    },
    /// The association is over: it came to nothing, or the peer broke it off.
    Failed(Failure),
    /// The association is over: the peer closed it.
    Closed,
    /// Nothing else for now: call [`handle_timeout`](Association::handle_timeout) then, if ever.
    Timeout(Option<Instant>),
}

/// What an outside key shall sign.
#[derive(Clone, PartialEq, Eq)]
pub struct SignRequest {
    /// How.
    pub algorithm: SignatureAlgorithm,
    /// What: not hashed yet.
    pub message: Vec<u8>,
}

impl fmt::Debug for SignRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SignRequest({:?}, {} bytes)", self.algorithm, self.message.len())
    }
}

/// Why an association is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The peer's certificate is not the one that signalling named. We sent bad_certificate.
    #[error("the peer's certificate fits none of the signalled fingerprints")]
    WrongFingerprint,
    /// The peer, as client, has no certificate. We sent handshake_failure.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// No SRTP profile in common, or no `use_srtp` at all. We sent handshake_failure.
    #[error("no SRTP profile in common")]
    NoCommonProfile,
    /// A message, which can only be a certificate, of more than 16 KiB. We sent illegal_parameter.
    #[error("the peer's certificate is too large")]
    CertificateTooLarge,
    /// The handshake did not end within its bound.
    #[error("the DTLS handshake took too long")]
    TimedOut,
    /// The peer sent this fatal alert (RFC 5246 section 7.2).
    #[error("the peer sent the TLS alert {0}")]
    Alert(u8),
    /// The key elsewhere did not sign. We sent internal_error.
    #[error("the private key did not sign")]
    NotSigned,
    /// Something else that TLS does not allow, in libssl's words.
    #[error("DTLS: {0}")]
    Protocol(&'static str),
}
