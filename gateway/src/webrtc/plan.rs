//! What `session` says to the agents and what they say back: the seam between signalling (which
//! decides) and DTLS and ICE (which take their time).
//!
//! A leg is one stream that speaks ICE, DTLS, or both. Its plan is declarative, as a worker's: the
//! whole leg as it should now be; what did not change goes on undisturbed.

use std::net::SocketAddr;

use ng::sdp::{Candidate, Fingerprint, IceCredentials};
use srtp::Profile;

use crate::relay::command::{CallKey, Footing, StreamIndex};

/// One leg that changed with an offer or an answer.
#[derive(Debug)]
pub struct LegUpdate {
    /// The call.
    pub call: CallKey,
    /// The stream.
    pub stream: StreamIndex,
    /// The leg as it should now be; `None`: it speaks neither ICE nor DTLS any more.
    pub plan: Option<LegPlan>,
}

/// A leg as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegPlan {
    /// ICE, where the leg uses it.
    pub ice: Option<IcePlan>,
    /// DTLS-SRTP, where it keys the leg and the party's fingerprint is known.
    pub dtls: Option<DtlsPlan>,
    /// All components on the RTP socket.
    pub rtcp_mux: bool,
    /// Where the party signalled it receives, for a leg without ICE: RTP, RTCP.
    pub signalled: [Option<SocketAddr>; 2],
    /// Where the stream's RTP socket is bound.
    pub socket: SocketAddr,
}

impl LegPlan {
    /// What the worker must have before the plan is acted on.
    pub fn footing(&self) -> Footing {
        Footing {
            socket: self.socket,
            ice: self.ice.as_ref().map(|ice| ice.generation),
            dtls: self.dtls.as_ref().map(|dtls| dtls.epoch),
        }
    }
}

/// ICE of a leg. New local credentials are a restart (RFC 8445 section 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcePlan {
    /// Which ICE of the leg. The worker takes paths of that of its plan alone.
    pub generation: IceGeneration,
    /// Ours.
    pub local: IceCredentials,
    /// The party's, once it said them.
    pub remote: Option<IceCredentials>,
    /// What we are.
    pub agent: IceAgent,
    /// What the party is.
    pub peer: IceAgent,
    /// Whether we nominate, when signalling was done (a conflict may change it).
    pub role: IceRole,
    /// All that the party named so far.
    pub candidates: Vec<Candidate>,
    /// The party will name no more.
    pub complete: bool,
}

/// Whether an ICE agent checks, or only answers checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 8445 section 4 says what they are")]
pub enum IceAgent {
    Full,
    Lite,
}

/// Who nominates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 8445 section 4 says what they are")]
pub enum IceRole {
    Controlling,
    Controlled,
}

/// DTLS-SRTP of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsPlan {
    /// Which association of the leg: a higher one is a new handshake (new fingerprint, tls-id, or
    /// ICE restart without tls-id). The worker takes keys of the epoch of its plan alone.
    pub epoch: Epoch,
    /// The certificate whose fingerprint the party was told.
    pub certificate: CertificateSerial,
    /// Whether the party surely begins it.
    pub renewal: Renewal,
    /// Who sends the ClientHello.
    pub role: DtlsRole,
    /// The party's certificate must fit one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// In order of preference.
    pub profiles: Vec<Profile>,
}

/// Which of our certificates: rises with each renewal. A leg keeps the one it was told of until
/// its next association.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateSerial(pub u32);

/// A leg's association; rises with each new handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u32);

/// A leg's ICE from when it is taken up until it is given up, restarts included; rises with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct IceGeneration(pub u32);

/// Whether a party begins an association anew when signalling has it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It said so, or has none yet.
    Certain,
    /// It restarts ICE under the same fingerprint and has no tls-id (RFC 8842 section 4): some begin
    /// anew, browsers go on with the association there is.
    Doubtful,
}

/// Our side of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We send the ClientHello (`a=setup:active` was ours).
    Client,
    /// The party does.
    Server,
}

/// What became of a leg. Told to control; the worker hears of keys and paths by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegNews {
    /// The call.
    pub call: CallKey,
    /// The stream.
    pub stream: StreamIndex,
    /// What.
    pub kind: LegNewsKind,
}

/// What can become of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegNewsKind {
    /// ICE chose a pair for every component.
    Connected {
        /// Our address of the RTP component.
        local: SocketAddr,
        /// The party's.
        remote: SocketAddr,
    },
    /// No pair works (RFC 8445 section 8.1.2), or consent was lost (RFC 7675).
    Disconnected {
        /// Which, for `query` and the log.
        reason: &'static str,
    },
    /// The handshake is done and the worker has the keys.
    Secured {
        /// Of which association.
        epoch: Epoch,
        /// The profile agreed.
        profile: Profile,
    },
    /// The party may go on with the association before ([`Renewal::Doubtful`]), whose keys serve
    /// meanwhile. Where it begins anew after all, [`Self::Secured`] follows.
    Continued {
        /// The association that it may not begin.
        epoch: Epoch,
        /// The profile of the one before.
        profile: Profile,
    },
    /// The handshake failed, or the party closed the association.
    Unsecured {
        /// Of which association.
        epoch: Epoch,
        /// Why, for `query` and the log.
        reason: String,
    },
}
