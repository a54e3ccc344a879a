//! Session keys, and their derivation from the master key (RFC 3711 section 4.3).
//!
//! The key derivation rate is zero: keys are derived once per master key, as everybody does. The
//! PRF is AES in counter mode under the master key, so with a 192-bit or 256-bit master key it is
//! AES-192 or AES-256 (RFC 6188 section 3, RFC 7714 section 11).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{MasterKey, Profile, Unsuitable, transform::Aes};

/// The cipher key, authentication key and salt of one kind of packet. Zeroized on drop, never
/// printed.
///
/// Most callers never meet it: [`crate::Sender::new`] and [`crate::Receiver::new`] derive their
/// own. It is public for those who are handed session keys, above all the RFCs' test vectors.
pub struct SessionKeys {
    profile: Profile,
    cipher: [u8; MAX_KEY_LEN],
    auth: [u8; AUTH_KEY_LEN],
    salt: [u8; MAX_SALT_LEN],
}

/// Which packets keys are for; the value is the first of its three labels
/// (RFC 3711 section 4.3.2): cipher key, then authentication key, then salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketKind {
    /// SRTP, labels 0 to 2.
    Rtp = 0,
    /// SRTCP, labels 3 to 5.
    Rtcp = 3,
}

impl SessionKeys {
    /// Derives the keys for packets of `kind`.
    pub fn derive(master: &MasterKey, kind: PacketKind) -> Self {
        let mut keys = Self::zero(master.profile());
        let label = kind as u8;
        prf(master, label, &mut keys.cipher[..keys.profile.key_len()]);
        prf(master, label + 1, &mut keys.auth[..]);
        prf(master, label + 2, &mut keys.salt[..keys.profile.salt_len()]);
        keys
    }

    /// Derives RFC 6904's keys for header extensions, k_he and k_hs (its section 3): as long as
    /// SRTP's, labels 6 and 7. There is no authentication key.
    pub(crate) fn derive_for_header_extensions(master: &MasterKey) -> Self {
        let mut keys = Self::zero(master.profile());
        prf(master, 6, &mut keys.cipher[..keys.profile.key_len()]);
        prf(master, 7, &mut keys.salt[..keys.profile.salt_len()]);
        keys
    }

    /// Session keys as given, of the profile's lengths. `auth` is empty for an AEAD profile and
    /// 20 bytes otherwise.
    pub fn from_parts(
        profile: Profile,
        cipher: &[u8],
        auth: &[u8],
        salt: &[u8],
    ) -> Result<Self, Unsuitable> {
        let mut keys = Self::zero(profile);
        let auth_len = if profile.is_aead() { 0 } else { AUTH_KEY_LEN };
        let expected = [profile.key_len(), auth_len, profile.salt_len()];
        let got = [cipher, auth, salt].map(<[u8]>::len);
        if got != expected {
            return Err(Unsuitable::SessionKeyLengths { profile, expected, got });
        }
        keys.cipher[..cipher.len()].copy_from_slice(cipher);
        keys.auth[..auth.len()].copy_from_slice(auth);
        keys.salt[..salt.len()].copy_from_slice(salt);
        Ok(keys)
    }

    /// Whether a direction can have these for SRTP and `rtcp` for SRTCP: all of its lengths follow
    /// from one profile, and the two kinds make their nonces alike.
    pub(crate) fn check_beside(&self, rtcp: &Self) -> Result<(), Unsuitable> {
        let (expected, got) = (rtcp.profile, self.profile);
        if expected != got {
            return Err(Unsuitable::OtherProfile { expected, got });
        }
        let shared = self.cipher.ct_eq(&rtcp.cipher) & self.salt.ct_eq(&rtcp.salt);
        if shared.into() { Err(Unsuitable::SharedSessionKeys) } else { Ok(()) }
    }

    /// A name for these keys that does not tell them: the start of their SHA-256.
    pub(crate) fn digest(&self) -> [u8; 16] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(b"postern srtp keys");
        context.update(self.profile.name().as_bytes());
        for part in [&self.cipher[..], &self.auth, &self.salt] {
            context.update(part);
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&context.finish().as_ref()[..16]);
        digest
    }

    /// The profile they are for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The encryption key, of the profile's length.
    pub fn dangerous_cipher_key(&self) -> &[u8] {
        &self.cipher[..self.profile.key_len()]
    }

    /// The HMAC key; meaningless in an AEAD profile.
    pub fn dangerous_auth_key(&self) -> &[u8; AUTH_KEY_LEN] {
        &self.auth
    }

    /// The salt, zero-padded on the right to 14 bytes.
    pub fn dangerous_salt(&self) -> &[u8; MAX_SALT_LEN] {
        &self.salt
    }

    fn zero(profile: Profile) -> Self {
        Self { profile, cipher: [0; MAX_KEY_LEN], auth: [0; AUTH_KEY_LEN], salt: [0; MAX_SALT_LEN] }
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.cipher.zeroize();
        self.auth.zeroize();
        self.salt.zeroize();
    }
}

/// Fills `out` with the PRF of `label` (RFC 3711 section 4.3.3). The 12-byte salt of RFC 7714 is
/// padded on the right to the 14 bytes that the PRF was made for.
fn prf(master: &MasterKey, label: u8, out: &mut [u8]) {
    let salt = master.salt().dangerous_bytes();
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[LABEL_AT] ^= label;
    out.fill(0);
    Aes::new(master.key().dangerous_bytes()).apply_keystream(iv, out);
    iv.zeroize();
}

/// `key_id = label || index` is 56 bits, right-aligned in the 112 bits of the salt.
const LABEL_AT: usize = 7;

/// The longest cipher key of any profile.
const MAX_KEY_LEN: usize = 32;
/// HMAC-SHA1's key (RFC 3711 section 5.2).
pub(crate) const AUTH_KEY_LEN: usize = 20;
/// The longest salt of any profile.
pub(crate) const MAX_SALT_LEN: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Receiver, Sender, Weakness};

    fn keys(profile: Profile, byte: u8) -> SessionKeys {
        let auth = if profile.is_aead() { 0 } else { 20 };
        let [cipher, auth, salt] =
            [profile.key_len(), auth, profile.salt_len()].map(|len| vec![byte; len]);
        SessionKeys::from_parts(profile, &cipher, &auth, &salt).expect("the profile's lengths")
    }

    #[test]
    fn session_keys_of_two_profiles_or_one_for_both_kinds_or_not_accepted_are_refused() {
        let (gcm, cm, null) =
            (Profile::AeadAes128Gcm, Profile::AesCm128HmacSha1_80, Profile::NullHmacSha1_80);
        for (rtp, rtcp, expected) in [
            ((gcm, 1), (cm, 2), Unsuitable::OtherProfile { expected: cm, got: gcm }),
            ((cm, 1), (gcm, 2), Unsuitable::OtherProfile { expected: gcm, got: cm }),
            ((gcm, 1), (gcm, 1), Unsuitable::SharedSessionKeys),
            ((cm, 1), (cm, 1), Unsuitable::SharedSessionKeys),
            ((null, 1), (null, 2), Unsuitable::NotAccepted(Weakness::NullCipher)),
        ] {
            let given = || (keys(rtp.0, rtp.1), keys(rtcp.0, rtcp.1), Policy::default());
            let (rtp, rtcp, policy) = given();
            assert_eq!(Sender::from_session_keys(&rtp, rtcp, &policy).err(), Some(expected));
            let (rtp, rtcp, policy) = given();
            assert_eq!(Receiver::from_session_keys(&rtp, rtcp, &policy).err(), Some(expected));
        }
    }

    #[test]
    fn session_keys_of_other_lengths_are_refused_with_the_numbers() {
        let profile = Profile::AesCm192HmacSha1_80;
        for got in [[23, 20, 14], [24, 0, 14], [24, 20, 12], [0, 0, 0]] {
            let [cipher, auth, salt] = got.map(|len| vec![1; len]);
            let refused = SessionKeys::from_parts(profile, &cipher, &auth, &salt).err();
            let expected = [24, 20, 14];
            assert_eq!(refused, Some(Unsuitable::SessionKeyLengths { profile, expected, got }));
        }
        let refused = SessionKeys::from_parts(profile, &[1; 16], &[1; 20], &[1; 14]);
        assert_eq!(
            refused.err().map(|refused| refused.to_string()).as_deref(),
            Some(
                "AES_192_CM_HMAC_SHA1_80 takes session keys of [24, 20, 14] bytes (cipher key, \
                 authentication key, salt), not [16, 20, 14]"
            )
        );
    }

    /// RFC 6904 appendix A.
    #[test]
    fn rfc_6904_appendix_a_key_derivation() {
        let master = 0xe1f9_7a0d_3e01_8be0_d64f_a32c_06de_4139_u128.to_be_bytes();
        let salt = &0x0ec6_75ad_498a_feeb_b696_0b3a_abe6_u128.to_be_bytes()[2..];
        let master = [&master[..], salt].concat();
        let master = MasterKey::from_concatenated(Profile::AesCm128HmacSha1_80, &master);
        let keys = SessionKeys::derive_for_header_extensions(&master.expect("30 bytes"));
        let key = 0x5497_5205_4d6f_b708_622c_4a2e_596a_1b93_u128.to_be_bytes();
        assert_eq!(keys.dangerous_cipher_key(), key);
        let salt = 0xab01_8181_74c4_0d39_a378_1f7c_2d27_u128.to_be_bytes();
        assert_eq!(keys.dangerous_salt()[..], salt[2..]);
    }
}
