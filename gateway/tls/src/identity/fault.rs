//! Why an identity is of no use, and what deserves a word although it is.
//!
//! Every message names the listener, the file, and what would mend it; none holds a byte of a key
//! or a PIN.

use std::path::PathBuf;

use key_files::FileError;

use super::certificate::KeyKind;
use super::der::BadDer;
use super::pkcs11::TokenError;
use super::time::Seconds;

/// A listener's identity that was refused.
#[derive(Debug, thiserror::Error)]
#[error("TLS listener {listener:?}: {fault}")]
pub struct IdentityError {
    /// The listener.
    pub listener: String,
    /// What is wrong, and what to do about it.
    pub fault: Box<IdentityFault>,
}

/// What is wrong with a listener's certificates, keys, authorities or revocation lists.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFault {
    /// A file cannot be read, is open to others, or holds something else.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate that rustls and we cannot read.
    #[error("{}: certificate {place} in it cannot be read: {fault}; write it anew in PEM", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which one in it, from 1.
        place: usize,
        /// What is wrong.
        fault: BadDer,
    },
    /// The key is another certificate's.
    #[error(
        "the key in {} is not that of the certificate in {}; give the key that the certificate was \
         made with",
        key.display(), chain.display()
    )]
    Mismatch {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's, or the token's URI.
        key: PathBuf,
    },
    /// The key is that of a certificate further down.
    #[error(
        "{}: the key belongs to certificate {place} in it; put that one first, then what signed it",
        chain.display()
    )]
    LeafNotFirst {
        /// The certificates' file.
        chain: PathBuf,
        /// Where its certificate is, from 1.
        place: usize,
    },
    /// A certificate did not sign the one before it.
    #[error(
        "{}: certificate {place} ({subject}) did not sign the one before it, which names {issuer}; \
         order them from the listener's own to the one that the authority signed",
        chain.display()
    )]
    ChainOrder {
        /// The certificates' file.
        chain: PathBuf,
        /// Which does not fit, from 1.
        place: usize,
        /// Whose it is.
        subject: String,
        /// Who should have been there.
        issuer: String,
    },
    /// TLS can do nothing with such a key.
    #[error("the key in {} cannot be used: {reason}; use ECDSA P-256 or RSA of 2048 bits or more", key.display())]
    Key {
        /// The key's file.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nobody accepts such a key any more.
    #[error("{}: its key is {kind}, which is too weak; use ECDSA P-256 or RSA of 2048 bits or more", chain.display())]
    WeakKey {
        /// The certificate's file.
        chain: PathBuf,
        /// Its kind and size.
        kind: KeyKind,
    },
    /// It is over.
    #[error("{}: the certificate expired at {not_after}; renew it", chain.display())]
    Expired {
        /// The certificate's file.
        chain: PathBuf,
        /// When.
        not_after: Seconds,
    },
    /// It would take the place of one that holds.
    #[error(
        "{}: the certificate holds only from {not_before} on; reload then, or set this machine's \
         clock",
        chain.display()
    )]
    NotYetValid {
        /// The certificate's file.
        chain: PathBuf,
        /// When.
        not_before: Seconds,
    },
    /// A configured name that the certificate does not have.
    #[error(
        "{}: the certificate is not for {name:?}, only for {}; take the name out of `names`, or \
         have a certificate made for it",
        chain.display(), listed(covered)
    )]
    NotCovered {
        /// The certificate's file.
        chain: PathBuf,
        /// The name.
        name: String,
        /// What it is for.
        covered: Vec<String>,
    },
    /// A name that cannot be one.
    #[error("{name:?} is no name that a client could ask for; write a DNS name, or `*.` and one")]
    BadName {
        /// As it was written.
        name: String,
    },
    /// A server without any.
    #[error("it has no certificate; set `certificate`")]
    NoCertificate,
    /// A directory in which there is no pair.
    #[error(
        "{} holds no certificate with its key; put tls.crt and tls.key there, or NAME.pem and \
         NAME.key",
        directory.display()
    )]
    EmptyDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// A key without the certificate that belongs to it.
    #[error("{}: there is no certificate beside this key; put NAME.pem or NAME.crt there", key.display())]
    KeyAlone {
        /// The key's file.
        key: PathBuf,
    },
    /// Peers are to be verified, and nobody says by whom.
    #[error("it verifies its peers' certificates, and has no authority for that; set `authority`")]
    NoAuthority,
    /// An authority that cannot be one.
    #[error("{}: {reason}; give certificates of authorities in PEM", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A revocation list that cannot be used.
    #[error("{}: {reason}; fetch the authority's list anew, in PEM or DER", path.display())]
    RevocationList {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Whatever it revokes, nobody who is believed said so.
    #[error(
        "{}: no certificate in `authority` has signed this revocation list of {issuer}; fetch that \
         authority's list anew, or put the certificate that signed it into `authority`",
        path.display()
    )]
    ForeignRevocationList {
        /// The file.
        path: PathBuf,
        /// Whose list it says it is.
        issuer: String,
    },
    /// An older list than the one in force would bring revoked certificates back.
    #[error(
        "{}: this revocation list is of {this_update}, older than the one in force; fetch the \
         newest one",
        path.display()
    )]
    OlderRevocationList {
        /// The file.
        path: PathBuf,
        /// When it was made.
        this_update: Seconds,
    },
    /// The upstream cannot be known without a name.
    #[error("{name:?} is no name of an upstream; set `server_name` to a DNS name or an address")]
    ServerName {
        /// As it was written.
        name: String,
    },
    /// A protocol's name that does not fit into the extension.
    #[error("{name:?} is no protocol's name for `alpn`; write 1 to 255 bytes (RFC 7301)")]
    Protocol {
        /// As it was written.
        name: String,
    },
    /// A token that does not do what it should.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// rustls would not take what was put together.
    #[error("TLS cannot be set up: {0}; see `versions` and `certificate`")]
    Setup(#[from] rustls::Error),
}

impl IdentityFault {
    /// Of this listener.
    pub(crate) fn of(self, listener: &str) -> IdentityError {
        IdentityError { listener: listener.to_owned(), fault: Box::new(self) }
    }
}

/// What is in force and yet deserves a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// What kind it is of.
    pub kind: WarningKind,
    /// The file, what is the matter with it, and what to do.
    pub text: String,
}

/// Kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WarningKind {
    /// A certificate or a list is over, or soon, or not yet in its time.
    Time,
    /// What a file holds now cannot be used, and something else stays or is left out.
    Refused,
    /// Some peers will mind.
    Advice,
}

impl WarningKind {
    pub(crate) fn says(self, text: String) -> Warning {
        Warning { kind: self, text }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names for a sentence; of very many, the first.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    match names {
        [] => "no name at all".to_owned(),
        names if names.len() <= SHOWN => names.join(", "),
        names => format!("{} and more", names[..SHOWN].join(", ")),
    }
}
