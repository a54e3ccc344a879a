//! Exchange files: an offer sealed to one reader, to be carried by people.
//!
//! HPKE (RFC 9180) in its authenticated mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! ChaCha20-Poly1305: only the recipient can read a file, and only the sender can have written
//! it. The header of pair, epoch, sender and recipient is part of what is authenticated. Nothing
//! here knows who may send: the caller names the sender it expects.

mod armor;
mod identity;

use crypto_offload::{Epoch, PairName};
use gateway_control::{KeyOffer, PairTerms};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::armor::{Armored, Header};
pub(crate) use self::identity::{Identity, IdentityError};

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// What a file carries.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    /// As the sender has the pair.
    pub(crate) terms: PairTerms,
    /// Of the sender's inbound SA.
    pub(crate) offer: KeyOffer,
}

/// Why a file is refused, or a key to seal to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// Cut off, or something else altogether.
    #[error("it is not a whole exchange file: {0}")]
    Form(&'static str),
    /// The key of somebody is 32 bytes in base64.
    #[error("{0}: not a public key: write the one that the other gateway shows")]
    Key(&'static str),
    /// It is for another pair.
    #[error("it is for pair {found}, not for {expected}")]
    Pair {
        /// In the file.
        found: PairName,
        /// Asked for.
        expected: PairName,
    },
    /// It is from somebody else.
    #[error("it is from {found}, not from {expected}")]
    Sender {
        /// In the file.
        found: String,
        /// Asked for.
        expected: String,
    },
    /// It is for somebody else.
    #[error("it is sealed to {found}, and this gateway's key is {ours}")]
    Recipient {
        /// In the file.
        found: String,
        /// This gateway's.
        ours: String,
    },
    /// The seal does not hold.
    #[error("its seal is broken: it was changed, or somebody else wrote it in the sender's name")]
    Seal,
}

/// Seals `contents` so that only `recipient` can read them.
pub(crate) fn seal(
    identity: &Identity,
    recipient: &str,
    pair: &PairName,
    epoch: Epoch,
    contents: &Contents,
) -> Result<String, FileError> {
    let key = public_key("recipient", recipient)?;
    let header = Header {
        pair: pair.clone(),
        epoch,
        sender: identity.public_text(),
        recipient: armor::key_text(&key.to_bytes()),
    };
    let plain = serde_json::to_vec(contents).map(Zeroizing::new).map_err(|_| FileError::Seal)?;
    let mode = OpModeS::Auth((identity.private.clone(), identity.public.clone()));
    let (encapped, sealed) =
        hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &mode,
            &key,
            INFO,
            &plain,
            header.text().as_bytes(),
        )
        .map_err(|_| FileError::Key("recipient"))?;
    let body = [encapped.to_bytes().as_slice(), &sealed].concat();
    Ok(Armored { header, body }.text())
}

/// The epoch and the contents of a file from `sender` for `pair`.
pub(crate) fn open(
    identity: &Identity,
    sender: &str,
    pair: &PairName,
    file: &str,
) -> Result<(Epoch, Contents), FileError> {
    let Armored { header, body } = Armored::parse(file)?;
    if header.pair != *pair {
        return Err(FileError::Pair { found: header.pair, expected: pair.clone() });
    }
    let key = public_key("sender", sender)?;
    let expected = armor::key_text(&key.to_bytes());
    if header.sender != expected {
        return Err(FileError::Sender { found: header.sender, expected });
    }
    let ours = identity.public_text();
    if header.recipient != ours {
        return Err(FileError::Recipient { found: header.recipient, ours });
    }
    let (encapped, sealed) =
        body.split_at_checked(KEY_LEN).ok_or(FileError::Form("it has too few bytes"))?;
    let encapped = EncappedKey::from_bytes(encapped).map_err(|_| FileError::Seal)?;
    let plain = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Auth(key),
        &identity.private,
        &encapped,
        INFO,
        sealed,
        header.text().as_bytes(),
    )
    .map(Zeroizing::new)
    .map_err(|_| FileError::Seal)?;
    let contents = serde_json::from_slice(&plain)
        .map_err(|_| FileError::Form("another release may have written it"))?;
    Ok((header.epoch, contents))
}

/// Whether it is the key of anybody.
pub(crate) fn check_key(recipient: &str) -> Result<(), FileError> {
    public_key("recipient", recipient).map(drop)
}

fn public_key(whose: &'static str, text: &str) -> Result<PublicKey, FileError> {
    let bytes = armor::key_bytes(text).ok_or(FileError::Key(whose))?;
    PublicKey::from_bytes(&bytes).map_err(|_| FileError::Key(whose))
}

/// Bytes of an X25519 key.
const KEY_LEN: usize = 32;

/// Tells our use of the keys from any other (RFC 9180 section 5.1).
const INFO: &[u8] = b"postern sa exchange 1";

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_offload::{Aead, KeyingMaterial, SaPair, SecretKey, Spi};

    fn contents() -> Contents {
        let json = serde_json::json!({
            "name": "trunk-1", "local": "192.0.2.1", "remote": "192.0.2.2",
            "local_net": "10.1.0.0/16", "remote_net": "10.2.0.0/16",
        });
        let pair: SaPair = serde_json::from_value(json).unwrap();
        let keying = KeyingMaterial::new(Aead::Aes128Gcm, SecretKey::copy_from(&[7; 20])).unwrap();
        let offer = KeyOffer::new(Spi::new(0xc000_0001).unwrap(), &keying);
        Contents { terms: PairTerms::of(&pair), offer }
    }

    fn name(text: &str) -> PairName {
        PairName::new(text).unwrap()
    }

    #[test]
    fn a_file_is_read_by_its_recipient_and_shows_no_key() {
        let (a, b) = (Identity::generate(), Identity::generate());
        let pair = name("trunk-1");
        let file = seal(&a, &b.public_text(), &pair, Epoch(3), &contents()).unwrap();
        assert!(file.contains("pair: trunk-1\nepoch: 3\n"), "{file}");
        let opened = open(&b, &a.public_text(), &pair, &file).unwrap();
        assert_eq!(opened, (Epoch(3), contents()));
        assert_eq!(open(&b, &a.public_text(), &pair, &file.replace('\n', "\r\n")).unwrap().0.0, 3);
    }

    #[test]
    fn a_file_for_somebody_else_or_from_somebody_else_is_refused_saying_which() {
        let [a, b, c] = std::array::from_fn(|_| Identity::generate());
        let pair = name("trunk-1");
        let file = seal(&a, &b.public_text(), &pair, Epoch(3), &contents()).unwrap();
        let refused = |reader: &Identity, sender: &Identity, pair: &str| {
            open(reader, &sender.public_text(), &name(pair), &file).unwrap_err().to_string()
        };
        assert!(refused(&c, &a, "trunk-1").starts_with("it is sealed to "));
        assert!(refused(&b, &c, "trunk-1").starts_with("it is from "));
        assert_eq!(refused(&b, &a, "trunk-2"), "it is for pair trunk-1, not for trunk-2");
    }

    #[test]
    fn a_file_whose_header_or_body_was_changed_does_not_open() {
        let (a, b) = (Identity::generate(), Identity::generate());
        let pair = name("trunk-1");
        let file = seal(&a, &b.public_text(), &pair, Epoch(3), &contents()).unwrap();
        let later = file.replace("epoch: 3", "epoch: 4");
        assert_eq!(open(&b, &a.public_text(), &pair, &later), Err(FileError::Seal));
        let forged = seal(&b, &b.public_text(), &pair, Epoch(3), &contents()).unwrap();
        let forged = forged.replacen(&b.public_text(), &a.public_text(), 1);
        assert_eq!(open(&b, &a.public_text(), &pair, &forged), Err(FileError::Seal));
        for length in [0, 30, file.len() / 2, file.len() - 2] {
            assert!(open(&b, &a.public_text(), &pair, &file[..length]).is_err(), "{length}");
        }
    }
}
