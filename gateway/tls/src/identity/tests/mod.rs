//! Identities as listeners use them: loaded from files, in handshakes with rustls's own client,
//! replaced.

mod bad_input;
mod credentials;
mod directories;
pub(crate) mod handshake;
mod reload;

use std::path::PathBuf;
use std::time::Duration;

use super::test_files::{Authority, Folder, Leaf};
use super::*;
use crate::settings::{
    ClientAuthentication, ExpiredCertificate, Limits, ProxyProtocol, UnknownName,
};

/// A listener that terminates TLS with these certificates.
pub(crate) fn listener(certificates: Vec<CertificateSource>) -> ListenerSettings {
    ListenerSettings {
        name: "sip".to_owned(),
        mode: Mode::Terminate,
        listen: ([127, 0, 0, 1], 0).into(),
        upstream: vec![([127, 0, 0, 1], 5060).into()],
        proxy_protocol: ProxyProtocol::None,
        identity: IdentitySettings { certificates, ..IdentitySettings::default() },
        limits: Limits::default(),
    }
}

pub(crate) fn common() -> Common {
    let tickets = TicketKeys::new(Duration::from_secs(3600)).unwrap();
    Common { tickets, device_suites: Vec::new() }
}

/// A pair in a folder, as `NAME.pem` and `NAME.key`.
fn pair(folder: &Folder, name: &str, leaf: &Leaf) -> CertificateSource {
    let chain = folder.file(&format!("{name}.pem"), leaf.pem());
    let key = folder.file(&format!("{name}.key"), leaf.key_pem());
    files(chain, key)
}

pub(crate) fn files(chain: PathBuf, key: PathBuf) -> CertificateSource {
    CertificateSource::Files(CertificateFiles {
        names: Vec::new(),
        chain,
        key: KeySource::File(key),
        ocsp: None,
    })
}

/// The same for certain names.
fn named_for(source: CertificateSource, names: &[&str]) -> CertificateSource {
    let CertificateSource::Files(mut files) = source else { panic!("not a pair of files") };
    files.names = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateSource::Files(files)
}

pub(crate) fn load(listener: &ListenerSettings) -> Identity {
    Identity::load(listener, &common()).unwrap()
}

/// Why it is refused; the listener is always named.
pub(crate) fn refusal(listener: &ListenerSettings) -> String {
    let error = Identity::load(listener, &common()).unwrap_err().to_string();
    assert!(error.starts_with(r#"TLS listener "sip": "#), "{error}");
    error
}

/// Why files are read again.
#[derive(Clone, Copy)]
enum Reason {
    Asked,
    Changed,
}

/// The identity in force, as a listener holds it.
struct Current(std::sync::RwLock<Arc<Identity>>);

impl Current {
    fn new(identity: Identity) -> Self {
        Self(std::sync::RwLock::new(Arc::new(identity)))
    }

    fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.0.read().unwrap())
    }

    /// Answers with what changed; what is refused changes nothing.
    fn reload(
        &self,
        listener: &ListenerSettings,
        common: &Common,
        reason: Reason,
    ) -> Result<Vec<String>, IdentityError> {
        let old = self.identity();
        let new = match reason {
            Reason::Asked => old.reload(listener, common)?,
            Reason::Changed => old.refresh(listener, common)?,
        };
        let changes = new.changes_since(&old);
        *self.0.write().unwrap() = Arc::new(new);
        Ok(changes)
    }
}
