//! The three files of mutual TLS: our certificate, its key, and the authority that others answer to.
//!
//! A key that others on this host can read is refused, unless the service manager handed it over: a
//! name without a slash is looked for in `$CREDENTIALS_DIRECTORY` first, and what is in there is ours
//! alone whatever its mode says (systemd.exec(5), `LoadCredential=`).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

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

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the key.
    #[error(
        "{} is a private key that others can read (mode {mode:04o}); run `chmod 600 {}`",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not what it should be.
    #[error("{} holds no {expected} in PEM: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Key and certificate are not one another's, or of a kind that is not supported.
    #[error("{} and {} do not work together: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

impl TlsFiles {
    /// Reads all three.
    ///
    /// # Errors
    /// The first file that is of no use, and why.
    pub fn load(&self) -> Result<TlsMaterial, FileError> {
        Ok(TlsMaterial {
            chain: certificates(&self.certificate)?,
            key: private_key(&self.key)?,
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let (path, mut file) = open(path)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(|source| FileError::Read { path: path.clone(), source })?;
    let wrong = |reason| FileError::Content { path: path.clone(), expected: "certificate", reason };
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(wrong("there is none in it".to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let (path, mut file) = open(path)?;
    let failed = |source| FileError::Read { path: path.clone(), source };
    // Of the open file, so that nobody swaps it between the two looks.
    let about = file.metadata().map_err(failed)?;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 && !is_credential(&path) {
        return Err(FileError::Exposed { path, mode });
    }
    // Of its full size from the start: growing would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(about.len() as usize + 1));
    file.read_to_end(&mut text).map_err(failed)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| FileError::Content {
        path: path.clone(),
        expected: "private key",
        reason: match error {
            pem::Error::NoItemsFound => "there is none in it, or it is encrypted".to_owned(),
            error => error.to_string(),
        },
    })
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

fn open(path: &Path) -> Result<(PathBuf, File), FileError> {
    let path = located(path, credentials().as_deref());
    match File::open(&path) {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(FileError::Read { path, source }),
    }
}

/// A bare name that the service manager handed over is there.
fn located(path: &Path, credentials: Option<&Path>) -> PathBuf {
    let is_bare = path.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    let handed_over = credentials.filter(|_| is_bare).map(|directory| directory.join(path));
    handed_over.filter(|path| path.exists()).unwrap_or_else(|| path.to_owned())
}

fn is_credential(path: &Path) -> bool {
    credentials().is_some_and(|directory| path.parent() == Some(&directory))
}

fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A directory of this test's own, removed again.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("postern-admin-client-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let directory = Directory::new("exposed");
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for mode in [0o644, 0o640, 0o602] {
            let path = directory.file("key.pem", &pem, mode);
            let error = private_key(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("run `chmod 600 {}`", path.display())), "{error}");
        }
        assert!(private_key(&directory.file("key.pem", &pem, 0o400)).is_ok());
    }

    #[test]
    fn a_file_of_something_else_says_what_was_expected() {
        let directory = Directory::new("content");
        let path = directory.file("x.pem", "hello", 0o600);
        let error = private_key(&path).unwrap_err().to_string();
        assert!(error.contains("no private key"), "{error}");
        let error = certificates(&path).unwrap_err().to_string();
        assert!(error.contains("no certificate"), "{error}");
        let error = certificates(&directory.0.join("absent.pem")).unwrap_err().to_string();
        assert!(error.contains("absent.pem"), "{error}");
    }

    #[test]
    fn a_bare_name_is_looked_for_among_the_credentials_first() {
        let directory = Directory::new("credentials");
        let there = directory.file("key.pem", "", 0o440);
        assert_eq!(located(Path::new("key.pem"), Some(&directory.0)), there);
        assert_eq!(located(Path::new("none.pem"), Some(&directory.0)), Path::new("none.pem"));
        assert_eq!(located(Path::new("./key.pem"), Some(&directory.0)), Path::new("./key.pem"));
        assert_eq!(located(Path::new("key.pem"), None), Path::new("key.pem"));
    }
}
