//! DTLS-SRTP of a leg as signalling has it (RFC 5763, RFC 8842): what we show of ourselves, which
//! role an offer or answer leaves us, and what makes a new association.
//!
//! No handshake and no key here: the agents have those. A party's fingerprints are weighed when
//! read ([`PeerDtls::usable`]), so whatever is in force has one that counts. An [`Association`]
//! belongs to its stream, [`OwnDtls`] also to the offer that showed it.
//!
//! A new association has a higher epoch. It takes another fingerprint, another tls-id or one that
//! is gone, an ICE restart of a party that has no tls-id (these three are the incumbent's rules), a
//! role that cannot be kept, or a tls-id of ours that is new.

use std::sync::Arc;

use ng::sdp::{self, DtlsDescription, Fingerprint, HashFunction, Setup};
use ring::rand::SystemRandom;
use srtp::Profile;

use crate::webrtc::plan::{DtlsPlan, DtlsRole, Epoch, Renewal};

use super::ice::IceLeg;
use super::settings::{Certificate, WebRtc};
use super::{Refused, token};

/// What a party said of its association.
#[derive(Clone, Debug)]
pub(super) struct PeerDtls {
    /// `a=setup`.
    setup: Option<Setup>,
    /// Those that count.
    fingerprints: Vec<Fingerprint>,
    /// `a=tls-id`.
    tls_id: Option<Box<[u8]>>,
}

/// What a party is shown of our side.
#[derive(Clone, Debug)]
pub(super) struct OwnDtls {
    certificate: Arc<Certificate>,
    fingerprint: Fingerprint,
    profiles: Arc<[Profile]>,
    /// 32 hexadecimal digits: RFC 8842 section 5 wants it unique, which 128 random bits are.
    tls_id: Box<str>,
}

/// A leg's association.
#[derive(Clone, Debug)]
pub(super) struct Association {
    /// What the party was shown.
    pub(super) own: OwnDtls,
    peer: PeerDtls,
    /// Our side; `None` while the party holds the connection (`a=setup:holdconn`).
    role: Option<DtlsRole>,
    /// Which association of the leg.
    pub(super) epoch: Epoch,
    renewal: Renewal,
}

/// What is to decide about a leg's association.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    /// Who offered.
    pub(super) offerer: Offerer,
    /// The one in force.
    pub(super) before: Option<&'a Association>,
    /// The last epoch that the leg had.
    pub(super) epoch: Epoch,
    /// What we would be, given the choice.
    pub(super) preference: DtlsRole,
    /// What the exchange does to the leg's ICE.
    pub(super) ice: Connectivity,
}

/// Who offered in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offerer {
    /// The party.
    Party,
    /// We did.
    Us,
}

/// What an exchange does to a leg's ICE, as far as DTLS goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connectivity {
    /// It goes on, or there is none.
    Kept,
    /// The party restarts it, and DTLS with it unless it has a tls-id.
    Restarted,
}

impl PeerDtls {
    /// What we can use of a section's words, or why nothing.
    pub(super) fn usable(webrtc: Option<&WebRtc>, said: &DtlsDescription) -> Result<Self, Refused> {
        let webrtc = webrtc.ok_or(Refused::DTLS)?;
        let counts = |fingerprint: &&Fingerprint| {
            // RFC 8122 section 5 asks for SHA-256; SHA-1 is forged (RFC 9155).
            webrtc.accept_sha1 || fingerprint.hash() != HashFunction::Sha1
        };
        let fingerprints: Vec<Fingerprint> =
            said.fingerprints.iter().filter(counts).cloned().collect();
        if fingerprints.is_empty() {
            return Err(match said.fingerprints.is_empty() {
                true => said.refused.map_or(Refused::NO_FINGERPRINT, Refused),
                false => Refused::SHA_1,
            });
        }
        let tls_id = said.tls_id.as_deref().map(Into::into);
        Ok(Self { setup: said.setup, fingerprints, tls_id })
    }

    /// The hash function that its first fingerprint is under.
    pub(super) fn hash(&self) -> Option<HashFunction> {
        self.fingerprints.first().map(Fingerprint::hash)
    }

    /// Our role, given who offered and what we were; `None` under `holdconn`.
    fn leaves_us(
        &self,
        offerer: Offerer,
        before: Option<DtlsRole>,
        preference: DtlsRole,
    ) -> Option<DtlsRole> {
        match (self.setup, offerer) {
            (Some(Setup::HoldConn), _) => None,
            (Some(Setup::Active), _) => Some(DtlsRole::Server),
            (Some(Setup::Passive), _) => Some(DtlsRole::Client),
            // Who was passive stays it: behind a NAT it is the party that must begin.
            (Some(Setup::ActPass), _) if before == Some(DtlsRole::Server) => before,
            (Some(Setup::ActPass), _) => Some(preference),
            // RFC 4145 section 4: an offer says active where it says nothing, an answer passive.
            (None, Offerer::Party) => Some(DtlsRole::Server),
            (None, Offerer::Us) => Some(DtlsRole::Client),
        }
    }
}

impl OwnDtls {
    /// The side of a new association. The fingerprint is under the party's hash function, else
    /// under the one asked for, else SHA-256.
    pub(super) fn new(
        webrtc: &WebRtc,
        hashes: [Option<HashFunction>; 2],
        random: &SystemRandom,
    ) -> Result<Self, Refused> {
        let certificate = Arc::clone(&webrtc.certificate);
        let wanted = hashes.into_iter().flatten().chain([HashFunction::Sha256]);
        let fingerprint = wanted
            .filter(|hash| webrtc.accept_sha1 || *hash != HashFunction::Sha1)
            .find_map(|hash| certificate.fingerprint(hash))
            .cloned()
            .ok_or(Refused::DTLS)?;
        let profiles = Arc::clone(&webrtc.profiles);
        Ok(Self { certificate, fingerprint, profiles, tls_id: token::hexadecimal(random)? })
    }

    /// Whether it is the same side of the same association.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.tls_id == other.tls_id
    }

    /// As it is written, in this role.
    pub(super) fn written(&self, setup: Setup, tls_id: ShowTlsId) -> sdp::LocalDtls {
        sdp::LocalDtls {
            setup,
            fingerprint: self.fingerprint.clone(),
            tls_id: (tls_id == ShowTlsId::Yes).then(|| self.tls_id.as_bytes().to_vec().into()),
        }
    }
}

/// `no-tls-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShowTlsId {
    Yes,
    No,
}

impl Association {
    /// The leg's association after an offer of the party, which we answer.
    pub(super) fn answer(
        exchange: Exchange<'_>,
        peer: &PeerDtls,
        new: impl FnOnce() -> Result<OwnDtls, Refused>,
    ) -> Result<Self, Refused> {
        match exchange.before.filter(|before| before.goes_on(peer, exchange)) {
            Some(before) => Ok(before.with(peer)),
            None => Ok(Self::begin(exchange, new()?, peer)),
        }
    }

    /// The leg's association after the party's answer to an offer that showed `own`.
    pub(super) fn accept(exchange: Exchange<'_>, own: &OwnDtls, peer: &PeerDtls) -> Self {
        let same = |before: &&Self| before.own.tls_id == own.tls_id;
        match exchange.before.filter(same).filter(|before| before.goes_on(peer, exchange)) {
            Some(before) => before.with(peer),
            None => Self::begin(exchange, own.clone(), peer),
        }
    }

    /// Whether an offer of ours can begin a new association with the same certificate: the party
    /// knows tls-ids, or takes an ICE restart for it (RFC 8842 section 4).
    pub(super) fn can_renew(&self, ice: Option<&IceLeg>) -> bool {
        self.peer.tls_id.is_some() || ice.is_some()
    }

    /// Whether that takes an ICE restart.
    pub(super) fn renews_with_ice(&self) -> bool {
        self.peer.tls_id.is_none()
    }

    /// What to write as `a=setup` of an answer.
    pub(super) fn setup(&self) -> Setup {
        match self.role.filter(|_| self.peer.setup != Some(Setup::HoldConn)) {
            Some(DtlsRole::Client) => Setup::Active,
            Some(DtlsRole::Server) => Setup::Passive,
            None => Setup::HoldConn,
        }
    }

    /// Our side.
    pub(super) fn role(&self) -> Option<DtlsRole> {
        self.role
    }

    /// What the agents are to make of it; nothing while the connection is held.
    pub(super) fn plan(&self) -> Option<DtlsPlan> {
        Some(DtlsPlan {
            epoch: self.epoch,
            certificate: self.own.certificate.serial,
            renewal: self.renewal,
            role: self.role?,
            fingerprints: self.peer.fingerprints.clone(),
            profiles: self.own.profiles.to_vec(),
        })
    }

    fn begin(exchange: Exchange<'_>, own: OwnDtls, peer: &PeerDtls) -> Self {
        let before = exchange.before.and_then(|before| before.role);
        let role = peer.leaves_us(exchange.offerer, before, exchange.preference);
        let new = Self {
            own,
            peer: peer.clone(),
            role,
            epoch: Epoch(exchange.epoch.0 + 1),
            renewal: Renewal::Certain,
        };
        match exchange.before.is_some_and(|before| before.may_be_taken_for(&new)) {
            true => Self { renewal: Renewal::Doubtful, ..new },
            false => new,
        }
    }

    /// Whether the party, which has no tls-id, sees nothing of `new` but that ICE restarts.
    fn may_be_taken_for(&self, new: &Self) -> bool {
        self.peer.fingerprints == new.peer.fingerprints
            && self.own.fingerprint == new.own.fingerprint
            && self.role == new.role
            && self.peer.tls_id.is_none()
            && new.peer.tls_id.is_none()
    }

    /// The same association after one more exchange. What `holdconn` says is about new ones.
    fn with(&self, peer: &PeerDtls) -> Self {
        Self { peer: peer.clone(), ..self.clone() }
    }

    /// Whether the party's words leave the association as it is.
    fn goes_on(&self, peer: &PeerDtls, exchange: Exchange<'_>) -> bool {
        let same_certificate = self.peer.fingerprints == peer.fingerprints;
        let same_id = match (&self.peer.tls_id, &peer.tls_id) {
            (Some(before), Some(now)) => before == now,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let restarted = exchange.ice == Connectivity::Restarted && peer.tls_id.is_none();
        same_certificate && same_id && !restarted && self.keeps_role(peer, exchange.offerer)
    }

    /// Whether our role is one that the party's words leave us. RFC 8842 section 5.3: an answer
    /// that keeps the association keeps the roles, whatever we would rather be now.
    fn keeps_role(&self, peer: &PeerDtls, offerer: Offerer) -> bool {
        match (self.role, peer.setup) {
            (_, Some(Setup::HoldConn)) => true,
            (None, _) => false,
            (Some(role), _) => peer.leaves_us(offerer, Some(role), role) == Some(role),
        }
    }
}
