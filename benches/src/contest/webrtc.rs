//! `webrtc-srtp`: a whole SRTP stack in Rust. It returns each packet in memory of its own.

use bytes::Bytes;
use srtp::Profile;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::srtp_replay_protection;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::packets::{BATCH, Packet};
use super::{Absent, Case, Contestant, Work, keys};

/// One session of it, with a replay window as large as ours.
pub(super) struct WebrtcSrtp {
    context: Context,
    work: Work,
    /// The latest result: kept until the next takes its place, as a relay would until it is sent.
    latest: Bytes,
}

impl WebrtcSrtp {
    pub(super) fn new(case: Case) -> Result<Self, Absent> {
        let profile = match case.profile {
            Profile::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Profile::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
            _ => return Err(Absent("webrtc-srtp 0.17 does not have the profile")),
        };
        let (key, salt) = keys::master_bytes(case.profile, 0);
        let window = Some(srtp_replay_protection(WINDOW));
        let context = Context::new(&key, &salt, profile, window, None)
            .map_err(|_| Absent("webrtc-srtp refuses the key"))?;
        Ok(Self { context, work: case.work, latest: Bytes::new() })
    }
}

impl Contestant for WebrtcSrtp {
    fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let mut done = 0;
        for packet in packets {
            let result = match self.work {
                Work::Protect => self.context.encrypt_rtp(packet.content()),
                Work::Open => self.context.decrypt_rtp(packet.content()),
            };
            let Ok(result) = result else { return done };
            self.latest = result;
            done += 1;
        }
        done
    }

    fn result<'a>(&'a self, _: &'a Packet) -> &'a [u8] {
        &self.latest
    }
}

/// Our default policy's, in packets.
const WINDOW: usize = 1024;
