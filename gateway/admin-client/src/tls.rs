//! The three files of mutual TLS: our certificate, its key, and the authority that others answer to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use key_files::{FileError, Readers, certificates, private_key};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Where the files are, PEM each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate, then those that lead to the authority.
    pub certificate: PathBuf,
    /// Its private key, 0600.
    pub key: PathBuf,
    /// Certificates that the other side's must come from. No others are trusted, the system's
    /// neither.
    pub authority: PathBuf,
}

/// What the files hold. `Debug` is left out: there is a key in it.
pub struct TlsMaterial {
    /// Ours first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// The authority's.
    pub roots: RootCertStore,
}

impl TlsFiles {
    /// Reads all three.
    ///
    /// # Errors
    /// The first file that is of no use, and why.
    pub fn load(&self) -> Result<TlsMaterial, FileError> {
        Ok(TlsMaterial {
            chain: certificates(&self.certificate)?,
            key: private_key(&self.key, Readers::Owner)?,
            roots: roots(&self.authority)?,
        })
    }

    /// What a client of mutual TLS goes by.
    pub(crate) fn client(&self) -> Result<ClientConfig, FileError> {
        let TlsMaterial { chain, key, roots } = self.load()?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| self.pair_error(source))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|source| self.pair_error(source))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// That TLS would not take certificate and key.
    pub fn pair_error(&self, source: rustls::Error) -> FileError {
        FileError::Pair { certificate: self.certificate.clone(), key: self.key.clone(), source }
    }
}

/// The crypto behind TLS, named here so that nothing depends on a default of the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| FileError::Content {
            path: path.to_owned(),
            expected: "certificate of an authority",
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}
