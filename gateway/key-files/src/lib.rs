//! Certificates and private keys from files: PEM each, read once and whole.
//!
//! A key that others on this host can read is refused, unless the service manager handed it over: a
//! name without a slash is looked for in `$CREDENTIALS_DIRECTORY` first, and what is in there is ours
//! alone whatever its mode says (systemd.exec(5), `LoadCredential=`). Whom a certificate is for and
//! whether it still holds is for the caller to judge; nothing is kept here.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}{}", path.display(), remedy(path, source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the key.
    #[error(
        "{} is a private key that others can read (mode {mode:04o}); run `chmod {} {}`",
        path.display(), readers.remedy(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Who might have read it.
        readers: Readers,
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

/// Who may read a private key's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone.
    Owner,
    /// Its owner and group. In a volume that the kubelet fills the owner is root, and a gateway that
    /// is not root reads as the pod's `fsGroup`; nobody else is in there.
    OwnerAndGroup,
}

impl Readers {
    /// The permission bits that let in more than these.
    fn too_many(self) -> u32 {
        match self {
            Self::Owner => 0o077,
            Self::OwnerAndGroup => 0o037,
        }
    }

    /// The mode that mends it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Owner => "600",
            Self::OwnerAndGroup => "640",
        }
    }
}

/// The certificates of a file, in its order; at least one.
///
/// # Errors
/// [`FileError::Read`] or [`FileError::Content`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let (path, text) = contents(path)?;
    let wrong = |reason| FileError::Content { path: path.clone(), expected: "certificate", reason };
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(wrong(absent("there is none in it", &text))),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// The private key of a file that nobody but `readers` may read.
///
/// # Errors
/// [`FileError::Read`], [`FileError::Exposed`] or [`FileError::Content`].
pub fn private_key(path: &Path, readers: Readers) -> Result<PrivateKeyDer<'static>, FileError> {
    let (path, text) = secret(path, readers)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| FileError::Content {
        path: path.clone(),
        expected: "private key",
        reason: match error {
            pem::Error::NoItemsFound => absent("there is none in it, or it is encrypted", &text),
            error => error.to_string(),
        },
    })
}

/// A file that nobody but `readers` may read: where it was found, and what is in it.
///
/// # Errors
/// [`FileError::Read`] or [`FileError::Exposed`].
pub fn secret(path: &Path, readers: Readers) -> Result<(PathBuf, Zeroizing<Vec<u8>>), FileError> {
    let (path, mut file) = open(path)?;
    let failed = |source| FileError::Read { path: path.clone(), source };
    // Of the open file, so that nobody swaps it between the two looks.
    let about = file.metadata().map_err(failed)?;
    let mode = about.permissions().mode() & 0o7777;
    if mode & readers.too_many() != 0 && !is_credential(&path) {
        return Err(FileError::Exposed { path, mode, readers });
    }
    // Of its full size from the start: growing would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(about.len() as usize + 1));
    file.read_to_end(&mut text).map_err(failed)?;
    Ok((path, text))
}

/// A file that holds no secret: where it was found, and what is in it.
///
/// # Errors
/// [`FileError::Read`].
pub fn contents(path: &Path) -> Result<(PathBuf, Vec<u8>), FileError> {
    let (path, mut file) = open(path)?;
    let mut text = Vec::new();
    match file.read_to_end(&mut text) {
        Ok(_) => Ok((path, text)),
        Err(source) => Err(FileError::Read { path, source }),
    }
}

/// Where a file is: a bare name that the service manager handed over is among the credentials.
pub fn location(path: &Path) -> PathBuf {
    located(path, credentials().as_deref())
}

fn open(path: &Path) -> Result<(PathBuf, File), FileError> {
    let path = location(path);
    match open_regular(&path) {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(FileError::Read { path, source }),
    }
}

/// Opens a file that reading comes to an end of, in one sense and the other.
fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a FIFO would wait for whoever writes to it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if about.len() > MAX_LENGTH {
        let message = format!("it has {} bytes, and {MAX_LENGTH} is the most", about.len());
        return Err(io::Error::other(message));
    }
    Ok(file)
}

/// Room for the largest revocation lists in use, in bytes.
const MAX_LENGTH: u64 = 64 << 20;

/// What to do about a file that cannot be read, behind the reason.
fn remedy(path: &Path, source: &io::Error) -> String {
    let here = || std::env::current_dir().unwrap_or_default();
    match source.kind() {
        io::ErrorKind::NotFound if path.is_relative() => {
            format!("; a relative path starts at {}: write an absolute one", here().display())
        }
        io::ErrorKind::NotFound => "; see that the path is right".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "; see that the user that the gateway runs as may read it, and enter its directories"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// Why there is nothing of what was looked for, with a guess where the other half is there.
fn absent(reason: &str, text: &[u8]) -> String {
    let found = if CertificateDer::from_pem_slice(text).is_ok() {
        "certificate"
    } else if PrivateKeyDer::from_pem_slice(text).is_ok() {
        "private key"
    } else {
        return reason.to_owned();
    };
    format!("{reason}, but a {found}: were the two files exchanged?")
}

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
            let name = format!("postern-key-files-{name}-{}", std::process::id());
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
            let error = private_key(&path, Readers::Owner).unwrap_err().to_string();
            assert!(error.contains(&format!("run `chmod 600 {}`", path.display())), "{error}");
        }
        assert!(private_key(&directory.file("key.pem", &pem, 0o400), Readers::Owner).is_ok());
    }

    #[test]
    fn a_group_may_read_where_it_was_let_in_and_others_may_not() {
        let directory = Directory::new("group");
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for mode in [0o644, 0o660, 0o641] {
            let path = directory.file("key.pem", &pem, mode);
            let error = private_key(&path, Readers::OwnerAndGroup).unwrap_err().to_string();
            assert!(error.contains(&format!("run `chmod 640 {}`", path.display())), "{error}");
        }
        let path = directory.file("key.pem", &pem, 0o440);
        assert!(private_key(&path, Readers::OwnerAndGroup).is_ok());
    }

    #[test]
    fn a_file_of_something_else_says_what_was_expected() {
        let directory = Directory::new("content");
        let path = directory.file("x.pem", "hello", 0o600);
        let error = private_key(&path, Readers::Owner).unwrap_err().to_string();
        assert!(error.contains("no private key"), "{error}");
        let error = certificates(&path).unwrap_err().to_string();
        assert!(error.contains("no certificate"), "{error}");
        let error = certificates(&directory.0.join("absent.pem")).unwrap_err().to_string();
        assert!(error.contains("absent.pem"), "{error}");
    }

    #[test]
    fn what_no_reading_comes_to_an_end_of_is_refused_at_once() {
        let directory = Directory::new("fifo");
        let fifo = directory.0.join("fifo.pem");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [fifo.as_path(), directory.0.as_path(), Path::new("/dev/zero")] {
            let error = certificates(path).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
        let large = directory.0.join("large.pem");
        fs::File::create(&large).unwrap().set_len(MAX_LENGTH + 1).unwrap();
        let error = certificates(&large).unwrap_err().to_string();
        assert!(error.contains("67108864 is the most"), "{error}");
    }

    #[test]
    fn what_to_do_about_a_file_is_said() {
        let directory = Directory::new("remedies");
        let error = certificates(Path::new("none.pem")).unwrap_err().to_string();
        assert!(error.contains("write an absolute one"), "{error}");
        let pair = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let chain = directory.file("a.pem", &pair.cert.pem(), 0o600);
        let key = directory.file("a.key", &pair.signing_key.serialize_pem(), 0o600);
        let error = certificates(&key).unwrap_err().to_string();
        assert!(error.contains("but a private key: were the two files exchanged?"), "{error}");
        let error = private_key(&chain, Readers::Owner).unwrap_err().to_string();
        assert!(error.contains("but a certificate: were the two files exchanged?"), "{error}");
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
