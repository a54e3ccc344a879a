//! Our own implementation as an endpoint: a sender and a receiver under one key.

use srtp::{Backend, PacketKind, Policy, Receiver, Refusal, Sender, Weaknesses};

use super::{
    Endpoint, Keys, Refused,
    packets::{Random, compound_report},
};

pub(crate) struct Ours {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    keys: Keys,
    policy: Policy,
}

impl Ours {
    pub(crate) fn new(keys: &Keys, policy: &Policy) -> Self {
        let (mut sender, mut receiver) = keys.with_parameters(0, |key| {
            let sender = Sender::new(key.clone(), policy).expect("a suitable key");
            (sender, Receiver::new(key, policy).expect("a suitable key"))
        });
        for at in 1..keys.count() {
            keys.with_parameters(at, |key| {
                sender.install(&key).expect("a suitable key");
                receiver.install(&key).expect("a suitable key");
            });
        }
        Self { sender, receiver, keys: keys.clone(), policy: policy.clone() }
    }

    pub(crate) fn key_count(&self) -> usize {
        self.keys.count()
    }

    /// A sender for the reports of one source that counts as libsrtp and webrtc-srtp do. RFC 3711
    /// section 3.4 has the SRTCP index begin at 0 and doesn't say whether sources share it: ours
    /// do. Theirs don't, and begin at 1.
    pub(crate) fn reporter_like_theirs(&self, ssrc: u32) -> Self {
        let mut reporter = Self::new(&self.keys, &self.policy);
        let report = compound_report(ssrc, &mut Random(0));
        reporter.protect(PacketKind::Rtcp, &report).expect("protects its first report");
        reporter
    }
}

impl Endpoint for Ours {
    fn switch_to(&mut self, key: usize) {
        self.sender.switch_to(&self.keys.typed_mki(key)).expect("an installed key");
    }

    fn protect(&mut self, kind: PacketKind, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        in_place(plain, TAILROOM, |buffer| match kind {
            PacketKind::Rtp => self.sender.protect_rtp(buffer, plain.len()).map(|done| done.len),
            PacketKind::Rtcp => self.sender.protect_rtcp(buffer, plain.len()).map(|done| done.len),
        })
    }

    fn open(&mut self, kind: PacketKind, protected: &[u8]) -> Result<Vec<u8>, Refused> {
        in_place(protected, 0, |buffer| match kind {
            PacketKind::Rtp => self.receiver.open_rtp(buffer).map(|done| done.len),
            PacketKind::Rtcp => self.receiver.open_rtcp(buffer).map(|done| done.len),
        })
    }
}

fn in_place(
    packet: &[u8],
    tailroom: usize,
    act: impl FnOnce(&mut [u8]) -> Result<usize, Refusal>,
) -> Result<Vec<u8>, Refused> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + tailroom, 0);
    let len = act(&mut buffer).map_err(|refusal| match refusal {
        Refusal::Replayed | Refusal::IndexReused => Refused::Replayed,
        Refusal::TooOld => Refused::TooOld,
        Refusal::AuthenticationFailed => Refused::NotAuthentic,
        other => Refused::Other(other.to_string()),
    })?;
    buffer.truncate(len);
    Ok(buffer)
}

/// One that takes every profile, and computes by another of the machine's backends for another
/// seed.
pub(crate) fn policy(seed: u64) -> Policy {
    let backends = Backend::available();
    let backend = backends[seed as usize % backends.len()];
    Policy { accepted: Weaknesses::ALL, backend, ..Policy::default() }
}

/// The longest tag, MKI and SRTCP word.
const TAILROOM: usize = 16 + 128 + 4;
