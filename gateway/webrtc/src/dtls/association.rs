//! One DTLS association with one peer, from the first ClientHello to close_notify.
//!
//! States: *awaiting* (a server before its first datagram: no bound runs), *handshaking* (a timer
//! and a bound), *secured* (neither), *over* (nothing is held but what has to be sent yet). libssl's
//! session does the protocol; time, budget and what an error means are here.

use std::ffi::CString;
use std::time::{Duration, Instant};

use ng::sdp::{Fingerprint, HashFunction};
use srtp::Profile;

use super::fingerprint::strongest;
use super::hooks::{HANDSHAKE_FAILURE, Hooks, INTERNAL_ERROR, Refusal, Signature};
use super::keys::SrtpKeys;
use super::outbox::{Address, Outbox};
use super::sys::{End, ErrorKind, LibraryError, Session, Step};
use super::{DtlsSettings, Failure, MIN_MTU, Output, Role, SignRequest};
use crate::identity::{Identity, SignatureAlgorithm};
use crate::protection_profile;

/// One side of a DTLS association.
pub struct Association {
    /// `None` once libssl has nothing more to say.
    session: Option<Session>,
    state: State,
    role: Role,
    profiles: Vec<Profile>,
    outbox: Outbox,
    to_sign: Option<SignRequest>,
    secured: Option<(Profile, SrtpKeys)>,
    ending: Option<Ending>,
    /// An hour before the start: libssl's clock is a `timeval` for which zero means "none".
    epoch: Instant,
    retransmit_at: Option<Instant>,
    bound: Option<Instant>,
    handshake_timeout: Duration,
}

/// Why no association can be made with these fingerprints and profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No fingerprint is given, or none but SHA-1's, which settings do not accept.
    #[error("no fingerprint under a hash function that is accepted")]
    Fingerprints,
    /// No profile is given that DTLS-SRTP has.
    #[error("no SRTP profile that DTLS-SRTP has")]
    Profiles,
    /// libssl gave up, for want of memory.
    #[error("cannot set up DTLS")]
    Library,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Awaiting,
    Handshaking,
    Secured,
    Over,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Failed(Failure),
    Closed,
}

impl Association {
    /// A fresh association. The peer's certificate must fit one of `fingerprints`, of those the ones
    /// with the strongest hash function (RFC 8122 section 5); `profiles` in order of preference,
    /// those without a DTLS-SRTP number are left out. A client's handshake begins now.
    pub fn new(
        identity: &Identity,
        settings: &DtlsSettings,
        role: Role,
        fingerprints: &[Fingerprint],
        profiles: &[Profile],
        now: Instant,
    ) -> Result<Self, Unusable> {
        let accepted =
            |one: &&Fingerprint| settings.accept_sha1 || one.hash() != HashFunction::Sha1;
        let accepted: Vec<_> = fingerprints.iter().filter(accepted).cloned().collect();
        if accepted.is_empty() {
            return Err(Unusable::Fingerprints);
        }
        let profiles: Vec<_> =
            profiles.iter().copied().filter(|one| protection_profile(*one).is_some()).collect();
        if profiles.is_empty() {
            return Err(Unusable::Profiles);
        }
        let numbers = profiles.iter().copied().filter_map(protection_profile).collect();
        let session = Session::new(
            identity.context(),
            match role {
                Role::Client => End::Client,
                Role::Server => End::Server,
            },
            &libssl_names(&profiles),
            u32::try_from(settings.mtu.max(MIN_MTU)).unwrap_or(u32::MAX),
            u32::try_from(settings.retransmit_after.as_millis()).unwrap_or(u32::MAX).max(1),
            Box::new(Hooks::new(strongest(&accepted), numbers)),
        );
        let mut association = Self {
            session: Some(session.ok_or(Unusable::Library)?),
            state: State::Awaiting,
            role,
            profiles,
            // What a client sends unasked is its ClientHello alone, to the address that signalling
            // or ICE gave; its next flight answers a signature over its random.
            outbox: Outbox::new(match role {
                Role::Client => Address::Proven,
                Role::Server => Address::Unproven,
            }),
            to_sign: None,
            secured: None,
            ending: None,
            epoch: now,
            retransmit_at: None,
            bound: None,
            handshake_timeout: settings.handshake_timeout,
        };
        if role == Role::Client {
            association.begin(now);
            association.shake_hands(now);
        }
        Ok(association)
    }

    /// A datagram from the peer's address. What is no DTLS, or does not belong, is ignored.
    pub fn receive(&mut self, datagram: &[u8], now: Instant) {
        self.outbox.received(datagram.len());
        // An empty one would be the end of the stream to libssl.
        let Some(session) = self.session.as_mut().filter(|_| !datagram.is_empty()) else { return };
        session.hooks().feed(datagram);
        match self.state {
            State::Awaiting => {
                self.begin(now);
                self.shake_hands(now);
            }
            State::Handshaking => self.shake_hands(now),
            State::Secured => self.read(now),
            State::Over => {}
        }
    }

    /// The time of [`Output::Timeout`] has come; too early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state != State::Handshaking {
            return;
        }
        if self.bound.is_some_and(|bound| bound <= now) {
            return self.fail(Failure::TimedOut);
        }
        let clock = self.clock(now);
        let Some(session) = &mut self.session else { return };
        let step = session.handle_timeout(clock);
        let written = session.hooks().take_written();
        // A flight that could not leave yet is not sent a second time before the first.
        if !self.outbox.is_held() {
            self.outbox.push(written);
        }
        match step {
            Step::Failed(error) => self.fail(failure(error)),
            _ => self.note_timer(now),
        }
    }

    /// The answer to [`Output::Sign`]; `None`: there is none.
    pub fn signed(&mut self, signature: Option<Vec<u8>>, now: Instant) {
        let Some(session) = self.session.as_mut() else { return };
        if self.state == State::Handshaking {
            session.hooks().bring(signature.map_or(Signature::Refused, Signature::Made));
            self.shake_hands(now);
        }
    }

    /// What is sent to the peer's address is known to reach the peer: ICE's check succeeded there.
    /// A finished handshake proves it too.
    pub fn address_proven(&mut self) {
        self.outbox.prove();
    }

    /// Ends the association; a secured one with close_notify. [`poll`](Self::poll) until that is
    /// sent. There is no event for it.
    pub fn close(&mut self, now: Instant) {
        let clock = self.clock(now);
        if self.state == State::Secured
            && let Some(session) = &mut self.session
        {
            session.shut_down(clock);
            self.collect();
        }
        self.secured = None;
        self.ending = None;
        self.finish();
    }

    /// What to do next; call until it is [`Output::Timeout`].
    pub fn poll(&mut self) -> Output<'_> {
        if let Some(request) = self.to_sign.take() {
            return Output::Sign(request);
        }
        if let Some((profile, keys)) = self.secured.take() {
            return Output::Secured { profile, keys };
        }
        if self.outbox.may_leave() {
            return Output::Transmit(self.outbox.next().unwrap_or_default());
        }
        match self.ending.take() {
            Some(Ending::Failed(failure)) => Output::Failed(failure),
            Some(Ending::Closed) => Output::Closed,
            None => {
                self.outbox.shed();
                Output::Timeout(self.bound.into_iter().chain(self.retransmit_at).min())
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        self.state = State::Handshaking;
        self.bound = now.checked_add(self.handshake_timeout);
    }

    fn shake_hands(&mut self, now: Instant) {
        let clock = self.clock(now);
        let Some(session) = &mut self.session else { return };
        let step = session.handshake(clock);
        if let Some(asked) = session.hooks().take_to_sign() {
            self.to_sign = SignatureAlgorithm::from_scheme(asked.algorithm)
                .map(|algorithm| SignRequest { algorithm, message: asked.message });
        }
        // The one failure that libssl tells nobody of.
        if matches!(step, Step::Failed(error) if error.kind() == ErrorKind::NotSigned) {
            session.send_alert(clock, INTERNAL_ERROR);
        }
        self.collect();
        match step {
            Step::Done => self.secure(now),
            Step::WantDatagram | Step::WantSignature => self.note_timer(now),
            Step::Closed => self.fail(Failure::Alert(CLOSE_NOTIFY)),
            Step::Failed(error) => {
                let refusal = self.refusal();
                self.fail(refusal.unwrap_or_else(|| failure(error)));
            }
        }
    }

    fn secure(&mut self, now: Instant) {
        let role = self.role;
        let clock = self.clock(now);
        let Some(session) = &mut self.session else { return };
        let number = session.protection_profile();
        let mut mine = self.profiles.iter().copied();
        let agreed = mine.find(|one| number.is_some() && protection_profile(*one) == number);
        let keys = agreed.and_then(|profile| SrtpKeys::export(session, profile, role));
        let Some((profile, keys)) = agreed.zip(keys) else {
            session.send_alert(clock, HANDSHAKE_FAILURE);
            self.collect();
            return self.fail(Failure::NoCommonProfile);
        };
        self.outbox.prove();
        self.secured = Some((profile, keys));
        self.state = State::Secured;
        self.bound = None;
        self.retransmit_at = None;
        self.profiles = Vec::new();
        // The last datagram may hold more than the handshake.
        self.read(now);
    }

    /// Of a secured association: a repeated Finished is answered, an end is noted, and application
    /// data, which nobody agreed to, is thrown away.
    fn read(&mut self, now: Instant) {
        let clock = self.clock(now);
        let Some(session) = &mut self.session else { return };
        let mut room = [0; 2048];
        let step = loop {
            let step = session.read(clock, &mut room);
            if step != Step::Done {
                break step;
            }
        };
        if step == Step::Closed {
            session.shut_down(clock);
        }
        self.collect();
        match step {
            Step::Closed => {
                self.ending = Some(Ending::Closed);
                self.finish();
            }
            Step::Failed(error) => match error.kind() {
                // Finished came too often: the peer does not hear us, or plays. The keys are good.
                ErrorKind::TooManyTimeouts => self.session = None,
                _ => self.fail(failure(error)),
            },
            _ => {
                if let Some(session) = &mut self.session {
                    session.hooks().shed();
                }
            }
        }
    }

    fn refusal(&mut self) -> Option<Failure> {
        Some(match self.session.as_mut()?.hooks().refusal()? {
            Refusal::WrongFingerprint => Failure::WrongFingerprint,
            Refusal::NoCommonProfile => Failure::NoCommonProfile,
        })
    }

    fn fail(&mut self, failure: Failure) {
        self.outbox.keep_alerts();
        self.ending = Some(Ending::Failed(failure));
        self.finish();
    }

    fn finish(&mut self) {
        self.state = State::Over;
        self.session = None;
        self.to_sign = None;
        self.bound = None;
        self.retransmit_at = None;
    }

    /// Takes what libssl wrote.
    fn collect(&mut self) {
        if let Some(session) = &mut self.session {
            self.outbox.push(session.hooks().take_written());
        }
    }

    fn note_timer(&mut self, now: Instant) {
        let clock = self.clock(now);
        let left = self.session.as_mut().and_then(|session| session.timeout_in(clock));
        self.retransmit_at = left.and_then(|left| now.checked_add(left));
    }

    fn clock(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch) + LIBSSL_START
    }
}

/// libssl's time at the start: its clock is a `timeval` for which zero means "no timer".
const LIBSSL_START: Duration = Duration::from_secs(1);

/// As an alert of a peer that ends the handshake.
const CLOSE_NOTIFY: u8 = 0;

fn failure(error: LibraryError) -> Failure {
    match error.kind() {
        ErrorKind::Alert(alert) => Failure::Alert(alert),
        ErrorKind::MessageTooLong => Failure::CertificateTooLarge,
        ErrorKind::NoCertificate => Failure::NoCertificate,
        ErrorKind::TooManyTimeouts => Failure::TimedOut,
        ErrorKind::NotSigned => Failure::NotSigned,
        ErrorKind::Other => Failure::Protocol(error.name()),
    }
}

/// As `SSL_set_srtp_profiles` wants them.
fn libssl_names(profiles: &[Profile]) -> CString {
    let name = |profile: &Profile| match profile {
        Profile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        Profile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
        Profile::AesCm128HmacSha1_80 => "SRTP_AES128_CM_SHA1_80",
        Profile::AesCm128HmacSha1_32 => "SRTP_AES128_CM_SHA1_32",
        _ => "",
    };
    let names: Vec<_> = profiles.iter().map(name).filter(|name| !name.is_empty()).collect();
    CString::new(names.join(":")).unwrap_or_default()
}
