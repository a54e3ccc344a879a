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

    use crate::{
        BATCH_LEN, Refusal,
        simd::{
            Avx512,
            sha1::{self, MacJob},
        },
        transform::{
            AesCm, Cipher, EncryptThenMac, OpenJob, PacketId, SealJob,
            hmac_sha1::{tag_matches, write_tag},
        },
    };

    pub(super) fn seal_all(cpu: Avx512, jobs: &mut [SealJob<'_>]) {
        for jobs in jobs.chunks_mut(BATCH_LEN) {
            for job in jobs.iter_mut() {
                match shared(job.cipher, job.csrc_len) {
                    Some(cipher) => cipher.apply_keystream(job.id, job.message, job.header_len),
                    None => job.seal(),
                }
            }
            let macs = macs(
                cpu,
                jobs.iter().map(|job| {
                    let cipher = shared(job.cipher, job.csrc_len)?;
                    Some((cipher, &*job.message, job.id))
                }),
            );
            for (place, mac) in macs {
                write_tag(&mac, jobs[usize::from(place)].tag);
            }
        }
    }

    pub(super) fn open_all(cpu: Avx512, jobs: &mut [OpenJob<'_>]) {
        for jobs in jobs.chunks_mut(BATCH_LEN) {
            for job in jobs.iter_mut().filter(|job| shared(job.cipher, job.csrc_len).is_none()) {
                job.open_in_place();
            }
            let macs = macs(
                cpu,
                jobs.iter().map(|job| {
                    let cipher = shared(job.cipher, job.csrc_len)?;
                    Some((cipher, &*job.message, job.id))
                }),
            );
            for (place, mac) in macs {
                let job = &mut jobs[usize::from(place)];
                let is_genuine = tag_matches(&mac, job.tag);
                match shared(job.cipher, job.csrc_len).filter(|_| is_genuine) {
                    Some(cipher) => cipher.apply_keystream(job.id, job.message, job.header_len),
                    None => job.outcome = Err(Refusal::AuthenticationFailed),
                }
            }
        }
    }

    type Hashed<'a> = (&'a EncryptThenMac<AesCm>, &'a [u8], PacketId);

    /// The MACs of those messages that share lanes, each with its place among all.
    fn macs<'a>(
        cpu: Avx512,
        messages: impl Iterator<Item = Option<Hashed<'a>>>,
    ) -> ArrayVec<(u8, [u8; 20]), BATCH_LEN> {
        let mut jobs = ArrayVec::<_, BATCH_LEN>::new();
        for (place, message) in (0..).zip(messages) {
            if let Some((cipher, message, id)) = message {
                let (hmac, word) = (&cipher.hmac, id.word());
                jobs.push(MacJob { hmac, message, word, place, mac: [0; 20] });
            }
        }
        sha1::macs(cpu, &mut jobs);
        jobs.iter().map(|job| (job.place, job.mac)).collect()
    }

    /// The cipher of a packet whose HMAC goes with those of others.
    fn shared(cipher: &Cipher, csrc_len: usize) -> Option<&EncryptThenMac<AesCm>> {
        match cipher {
            Cipher::AesCm(cipher) if csrc_len == 0 && cipher.shares_lanes() => Some(cipher),
            _ => None,
        }
    }
}
