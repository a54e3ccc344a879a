//! Who a listener is and whom it trusts: certificates, keys, authorities, tickets.
//!
//! An [`Identity`] is everything that a listener needs for its handshakes, read from files once and
//! built whole: it is never changed, only replaced by another one ([`Identity::reload`]), and a
//! connection that began under the old one ends under it. What cannot be loaded is refused with the
//! listener, the file and the remedy ([`IdentityError`]), and the old identity stays. rustls's
//! configurations are made here once per certificate, not per handshake; all of them name
//! aws-lc-rs and allow secrets to be extracted, as the kernel cannot take a connection over
//! otherwise.
//!
//! | module | holds |
//! |---|---|
//! | `server`, `client` | configurations for either side, and which one a client gets |
//! | `pair`, `directory` | a certificate and its key, from files or a directory of them |
//! | `names` | which certificate serves which name |
//! | `trust` | authorities and revocation lists |
//! | `tickets`, `sessions` | resumption |
//! | `provider` | cipher suites and groups |
//! | `certificate`, `distinguished_name`, `der`, `time` | what a certificate says |
//! | `fault` | refusals and warnings |

mod certificate;
mod client;
mod der;
mod directory;
mod distinguished_name;
mod fault;
mod names;
mod pair;
mod provider;
mod server;
mod sessions;
mod tickets;
mod time;
mod trust;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, ServerConfig};

pub use certificate::{Fingerprint, KeyKind, common_name};
pub use der::BadDer;
pub use fault::{IdentityError, IdentityFault, Warning};
pub use pair::Signing;
pub use server::{Offer, Refusal};
pub use tickets::{NoTicketKey, TicketKeyAge, TicketKeys};
pub use time::Seconds;

use client::Client;
use pair::{Occasion, Pair, PairFiles};
use server::Server;
use trust::Trust;

use crate::settings::{CertificateFiles, CertificateSource, KeySource, ListenerSettings, Mode};

/// What all listeners of a relay share.
#[derive(Clone, Debug)]
pub struct Common {
    /// The keys of session tickets.
    pub tickets: Arc<TicketKeys>,
    /// TLS 1.2 suites that a device takes, where the operator prefers that
    /// (`prefer = "tls12-device"`): clients that offer one get TLS 1.2. Otherwise empty.
    pub device_suites: Vec<CipherSuite>,
}

/// Who a listener is and whom it trusts.
#[derive(Debug)]
pub struct Identity {
    listener: String,
    pairs: Vec<Pair>,
    trust: Option<Trust>,
    side: Side,
    warnings: Vec<Warning>,
}

/// Which side of TLS a listener is.
#[derive(Debug)]
enum Side {
    Server(Server),
    Client(Client),
}

/// What a connection to the upstream goes by.
#[derive(Clone, Debug)]
pub struct Outward {
    /// For rustls.
    pub config: Arc<ClientConfig>,
    /// Whom the upstream must be.
    pub server_name: ServerName<'static>,
    /// Where our own certificate's key signs, if we have one.
    pub signing: Signing,
}

impl Identity {
    /// Reads and checks everything that a listener names.
    ///
    /// # Errors
    /// What is of no use, why, and what would mend it.
    pub fn load(listener: &ListenerSettings, common: &Common) -> Result<Self, IdentityError> {
        Self::load_at(listener, common, None, Seconds::now())
            .map_err(|fault| fault.of(&listener.name))
    }

    /// Reads everything again, with these settings; `self` is what is in force until then.
    ///
    /// # Errors
    /// As [`load`](Self::load); and a certificate that does not hold now, or a revocation list
    /// older than the one in force.
    pub fn reload(
        &self,
        listener: &ListenerSettings,
        common: &Common,
    ) -> Result<Self, IdentityError> {
        Self::load_at(listener, common, Some(self), Seconds::now())
            .map_err(|fault| fault.of(&listener.name))
    }

    /// What a client gets, and where its handshake may run.
    ///
    /// # Errors
    /// The alert to send, where the client asked for a name that is refused.
    pub fn server_config(
        &self,
        offer: &Offer<'_>,
    ) -> Result<(Arc<ServerConfig>, Signing), Refusal> {
        match &self.side {
            Side::Server(server) => server.choose(&self.pairs, offer),
            Side::Client(_) => Err(Refusal::NotAServer),
        }
    }

    /// What connections to the upstream go by; `None` for a listener that terminates TLS.
    pub fn client_config(&self) -> Option<Outward> {
        match &self.side {
            Side::Server(_) => None,
            Side::Client(client) => Some(client.outward()),
        }
    }

    /// What is in force and yet deserves a word, as of when it was loaded.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whose it is.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    fn load_at(
        listener: &ListenerSettings,
        common: &Common,
        previous: Option<&Self>,
        now: Seconds,
    ) -> Result<Self, IdentityFault> {
        let provider = provider::provider();
        let trust =
            Trust::load(&listener.identity, previous.and_then(|previous| previous.trust.as_ref()))?;
        let pairs = pairs(listener, previous, now, &provider)?;
        let side = match listener.mode {
            Mode::Terminate => {
                Side::Server(Server::new(listener, common, &pairs, trust.as_ref(), &provider)?)
            }
            Mode::Originate => {
                Side::Client(Client::new(listener, pairs.first(), trust.as_ref(), &provider)?)
            }
        };
        let mut warnings: Vec<_> =
            pairs.iter().flat_map(|pair| pair.warnings.iter().cloned()).collect();
        warnings.extend(trust.iter().flat_map(|trust| trust.warnings(now)));
        Ok(Self { listener: listener.name.clone(), pairs, trust, side, warnings })
    }
}

/// All pairs of a listener, in the order of its settings.
fn pairs(
    listener: &ListenerSettings,
    previous: Option<&Identity>,
    now: Seconds,
    provider: &Arc<CryptoProvider>,
) -> Result<Vec<Pair>, IdentityFault> {
    let in_service: Option<Vec<Fingerprint>> =
        previous.map(|old| old.pairs.iter().map(|pair| pair.facts.fingerprint).collect());
    let occasion = Occasion {
        now,
        mode: listener.mode,
        expired: listener.identity.expired,
        in_service: in_service.as_deref(),
        provider,
    };
    let mut pairs = Vec::new();
    for source in &listener.identity.certificates {
        for files in files_of(source)? {
            pairs.push(Pair::load(files, &occasion)?);
        }
    }
    Ok(pairs)
}

fn files_of(source: &CertificateSource) -> Result<Vec<PairFiles>, IdentityFault> {
    match source {
        CertificateSource::Files(files) => Ok(vec![named(files)]),
        CertificateSource::Directory(directory) => directory::pairs(directory),
    }
}

fn named(files: &CertificateFiles) -> PairFiles {
    let key = match &files.key {
        KeySource::File(path) => KeySource::File(key_files::location(path)),
        KeySource::Pkcs11(uri) => KeySource::Pkcs11(uri.clone()),
    };
    PairFiles {
        source: key_files::location(&files.chain),
        names: files.names.clone(),
        chain: key_files::location(&files.chain),
        key,
        ocsp: files.ocsp.as_deref().map(key_files::location),
        readers: key_files::Readers::Owner,
    }
}
