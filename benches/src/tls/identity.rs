//! One ECDSA P-256 certificate for every terminator, in files as each of them wants it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

/// The name in the certificate, and what clients ask for.
pub const NAME: &str = "sip.example.com";

/// A folder with certificate, key, and room for configurations; removed when dropped.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder and the files. In memory where the machine has `/dev/shm`: a log line or
    /// a state file must not wait for a disk.
    pub fn create() -> Result<Self> {
        let parent = Path::new("/dev/shm");
        let parent = if parent.is_dir() { parent.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("postern-bench-tls-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        let folder = Self { path };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        folder.write("chain.pem", &certificate)?;
        let key_path = folder.write("key.pem", &key)?;
        owner_only(&key_path)?;
        // HAProxy wants both in one file.
        folder.write("both.pem", &format!("{certificate}{key}"))?;
        Ok(folder)
    }

    /// Where `name` is, or would be.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file and says where.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is a self-signed certificate and its key.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn owner_only(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("setting the mode of {}", path.display()))
}
