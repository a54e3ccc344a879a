//! What libssl calls while a session works: datagrams in and out, the check of the peer's
//! certificate, the choice of a profile, and signatures made elsewhere. Owned by its session; safe
//! code, called by `sys` alone.

use ng::sdp::Fingerprint;

use super::fingerprint;

/// TLS alerts that we choose ourselves (RFC 5246 section 7.2).
pub(crate) const HANDSHAKE_FAILURE: u8 = 40;
pub(crate) const INTERNAL_ERROR: u8 = 80;
const BAD_CERTIFICATE: u8 = 42;

/// Why we refused the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    WrongFingerprint,
    NoCommonProfile,
}

/// A signature asked for with [`Hooks::sign`].
#[derive(Debug)]
pub(crate) enum Signature {
    Awaited,
    Made(Vec<u8>),
    Refused,
}

/// What is to be signed, and how, in TLS's number.
#[derive(Debug)]
pub(crate) struct ToSign {
    pub(crate) algorithm: u16,
    pub(crate) message: Vec<u8>,
}

/// One session's surroundings.
pub(crate) struct Hooks {
    incoming: Vec<u8>,
    unread: bool,
    written: Vec<Vec<u8>>,
    fingerprints: Vec<Fingerprint>,
    /// Protection profiles that we take, as IANA numbers them.
    profiles: Vec<u16>,
    refusal: Option<Refusal>,
    to_sign: Option<ToSign>,
    signature: Option<Signature>,
}

impl Hooks {
    pub(crate) fn new(fingerprints: Vec<Fingerprint>, profiles: Vec<u16>) -> Self {
        Self {
            incoming: Vec::new(),
            unread: false,
            written: Vec::new(),
            fingerprints,
            profiles,
            refusal: None,
            to_sign: None,
            signature: None,
        }
    }

    /// The datagram that the next read finds. What was not read before is lost, as on a network.
    pub(crate) fn feed(&mut self, datagram: &[u8]) {
        self.incoming.clear();
        self.incoming.extend_from_slice(datagram);
        self.unread = true;
    }

    /// What was written since it was last taken, a datagram each.
    pub(crate) fn take_written(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.written)
    }

    pub(crate) fn take_to_sign(&mut self) -> Option<ToSign> {
        self.to_sign.take()
    }

    pub(crate) fn bring(&mut self, signature: Signature) {
        self.signature = Some(signature);
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Gives back what an idle session does not need.
    pub(crate) fn shed(&mut self) {
        self.incoming = Vec::new();
        self.written = Vec::new();
        self.fingerprints = Vec::new();
        self.profiles = Vec::new();
    }
}

// Called by libssl.
impl Hooks {
    pub(crate) fn write(&mut self, datagram: &[u8]) {
        self.written.push(datagram.to_vec());
    }

    /// The datagram fed, once; then nothing.
    pub(crate) fn read(&mut self) -> &[u8] {
        if std::mem::take(&mut self.unread) { &self.incoming } else { &[] }
    }

    /// Judges the peer's certificate; the error is the alert to send. `profile`: one was agreed,
    /// which is known by the time that certificates come.
    pub(crate) fn verify(&mut self, certificate: &[u8], profile: Option<()>) -> Result<(), u8> {
        if profile.is_none() {
            self.refusal = Some(Refusal::NoCommonProfile);
            return Err(HANDSHAKE_FAILURE);
        }
        if !fingerprint::fits_any(certificate, &self.fingerprints) {
            self.refusal = Some(Refusal::WrongFingerprint);
            return Err(BAD_CERTIFICATE);
        }
        Ok(())
    }

    /// Judges the `use_srtp` of a ClientHello (RFC 5764 section 4.1.1), which may be missing.
    pub(crate) fn select(&mut self, use_srtp: Option<&[u8]>) -> Result<(), ()> {
        let offered = use_srtp.and_then(profiles_of).unwrap_or(&[]);
        let known = |profile: &[u8; 2]| self.profiles.contains(&u16::from_be_bytes(*profile));
        if offered.iter().any(known) {
            return Ok(());
        }
        self.refusal = Some(Refusal::NoCommonProfile);
        Err(())
    }

    pub(crate) fn sign(&mut self, algorithm: u16, message: &[u8]) {
        self.to_sign = Some(ToSign { algorithm, message: message.to_vec() });
        self.signature = Some(Signature::Awaited);
    }

    /// How the signature stands; once made or refused, this is told once.
    pub(crate) fn signature(&mut self) -> Signature {
        match self.signature.take() {
            Some(Signature::Awaited) => {
                self.signature = Some(Signature::Awaited);
                Signature::Awaited
            }
            Some(made) => made,
            None => Signature::Refused,
        }
    }
}

/// `SRTPProtectionProfiles SRTPProtectionProfiles<2..2^16-1>; opaque srtp_mki<0..255>`.
fn profiles_of(use_srtp: &[u8]) -> Option<&[[u8; 2]]> {
    let (length, rest) = use_srtp.split_first_chunk::<2>()?;
    let profiles = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    Some(profiles.as_chunks().0)
}
