//! AES-GCM of ring and of aws-lc-rs, packet by packet: no parsing, window or count.
//!
//! Two crates with one interface, so one text serves both.

/// A contestant from a crate with ring's interface.
macro_rules! gcm_of {
    ($library:ident) => {
        pub(in crate::contest) mod $library {
            use srtp::PacketKind;
            use $library::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

            use crate::contest::nonce::Salt;
            use crate::contest::packets::{BATCH, HEADER_LEN, Packet};
            use crate::contest::{Absent, Case, Contestant, Work, keys};

            /// The expanded key and the salt.
            pub(in crate::contest) struct Gcm {
                key: LessSafeKey,
                salt: Salt,
                work: Work,
            }

            impl Gcm {
                pub(in crate::contest) fn new(case: Case) -> Result<Self, Absent> {
                    let keys = keys::session(case.profile, 0, PacketKind::Rtp);
                    let algorithm = match case.profile.key_len() {
                        16 => &AES_128_GCM,
                        _ => &AES_256_GCM,
                    };
                    let key = UnboundKey::new(algorithm, keys.dangerous_cipher_key())
                        .map_err(|_| Absent("the library refuses the key"))?;
                    let (key, salt) = (LessSafeKey::new(key), Salt::new(keys.dangerous_salt()));
                    Ok(Self { key, salt, work: case.work })
                }
            }

            impl Contestant for Gcm {
                fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize {
                    let mut done = 0;
                    for packet in packets {
                        let nonce = self.salt.gcm(packet.ssrc(), packet.index);
                        let nonce = Nonce::assume_unique_for_key(nonce);
                        let (header, rest) = packet.bytes.split_at_mut(HEADER_LEN);
                        let (aad, len) = (Aad::from(&*header), packet.len - HEADER_LEN);
                        match self.work {
                            Work::Protect => {
                                let (body, rest) = rest.split_at_mut(len);
                                let tag = self.key.seal_in_place_separate_tag(nonce, aad, body);
                                let Ok(tag) = tag else { return done };
                                rest[..TAG_LEN].copy_from_slice(tag.as_ref());
                                packet.len += TAG_LEN;
                            }
                            Work::Open => {
                                let opened = self.key.open_in_place(nonce, aad, &mut rest[..len]);
                                if opened.is_err() {
                                    return done;
                                }
                                packet.len -= TAG_LEN;
                            }
                        }
                        done += 1;
                    }
                    done
                }
            }

            const TAG_LEN: usize = 16;
        }
    };
}

gcm_of!(ring);
#[cfg(feature = "aws-lc")]
gcm_of!(aws_lc_rs);
