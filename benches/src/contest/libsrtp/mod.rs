//! libsrtp as Debian ships it: a whole SRTP stack in C.

mod sys;

use super::packets::{BATCH, Packet};
use super::{Absent, Case, Contestant, Work, keys};

/// One session of it, with a replay window as large as ours.
pub(super) struct Libsrtp {
    session: sys::Session,
    work: Work,
}

impl Libsrtp {
    pub(super) fn new(case: Case) -> Result<Self, Absent> {
        let suite = match case.profile.name() {
            "AES_CM_128_HMAC_SHA1_80" => sys::Suite::AesCm128Sha1_80,
            "AES_CM_128_HMAC_SHA1_32" => sys::Suite::AesCm128Sha1_32,
            "AES_256_CM_HMAC_SHA1_80" => sys::Suite::AesCm256Sha1_80,
            "AEAD_AES_128_GCM" => sys::Suite::AesGcm128,
            "AEAD_AES_256_GCM" => sys::Suite::AesGcm256,
            _ => return Err(Absent("not measured with libsrtp")),
        };
        let direction = match case.work {
            Work::Protect => sys::Direction::Outbound,
            Work::Open => sys::Direction::Inbound,
        };
        let (key, salt) = keys::master_bytes(case.profile, 0);
        let session = sys::Session::new(direction, suite, WINDOW, &mut [key, salt].concat())
            .map_err(|_| Absent("libsrtp refuses the session"))?;
        Ok(Self { session, work: case.work })
    }
}

impl Contestant for Libsrtp {
    fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let mut done = 0;
        for packet in packets {
            let result = match self.work {
                Work::Protect => self.session.protect(packet),
                Work::Open => self.session.unprotect(packet),
            };
            if result.is_err() {
                return done;
            }
            done += 1;
        }
        done
    }
}

/// Our default policy's, in packets.
const WINDOW: usize = 1024;
