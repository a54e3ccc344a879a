//! The cryptography of many packets, each under a key of its own.
//!
//! What gains from company goes together: the HMACs of sixteen packets. AES alone does not: the
//! blocks of one packet fill its pipeline, and the CPU begins with the next packet by itself.

use super::{OpenJob, SealJob};

/// Seals many packets.
pub(crate) fn seal_all(jobs: &mut [SealJob<'_>]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(cpu) = crate::simd::Avx512::detect() {
        return side_by_side::seal_all(cpu, jobs);
    }
    for job in jobs {
        job.seal();
    }
}

/// Opens many packets.
pub(crate) fn open_all(jobs: &mut [OpenJob<'_>]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(cpu) = crate::simd::Avx512::detect() {
        return side_by_side::open_all(cpu, jobs);
    }
    for job in jobs {
        job.open_in_place();
    }
}

#[cfg(target_arch = "x86_64")]
mod side_by_side {
    use arrayvec::ArrayVec;
    use subtle::ConstantTimeEq;

    use crate::{
        BATCH_LEN, Refusal,
        simd::{
            Avx512,
            sha1::{self, MacJob},
        },
        transform::{AesCm, Cipher, EncryptThenMac, OpenJob, SealJob},
    };

    pub(super) fn seal_all(cpu: Avx512, jobs: &mut [SealJob<'_>]) {
        for jobs in jobs.chunks_mut(BATCH_LEN) {
            for job in jobs.iter_mut() {
                match shared(job.cipher, job.csrc_len) {
                    Some(cipher) => cipher.apply_keystream(job.id, job.message, job.header_len),
                    None => job.seal(),
                }
            }
            let mut macs = ArrayVec::<_, BATCH_LEN>::new();
            for (place, job) in jobs.iter().enumerate() {
                if let Some(cipher) = shared(job.cipher, job.csrc_len) {
                    let (hmac, message, word) = (&cipher.hmac, &*job.message, job.id.word());
                    macs.push(MacJob { hmac, message, word, place, mac: [0; 20] });
                }
            }
            sha1::macs(cpu, &mut macs);
            for (place, mac) in results(macs) {
                let tag = &mut *jobs[place].tag;
                tag.copy_from_slice(&mac[..tag.len()]);
            }
        }
    }

    pub(super) fn open_all(cpu: Avx512, jobs: &mut [OpenJob<'_>]) {
        for jobs in jobs.chunks_mut(BATCH_LEN) {
            let mut macs = ArrayVec::<_, BATCH_LEN>::new();
            for (place, job) in jobs.iter_mut().enumerate() {
                match shared(job.cipher, job.csrc_len) {
                    Some(cipher) => {
                        let (hmac, message, word) = (&cipher.hmac, &*job.message, job.id.word());
                        macs.push(MacJob { hmac, message, word, place, mac: [0; 20] });
                    }
                    None => job.open_in_place(),
                }
            }
            sha1::macs(cpu, &mut macs);
            for (place, mac) in results(macs) {
                let job = &mut jobs[place];
                let is_genuine = bool::from(mac[..job.tag.len()].ct_eq(job.tag));
                match shared(job.cipher, job.csrc_len).filter(|_| is_genuine) {
                    Some(cipher) => cipher.apply_keystream(job.id, job.message, job.header_len),
                    None => job.outcome = Err(Refusal::AuthenticationFailed),
                }
            }
        }
    }

    /// The MACs with their jobs' places, the messages let go.
    fn results(macs: ArrayVec<MacJob<'_>, BATCH_LEN>) -> ArrayVec<(usize, [u8; 20]), BATCH_LEN> {
        macs.into_iter().map(|job| (job.place, job.mac)).collect()
    }

    /// The cipher of a packet whose HMAC goes with those of others.
    fn shared(cipher: &Cipher, csrc_len: usize) -> Option<&EncryptThenMac<AesCm>> {
        match cipher {
            Cipher::AesCm(cipher) if csrc_len == 0 && cipher.shares_lanes() => Some(cipher),
            _ => None,
        }
    }
}
