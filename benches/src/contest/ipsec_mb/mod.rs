//! intel-ipsec-mb: the primitives alone, batches of packets of different keys. The limit on x86.
//!
//! It does not parse, estimate indexes, keep windows or count: what it needs less than ours for
//! the same bytes is partly that.

mod sys;

use srtp::PacketKind;

use super::{Absent, Case, Contestant, Work};
use crate::contest::keys;
use crate::contest::packets::{BATCH, Packet};

/// The library with the keys of a whole batch.
pub(super) struct IpsecMb {
    engine: sys::Engine,
    work: Work,
}

impl IpsecMb {
    pub(super) fn new(case: Case) -> Result<Self, Absent> {
        let keys: Vec<sys::Keys> = (0..BATCH)
            .map(|session| {
                let keys = keys::session(case.profile, session, PacketKind::Rtp);
                let mut cipher = [0; 32];
                let key = keys.dangerous_cipher_key();
                cipher[..key.len()].copy_from_slice(key);
                let (auth, salt) = (*keys.dangerous_auth_key(), *keys.dangerous_salt());
                sys::Keys { cipher, auth, salt, unused: [0; 6] }
            })
            .collect();
        let (key_len, tag_len) = (case.profile.key_len(), case.profile.rtp_overhead());
        let engine = sys::Engine::new(&keys, key_len, tag_len)
            .ok_or(Absent("intel-ipsec-mb does not take this CPU"))?;
        Ok(Self { engine, work: case.work })
    }
}

impl Contestant for IpsecMb {
    fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        match self.work {
            Work::Protect => self.engine.protect(packets),
            Work::Open => self.engine.open(packets),
        }
    }
}
