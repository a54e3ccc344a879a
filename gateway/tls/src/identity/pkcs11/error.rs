//! Why a token does not sign: which key was meant, what went wrong, and what to do about it.
//!
//! A key is named by its URI without the way to its PIN; PINs are in no message.

use std::path::PathBuf;

use super::token::{PATIENCE, SESSIONS};
use super::uri::BadUri;

/// Why a token does not sign.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The URI names no key.
    #[error(transparent)]
    Uri(#[from] BadUri),
    /// The PIN's file is of no use.
    #[error("the PIN of {uri}: {fault}")]
    Pin {
        /// The key.
        uri: String,
        /// What is wrong with the file.
        fault: Box<key_files::FileError>,
    },
    /// The PIN's file holds something else.
    #[error("the PIN of {uri}: {} holds no PIN; write it there, in UTF-8", path.display())]
    NoPin {
        /// The key.
        uri: String,
        /// The file.
        path: PathBuf,
    },
    /// The library cannot be loaded.
    #[error("{}: the PKCS#11 library cannot be used: {reason}; see `module-path`", module.display())]
    Library {
        /// Its file.
        module: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no such token.
    #[error("{uri}: {} shows no such token; is it plugged in, and initialised?", module.display())]
    NoToken {
        /// The key.
        uri: String,
        /// The library that was asked.
        module: PathBuf,
    },
    /// More than one is meant.
    #[error("{uri}: there are {count} such {what}s; say which with `{attribute}`")]
    Ambiguous {
        /// The key.
        uri: String,
        /// How many.
        count: usize,
        /// Tokens or private keys.
        what: &'static str,
        /// What tells them apart.
        attribute: &'static str,
    },
    /// The token does not let us in.
    #[error("{uri}: the token takes no login: {reason}; see `pin-source`")]
    Login {
        /// The key.
        uri: String,
        /// Why.
        reason: String,
    },
    /// The token has no such key.
    #[error(
        "{uri}: the token has no such private key; `pkcs11-tool --list-objects --login` shows its keys"
    )]
    NoKey {
        /// The key.
        uri: String,
    },
    /// The certificate's key is of a kind that no token signs with here.
    #[error("{uri}: the certificate's key is {kind}; tokens sign with ECDSA P-256, P-384 or RSA")]
    Kind {
        /// The key.
        uri: String,
        /// The kind.
        kind: String,
    },
    /// The token cannot sign as TLS asks.
    #[error("{uri}: the token offers none of the signatures that TLS knows for {kind}")]
    Mechanisms {
        /// The key.
        uri: String,
        /// The kind of key.
        kind: String,
    },
    /// A call failed.
    #[error("{uri}: {what}: {reason}")]
    Failed {
        /// The key.
        uri: String,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// Every session signs, and none came back.
    #[error("{uri}: all {SESSIONS} sessions were busy for {} s", PATIENCE.as_secs())]
    Busy {
        /// The key.
        uri: String,
    },
    /// What the key signs does not verify.
    #[error("{uri}: the key in the token is not that of the certificate; see `object` and `id`")]
    Mismatch {
        /// The key.
        uri: String,
    },
}
