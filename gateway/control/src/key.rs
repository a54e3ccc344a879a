//! Keys on their way between processes that may have them.
//!
//! They travel only over channels that keep them: the agent's Unix socket, a peer gateway's mTLS
//! connection, an exchange file sealed to its reader.

use base64::{Engine, engine::general_purpose::STANDARD};
use crypto_offload::{Aead, KeyingMaterial, SecretKey, Spi, WrongKeyLength};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use zeroize::Zeroizing;

/// The SPI and the key that one side has chosen for its inbound SA: what the other side's outbound
/// SA is made from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyOffer {
    /// Chosen by the receiver.
    pub spi: Spi,
    /// The algorithm that the key is for.
    pub aead: Aead,
    /// Key and salt.
    pub key: KeyText,
}

impl KeyOffer {
    /// Of keying material that its owner keeps.
    pub fn new(spi: Spi, keying: &KeyingMaterial) -> Self {
        let key = KeyText(keying.bytes().dangerous_duplicate());
        Self { spi, aead: keying.aead(), key }
    }

    /// The key as an engine takes it.
    ///
    /// # Errors
    /// When the key has not the length of its algorithm.
    pub fn keying(&self) -> Result<KeyingMaterial, WrongKeyLength> {
        KeyingMaterial::new(self.aead, self.key.0.dangerous_duplicate())
    }

    /// A second owner, where an answer is repeated.
    pub fn dangerous_duplicate(&self) -> Self {
        let key = KeyText(self.key.0.dangerous_duplicate());
        Self { spi: self.spi, aead: self.aead, key }
    }
}

/// Secret bytes that are base64 in JSON and `[redacted]` in logs.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyText(pub SecretKey);

impl Serialize for KeyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(STANDARD.encode(self.0.dangerous_bytes()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The decoder's own message would show a byte of the key.
        let decoded = STANDARD.decode(text.as_bytes()).map_err(|_| Error::custom("not base64"))?;
        Ok(Self(SecretKey::copy_from(&Zeroizing::new(decoded))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_comes_back_whole_and_is_never_printed() {
        let bytes = SecretKey::copy_from(&[7; 20]);
        let keying = KeyingMaterial::new(Aead::Aes128Gcm, bytes).expect("20 bytes");
        let offer = KeyOffer::new(Spi::new(0xc000_0001).expect("free"), &keying);
        let json = serde_json::to_string(&offer).expect("serializes");
        assert_eq!(serde_json::from_str::<KeyOffer>(&json).expect("reads"), offer);
        assert!(!format!("{offer:?}").contains("BwcH"), "{offer:?}");
        assert!(format!("{offer:?}").contains("[redacted]"));
    }

    #[test]
    fn what_is_not_base64_is_refused_without_being_shown() {
        let json = r#"{"spi": 300, "aead": "aes-128-gcm", "key": "secret!"}"#;
        let message = serde_json::from_str::<KeyOffer>(json).expect_err("not base64").to_string();
        assert!(message.starts_with("not base64") && !message.contains("secret"), "{message}");
    }
}
