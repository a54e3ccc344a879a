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
//! | `material` | the same for DTLS |
//! | `staple` | OCSP answers |
//! | `pkcs11` | keys in tokens |
//! | `names` | which certificate serves which name |
//! | `trust` | authorities and revocation lists |
//! | `tickets`, `sessions` | resumption |
//! | `provider` | cipher suites and groups |
//! | `certificate`, `distinguished_name`, `der`, `time` | what a certificate says |
//! | `refresh`, `changes` | replacing one by another |
//! | `watch` | when to look again |
//! | `describe` | what people may know of one |
//! | `fault` | refusals and warnings |

mod certificate;
mod changes;
mod client;
mod der;
mod describe;
mod directory;
mod distinguished_name;
mod fault;
mod material;
mod names;
mod pair;
mod pkcs11;
mod provider;
mod refresh;
mod server;
mod sessions;
mod staple;
#[cfg(test)]
mod test_files;
#[cfg(test)]
pub(crate) mod tests;
mod tickets;
mod time;
mod trust;
mod watch;

use std::sync::Arc;

use kernel_tls::Hello;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, ProtocolVersion, ServerConfig};

pub use certificate::{Fingerprint, KeyKind, common_name};
pub use der::BadDer;
pub use describe::{CertificateDescription, Description, OcspState, RevocationListDescription};
pub use fault::{IdentityError, IdentityFault, Warning, WarningKind};
pub use material::{KeyMaterial, Material};
pub use pair::Signing;
pub use pkcs11::{BadUri, TokenError, TokenUri};
pub use server::Refusal;
pub use tickets::{NoTicketKey, TicketKeyAge, TicketKeys};
pub use time::Seconds;
pub use watch::{Sign, Watch, watched};

use client::Client;
use pair::{Occasion, Pair, PairFiles};
use server::{Offer, Server};
use trust::Trust;

use crate::settings::{
    CertificateFiles, CertificateSource, IdentitySettings, KeySource, ListenerSettings, Mode,
    Versions,
};

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
    settings: IdentitySettings,
    pairs: Vec<Arc<Pair>>,
    trust: Option<Arc<Trust>>,
    side: Side,
    /// What a refresh could not take.
    kept: Vec<Warning>,
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

    /// Takes what changed in watched directories, in OCSP answers and in revocation lists; the rest
    /// stays as it is. A pair is taken when its certificate and its key match, and whatever cannot
    /// be loaded stays as it was, with a warning: whoever writes the files may not be done.
    ///
    /// # Errors
    /// As [`load`](Self::load), where nothing old can stay.
    pub fn refresh(
        &self,
        listener: &ListenerSettings,
        common: &Common,
    ) -> Result<Self, IdentityError> {
        refresh::refresh(self, listener, common, Seconds::now())
            .map_err(|fault| fault.of(&listener.name))
    }

    /// What a client gets, and where its handshake may run.
    ///
    /// # Errors
    /// The alert to send, where the client asked for a name that is refused.
    pub fn server_config(&self, hello: &Hello) -> Result<(Arc<ServerConfig>, Signing), Refusal> {
        let client_hello = hello.client_hello();
        self.choose(&Offer {
            server_name: client_hello.server_name(),
            signature_schemes: client_hello.signature_schemes(),
            cipher_suites: client_hello.cipher_suites(),
            versions: Versions {
                tls12: hello.offers_version(ProtocolVersion::TLSv1_2),
                tls13: hello.offers_version(ProtocolVersion::TLSv1_3),
            },
        })
    }

    /// What connections to the upstream go by; `None` for a listener that terminates TLS.
    pub fn client_config(&self) -> Option<Outward> {
        match &self.side {
            Side::Server(_) => None,
            Side::Client(client) => Some(client.outward()),
        }
    }

    /// What is in force and yet deserves a word now: certificates that end soon are among it.
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings_at(Seconds::now())
    }

    /// Whose it is.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// What is different from `old`, in words; nothing: they are the same.
    pub fn changes_since(&self, old: &Self) -> Vec<String> {
        changes::between(old, self)
    }

    fn choose(&self, offer: &Offer<'_>) -> Result<(Arc<ServerConfig>, Signing), Refusal> {
        match &self.side {
            Side::Server(server) => server.choose(&self.pairs, offer),
            Side::Client(_) => Err(Refusal::NotAServer),
        }
    }

    fn load_at(
        listener: &ListenerSettings,
        common: &Common,
        previous: Option<&Self>,
        now: Seconds,
    ) -> Result<Self, IdentityFault> {
        let old_trust = previous.and_then(|previous| previous.trust.as_deref());
        let trust = Trust::load(&listener.identity, old_trust)?.map(Arc::new);
        let provider = provider::provider();
        let in_service = previous.map(Self::in_service);
        let occasion = Occasion::of(listener, now, in_service.as_deref(), &provider);
        let mut pairs = Vec::new();
        for source in &listener.identity.certificates {
            for files in files_of(source)? {
                pairs.push(Arc::new(Pair::load(files, &occasion)?));
            }
        }
        Self::build(listener, common, pairs, trust)
    }

    /// Puts together what was read.
    fn build(
        listener: &ListenerSettings,
        common: &Common,
        pairs: Vec<Arc<Pair>>,
        trust: Option<Arc<Trust>>,
    ) -> Result<Self, IdentityFault> {
        let (provider, believed) = (provider::provider(), trust.as_deref());
        let side = match listener.mode {
            Mode::Terminate => {
                Side::Server(Server::new(listener, common, &pairs, believed, &provider)?)
            }
            Mode::Originate => {
                let pair = pairs.first().map(|pair| &**pair);
                Side::Client(Client::new(listener, pair, believed, &provider)?)
            }
        };
        let (listener, settings) = (listener.name.clone(), listener.identity.clone());
        Ok(Self { listener, settings, pairs, trust, side, kept: Vec::new() })
    }

    fn warnings_at(&self, now: Seconds) -> Vec<Warning> {
        let mut warnings: Vec<_> = self.pairs.iter().flat_map(|pair| pair.warnings(now)).collect();
        warnings.extend(self.trust.iter().flat_map(|trust| trust.warnings(now)));
        warnings.extend(self.kept.iter().cloned());
        warnings
    }

    fn in_service(&self) -> Vec<Fingerprint> {
        self.pairs.iter().map(|pair| pair.facts.fingerprint).collect()
    }
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
