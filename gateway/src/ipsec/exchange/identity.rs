//! This gateway's own key for exchange files: kept in the state directory, for its user alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, Serializable};
use zeroize::Zeroizing;

use super::{KEY_LEN, PublicKey, armor};

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;

/// An X25519 key pair.
pub(crate) struct Identity {
    pub(super) private: PrivateKey,
    pub(super) public: PublicKey,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The file system says no.
    #[error("exchange key {}: {source}; state.dir must be a directory of ours", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others may have read it.
    #[error("exchange key {}: its mode is {mode:o}: anybody may have read it; remove it and give peers the new one", path.display())]
    Mode {
        /// Where it is.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Cut off or overwritten.
    #[error("exchange key {}: not 32 bytes in base64; remove it and give peers the new one", path.display())]
    Form {
        /// Where it is.
        path: PathBuf,
    },
}

impl Identity {
    /// The one in `state`, made where there is none yet; without a directory one that lasts as
    /// long as this process.
    pub(crate) fn load(state: Option<&Path>) -> Result<Self, IdentityError> {
        let Some(state) = state else { return Ok(Self::generate()) };
        let path = state.join(FILE);
        match File::open(&path) {
            Ok(file) => Self::read(file, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The first start, of somebody who follows the guide.
                let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
                made.map_err(|source| IdentityError::File { path: path.clone(), source })?;
                Self::create(&path)
            }
            Err(source) => Err(IdentityError::File { path, source }),
        }
    }

    pub(crate) fn generate() -> Self {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        Self { private, public }
    }

    /// To be given to peers. Not secret.
    pub(crate) fn public_text(&self) -> String {
        armor::key_text(&self.public.to_bytes())
    }

    fn read(mut file: File, path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::File { path: path.to_owned(), source };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY_LEN));
        file.read_to_string(&mut text).map_err(failed)?;
        let form = || IdentityError::Form { path: path.to_owned() };
        let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).map_err(|_| form())?;
        let private = PrivateKey::from_bytes(&bytes).map_err(|_| form())?;
        let public = X25519HkdfSha256::sk_to_pk(&private);
        Ok(Self { private, public })
    }

    /// Never half there: written beside, then renamed.
    fn create(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::File { path: path.to_owned(), source };
        let identity = Self::generate();
        let bytes = Zeroizing::new(identity.private.to_bytes().to_vec());
        let text = Zeroizing::new(STANDARD.encode(&*bytes));
        let beside = path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        writeln!(file, "{}", *text).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)?;
        Ok(identity)
    }
}

const FILE: &str = "exchange-key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_its_directory_for_us_alone() {
        let above = std::env::temp_dir().join(format!("postern-first-{}", std::process::id()));
        let directory = above.join("state");
        Identity::load(Some(&directory)).unwrap();
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&above).unwrap();
        std::fs::write(&above, "a file").unwrap();
        let error = Identity::load(Some(&directory)).err().unwrap().to_string();
        assert!(error.contains("state.dir must be a directory of ours"), "{error}");
        std::fs::remove_file(&above).unwrap();
    }

    #[test]
    fn a_key_outlives_us_and_is_ours_alone() {
        let directory = std::env::temp_dir().join(format!("postern-id-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let made = Identity::load(Some(&directory)).unwrap().public_text();
        assert_eq!(Identity::load(Some(&directory)).unwrap().public_text(), made);
        let path = directory.join(FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load(Some(&directory)).err().unwrap().to_string();
        assert!(error.contains("its mode is 640"), "{error}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
