//! An authority for one test, and what it signs.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Writes the authority's certificate, and one with its key for `name` and every address.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> Result<()> {
        let names = [name, "192.0.2.1", "192.0.2.2"].map(str::to_owned);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        fs::write(directory.join("ca.pem"), &self.certificate)?;
        fs::write(directory.join("certificate.pem"), certificate.pem())?;
        let path = directory.join("key.pem");
        fs::write(&path, key.serialize_pem())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }
}
