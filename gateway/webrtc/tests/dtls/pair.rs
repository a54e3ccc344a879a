//! Two associations back to back, in virtual time, over a network without loss.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use ng::sdp::{Fingerprint, HashFunction};
use srtp::Profile;
use webrtc::dtls::{Association, DtlsSettings, Failure, Output, Role, SignRequest, SrtpKeys};
use webrtc::identity::Identity;

/// What one side came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) secured: Option<(Profile, SrtpKeys)>,
    pub(crate) failed: Option<Failure>,
    pub(crate) closed: bool,
    pub(crate) to_sign: Option<SignRequest>,
    /// Datagrams that this side sent.
    pub(crate) sent: Vec<Vec<u8>>,
    /// The last deadline it named.
    pub(crate) timeout: Option<Instant>,
}

impl Outcome {
    pub(crate) fn profile(&self) -> Option<Profile> {
        self.secured.as_ref().map(|(profile, _)| *profile)
    }

    pub(crate) fn keys(&self) -> &SrtpKeys {
        &self.secured.as_ref().unwrap().1
    }
}

/// One side and its outcome so far.
pub(crate) struct Side {
    pub(crate) association: Association,
    pub(crate) outcome: Outcome,
}

impl Side {
    pub(crate) fn new(association: Association) -> Self {
        Self { association, outcome: Outcome::default() }
    }

    /// Polls until there is nothing more; gives what is to be sent.
    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        loop {
            match self.association.poll() {
                Output::Transmit(datagram) => datagrams.push(datagram.to_vec()),
                Output::Sign(request) => self.outcome.to_sign = Some(request),
                Output::Secured { profile, keys } => self.outcome.secured = Some((profile, keys)),
                Output::Failed(failure) => self.outcome.failed = Some(failure),
                Output::Closed => self.outcome.closed = true,
                Output::Timeout(at) => {
                    self.outcome.timeout = at;
                    self.outcome.sent.extend(datagrams.iter().cloned());
                    return datagrams;
                }
            }
        }
    }
}

/// A client and a server.
pub(crate) struct Pair {
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) now: Instant,
}

impl Pair {
    pub(crate) fn new(client: Association, server: Association, now: Instant) -> Self {
        Self { client: Side::new(client), server: Side::new(server), now }
    }

    /// Both with their own certificate and the other's fingerprint, and these profiles.
    pub(crate) fn with_profiles(client: &[Profile], server: &[Profile]) -> Self {
        let settings = DtlsSettings::default();
        Self::between(&identity(0), &identity(1), &settings, client, server)
    }

    /// Of these identities, each given the other's fingerprint. The server knows that the client's
    /// address is the client's.
    pub(crate) fn between(
        client: &Identity,
        server: &Identity,
        settings: &DtlsSettings,
        client_profiles: &[Profile],
        server_profiles: &[Profile],
    ) -> Self {
        let now = Instant::now();
        let (of_client, of_server) = ([sha256(client)], [sha256(server)]);
        let mut pair = Self::new(
            Association::new(client, settings, Role::Client, &of_server, client_profiles, now)
                .unwrap(),
            Association::new(server, settings, Role::Server, &of_client, server_profiles, now)
                .unwrap(),
            now,
        );
        pair.server.association.address_proven();
        pair
    }

    /// Identity 0 calls identity 1, whose address it is to prove; each takes these certificates.
    pub(crate) fn expecting(
        settings: &DtlsSettings,
        of_server: &[Fingerprint],
        of_client: &[Fingerprint],
    ) -> Self {
        let now = Instant::now();
        let new = |own: usize, role, of_other: &[Fingerprint]| {
            Association::new(&identity(own), settings, role, of_other, &Profile::COMMON, now)
        };
        let client = new(0, Role::Client, of_server).unwrap();
        Self::new(client, new(1, Role::Server, of_client).unwrap(), now)
    }

    /// Both with what is usual.
    pub(crate) fn usual() -> Self {
        Self::with_profiles(&Profile::COMMON, &Profile::COMMON)
    }

    /// Both secured, with the same keys.
    pub(crate) fn assert_secured(&self) {
        let (client, server) = (&self.client.outcome, &self.server.outcome);
        assert!(client.secured.is_some(), "client: {client:?}");
        assert_eq!(client.profile(), server.profile());
        assert_eq!(client.keys().send, server.keys().receive);
        assert_eq!(client.keys().receive, server.keys().send);
    }

    /// Carries datagrams both ways until nobody has any.
    pub(crate) fn run(&mut self) {
        let mut to_server: VecDeque<_> = self.client.drain().into();
        let mut to_client: VecDeque<_> = self.server.drain().into();
        while !to_server.is_empty() || !to_client.is_empty() {
            if let Some(datagram) = to_server.pop_front() {
                self.server.association.receive(&datagram, self.now);
                to_client.extend(self.server.drain());
            }
            if let Some(datagram) = to_client.pop_front() {
                self.client.association.receive(&datagram, self.now);
                to_server.extend(self.client.drain());
            }
        }
    }

    /// As [`Self::run`], and lets time pass to the next deadline until nobody has one.
    pub(crate) fn run_out(&mut self) {
        loop {
            self.run();
            let next = self.client.outcome.timeout.into_iter().chain(self.server.outcome.timeout);
            let Some(next) = next.min() else { return };
            self.now = next.max(self.now);
            self.client.association.handle_timeout(self.now);
            self.server.association.handle_timeout(self.now);
        }
    }
}

/// One of two generated identities, made once.
pub(crate) fn identity(which: usize) -> Identity {
    static IDENTITIES: OnceLock<[Identity; 2]> = OnceLock::new();
    let make = || Identity::generate(SystemTime::now(), Duration::from_hours(48)).unwrap();
    IDENTITIES.get_or_init(|| [make(), make()])[which].clone()
}

pub(crate) fn sha256(identity: &Identity) -> Fingerprint {
    identity.fingerprint(HashFunction::Sha256)
}
