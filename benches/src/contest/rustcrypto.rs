//! RustCrypto's crates as they come: `aes` with `ctr` and `hmac` with `sha1`, or `aes-gcm`.
//! Keys are expanded and the HMAC's pads hashed once; no parsing, window or count.

use aes::cipher::consts::{U12, U16};
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use srtp::PacketKind;

use super::nonce::Salt;
use super::packets::{BATCH, HEADER_LEN, Packet};
use super::{Absent, Case, Contestant, Work, keys};

/// The contestant for a case.
pub(super) fn new(case: Case) -> Result<Box<dyn Contestant>, Absent> {
    let profile = case.profile;
    Ok(match (profile.is_aead(), profile.key_len()) {
        (false, 16) => Box::new(Counter::<Aes128Enc>::new(case)?),
        (false, 32) => Box::new(Counter::<Aes256Enc>::new(case)?),
        (true, 16) => Box::new(Gcm::<Aes128Gcm>::new(case)?),
        (true, 32) => Box::new(Gcm::<Aes256Gcm>::new(case)?),
        _ => return Err(Absent("not measured with RustCrypto")),
    })
}

struct Counter<C> {
    cipher: C,
    hmac: Hmac<Sha1>,
    salt: Salt,
    tag_len: usize,
    work: Work,
}

impl<C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Counter<C> {
    fn new(case: Case) -> Result<Self, Absent> {
        let keys = keys::session(case.profile, 0, PacketKind::Rtp);
        let refused = |_| Absent("RustCrypto refuses the key");
        let cipher = C::new_from_slice(keys.dangerous_cipher_key()).map_err(refused)?;
        let hmac = Hmac::new_from_slice(keys.dangerous_auth_key()).map_err(refused)?;
        let (salt, tag_len) = (Salt::new(keys.dangerous_salt()), case.profile.rtp_overhead());
        Ok(Self { cipher, hmac, salt, tag_len, work: case.work })
    }

    fn apply_keystream(&self, packet: &mut Packet, len: usize) {
        let iv = self.salt.counter(packet.ssrc(), packet.index);
        CtrCore::<_, Ctr128BE>::inner_iv_init(&self.cipher, &iv.into())
            .apply_keystream_partial((&mut packet.bytes[HEADER_LEN..len]).into());
    }

    fn mac(&self, packet: &Packet, len: usize) -> Hmac<Sha1> {
        self.hmac.clone().chain_update(&packet.bytes[..len]).chain_update(packet.roc())
    }
}

impl<C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Contestant for Counter<C> {
    fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let mut done = 0;
        for packet in packets {
            match self.work {
                Work::Protect => {
                    let len = packet.len;
                    self.apply_keystream(packet, len);
                    let tag = self.mac(packet, len).finalize().into_bytes();
                    packet.bytes[len..len + self.tag_len].copy_from_slice(&tag[..self.tag_len]);
                    packet.len = len + self.tag_len;
                }
                Work::Open => {
                    let len = packet.len - self.tag_len;
                    let tag = &packet.bytes[len..packet.len];
                    if self.mac(packet, len).verify_truncated_left(tag).is_err() {
                        return done;
                    }
                    self.apply_keystream(packet, len);
                    packet.len = len;
                }
            }
            done += 1;
        }
        done
    }
}

struct Gcm<C> {
    cipher: C,
    salt: Salt,
    work: Work,
}

impl<C: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>> Gcm<C> {
    fn new(case: Case) -> Result<Self, Absent> {
        let keys = keys::session(case.profile, 0, PacketKind::Rtp);
        let cipher = C::new_from_slice(keys.dangerous_cipher_key())
            .map_err(|_| Absent("RustCrypto refuses the key"))?;
        Ok(Self { cipher, salt: Salt::new(keys.dangerous_salt()), work: case.work })
    }
}

impl<C: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>> Contestant for Gcm<C> {
    fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let mut done = 0;
        for packet in packets {
            let nonce = self.salt.gcm(packet.ssrc(), packet.index).into();
            let (header, rest) = packet.bytes.split_at_mut(HEADER_LEN);
            let body_len = packet.len - HEADER_LEN;
            match self.work {
                Work::Protect => {
                    let (body, rest) = rest.split_at_mut(body_len);
                    let sealed = self.cipher.encrypt_inout_detached(&nonce, header, body.into());
                    let Ok(tag) = sealed else { return done };
                    rest[..TAG_LEN].copy_from_slice(&tag);
                    packet.len += TAG_LEN;
                }
                Work::Open => {
                    let (body, tag) = rest[..body_len].split_at_mut(body_len - TAG_LEN);
                    let Ok(tag) = (&*tag).try_into() else { return done };
                    let opened =
                        self.cipher.decrypt_inout_detached(&nonce, header, body.into(), tag);
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
