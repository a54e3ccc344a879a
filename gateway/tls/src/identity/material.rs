//! A certificate and its key for others than TLS listeners: DTLS takes them too, from the same
//! files and tokens and under the same rules.
//!
//! A peer of DTLS-SRTP knows the certificate by its fingerprint, so names, purpose and time are not
//! looked at: what is refused is a file that holds something else, a key that others can read, a
//! weak one, one of another certificate, and a chain out of order.

use std::path::Path;
use std::sync::Arc;

use key_files::Readers;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;

use super::fault::IdentityFault;
use super::pair::{PairFiles, ReadPair};
use super::provider::provider;
use crate::settings::KeySource;

/// A certificate chain, leaf first, and its key.
#[derive(Debug)]
pub struct Material {
    /// The chain.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: KeyMaterial,
}

/// Where a private key is.
#[derive(Debug)]
pub enum KeyMaterial {
    /// Here.
    Here(PrivateKeyDer<'static>),
    /// In a token, which signs; that may block.
    Token(Arc<dyn SigningKey>),
}

impl Material {
    /// Reads and checks a pair. Blocks for as long as files and tokens do.
    ///
    /// # Errors
    /// [`IdentityFault`]: what is wrong, where, and what would mend it.
    pub fn load(chain: &Path, key: &KeySource) -> Result<Self, IdentityFault> {
        let files = PairFiles {
            source: key_files::location(chain),
            names: Vec::new(),
            chain: key_files::location(chain),
            key: match key {
                KeySource::File(path) => KeySource::File(key_files::location(path)),
                KeySource::Pkcs11(uri) => KeySource::Pkcs11(uri.clone()),
            },
            ocsp: None,
            readers: Readers::Owner,
        };
        let pair = ReadPair::load(&files, &provider())?;
        let key = match &files.key {
            KeySource::File(path) => {
                KeyMaterial::Here(key_files::private_key(path, files.readers)?)
            }
            KeySource::Pkcs11(_) => KeyMaterial::Token(Arc::clone(&pair.certified.key)),
        };
        Ok(Self { chain: pair.certified.cert, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::test_files::{Authority, Folder};

    #[test]
    fn a_pair_is_read_whole_and_what_does_not_fit_is_refused_by_its_file() {
        let (folder, authority) = (Folder::new("material"), Authority::new("CA"));
        let (one, other) = (authority.leaf(&["a.example"]), authority.leaf(&["b.example"]));
        let chain = folder.file("dtls.pem", one.pem() + &authority.pem());
        let key = folder.file("dtls.key", one.key_pem());
        let material = Material::load(&chain, &KeySource::File(key)).unwrap();
        assert_eq!(material.chain.len(), 2);
        let KeyMaterial::Here(key) = material.key else { panic!("not in a token") };
        assert_eq!(key.secret_der(), one.key.serialize_der());

        let wrong = folder.file("other.key", other.key_pem());
        let refused = Material::load(&chain, &KeySource::File(wrong)).unwrap_err().to_string();
        assert!(refused.contains("dtls.pem") && refused.contains("other.key"), "{refused}");
        let shown = folder.file_with_mode("shown.key", one.key_pem(), 0o644);
        let refused = Material::load(&chain, &KeySource::File(shown)).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
}
