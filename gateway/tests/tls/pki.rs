//! Certificates for one scenario: an authority, what it signs, its revocation list, and what its
//! OCSP responder says. Files are PEM except the OCSP response, which is DER, as a server reads it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

/// An authority with its folder: `NAME.pem` is its certificate.
pub(crate) struct Authority {
    pub(crate) folder: PathBuf,
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is for and how it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf<'a> {
    /// The file's stem: `STEM.pem` and `STEM.key` are written.
    pub(crate) stem: &'a str,
    /// DNS names; the first is the common name too.
    pub(crate) names: &'a [&'a str],
    pub(crate) serial: u64,
    pub(crate) key: Key,
    /// The first year in which it does not hold any more.
    pub(crate) until: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    EcdsaP256,
    Rsa2048,
}

impl Authority {
    /// Makes one and writes `NAME.pem` into `folder`.
    pub(crate) fn new(folder: &Path, name: &'static str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key)?.pem())?;
        write_key(&folder.join(format!("{name}.key")), &key.serialize_pem())?;
        Ok(Self { folder: folder.to_owned(), name, issuer: Issuer::new(params, key) })
    }

    /// Writes the certificate and its key.
    pub(crate) fn sign(&self, leaf: Leaf<'_>) -> Result<()> {
        let path = |extension: &str| self.folder.join(format!("{}.{extension}", leaf.stem));
        let key = leaf.key.generate()?;
        let names: Vec<String> = leaf.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, leaf.names[0]);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(leaf.until, 1, 1);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        fs::write(path("pem"), params.signed_by(&key, &self.issuer)?.pem())?;
        write_key(&path("key"), &key.serialize_pem())
    }

    /// Writes `STEM.crl`, on which these serial numbers are.
    pub(crate) fn revoke(&self, stem: &str, serials: &[u64]) -> Result<()> {
        let revoked_certs = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(FAR, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = list.signed_by(&self.issuer)?.pem()?;
        fs::write(self.folder.join(format!("{stem}.crl")), text)?;
        Ok(())
    }

    /// Writes `STEM.ocsp`: the certificate is good. By openssl, which is a responder too.
    pub(crate) fn answer_ocsp(&self, leaf: Leaf<'_>) -> Result<()> {
        let index =
            format!("V\t350101000000Z\t\t{:02X}\tunknown\t/CN={}\n", leaf.serial, leaf.names[0]);
        fs::write(self.folder.join("index.txt"), index)?;
        let ours = format!("{}.pem", self.name);
        let (key, leaf_file) = (format!("{}.key", self.name), format!("{}.pem", leaf.stem));
        let answer = format!("{}.ocsp", leaf.stem);
        let output = Command::new("openssl")
            .current_dir(&self.folder)
            .args(["ocsp", "-index", "index.txt", "-CA", &ours, "-rsigner", &ours, "-rkey", &key])
            .args(["-issuer", &ours, "-cert", &leaf_file, "-ndays", "30", "-noverify"])
            .args(["-respout", &answer])
            .output()
            .context("openssl ocsp")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl<'a> Leaf<'a> {
    /// An ECDSA certificate that holds.
    pub(crate) fn new(stem: &'a str, serial: u64, names: &'a [&'a str]) -> Self {
        Self { stem, names, serial, key: Key::EcdsaP256, until: FAR }
    }
}

impl Key {
    fn generate(self) -> Result<KeyPair> {
        match self {
            Self::EcdsaP256 => Ok(KeyPair::generate()?),
            // ring signs with RSA keys but makes none.
            Self::Rsa2048 => {
                let output = Command::new("openssl")
                    .args([
                        "genpkey",
                        "-quiet",
                        "-algorithm",
                        "RSA",
                        "-pkeyopt",
                        "rsa_keygen_bits:2048",
                    ])
                    .output()
                    .context("openssl genpkey")?;
                Ok(KeyPair::from_pem(&String::from_utf8(output.stdout)?)?)
            }
        }
    }
}

fn write_key(path: &Path, pem: &str) -> Result<()> {
    fs::write(path, pem)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Beyond every run of these tests.
const FAR: i32 = 2049;
