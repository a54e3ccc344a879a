//! Private keys in PKCS#11 tokens: the key stays in there, and each handshake asks for a signature.
//!
//! A token may take milliseconds and may block, so its certificates say [`Signing::Blocking`] and
//! the handshake's step runs on a thread that may wait. PINs come from files alone.
//!
//! | module | holds |
//! |---|---|
//! | `uri` | RFC 7512: which key in which token, and where the PIN is |
//! | `token` | a library, its sessions, and what to do when the token goes away |
//! | `error` | why it does not sign |
//! | `key` | rustls's signing key over it |
//!
//! [`Signing::Blocking`]: super::Signing::Blocking

mod error;
mod key;
#[cfg(test)]
mod tests;
mod token;
mod uri;

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::SigningKey;

pub use error::TokenError;
pub use uri::{BadUri, TokenUri};

use super::certificate::Facts;

/// The key that belongs to this certificate: it has signed something that the certificate verifies.
pub(crate) fn load(
    uri: &str,
    certificate: &CertificateDer<'_>,
    facts: &Facts,
) -> Result<Arc<dyn SigningKey>, TokenError> {
    let token = token::Token::open(uri.parse()?)?;
    Ok(Arc::new(key::TokenKey::new(Arc::new(token), certificate, facts.key)?))
}
