//! One fatal alert under keys that no record layer holds any more.
//!
//! rustls gives up its keys before the kernel takes them. Where the kernel then refuses to, nobody
//! is left to tell the peer: this seals one alert with rustls's own cipher, and is done.

use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
    crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage},
};

/// The record `number` under `secrets`, with its header. `None` where rustls cannot.
pub(crate) fn sealed_alert(
    suite: SupportedCipherSuite,
    number: u64,
    secrets: ConnectionTrafficSecrets,
    alert: AlertDescription,
) -> Option<Vec<u8>> {
    let (key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => return None,
    };
    let payload = [FATAL, u8::from(alert)];
    let message = OutboundPlainMessage {
        typ: ContentType::Alert,
        version: ProtocolVersion::TLSv1_2,
        payload: OutboundChunks::Single(&payload),
    };
    Some(encrypter(suite, key, iv)?.encrypt(message, number).ok()?.encode())
}

fn encrypter(
    suite: SupportedCipherSuite,
    key: AeadKey,
    iv: Iv,
) -> Option<Box<dyn MessageEncrypter>> {
    match suite {
        SupportedCipherSuite::Tls13(suite) => Some(suite.aead_alg.encrypter(key, iv)),
        SupportedCipherSuite::Tls12(suite) => {
            // What the key block was cut into (RFC 5288 section 3, RFC 7905 section 2).
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            let (fixed, explicit) = iv.as_ref().split_at_checked(fixed)?;
            Some(suite.aead_alg.encrypter(key, fixed, explicit))
        }
    }
}

/// `AlertLevel.fatal`.
const FATAL: u8 = 2;
