//! Handshakes with rustls's own client: which certificate it gets, who is let in, what is resumed.

use std::sync::{Arc, Mutex};

use kernel_tls::HelloReader;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore,
    ServerConnection, SignatureAlgorithm, SignatureScheme,
};

use super::*;
use crate::identity::certificate::Facts;
use crate::identity::server::versions;
use crate::identity::staple;
use crate::identity::test_files::rsa_key;

/// A client that trusts one authority.
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
}

impl Client {
    pub(crate) fn new(authority: &Authority) -> Self {
        Self::with(authority, Versions::default(), None, |_| {})
    }

    pub(crate) fn with(
        authority: &Authority,
        allowed: Versions,
        own: Option<&Leaf>,
        limit: impl FnOnce(&mut CryptoProvider),
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).unwrap();
        let mut provider = CryptoProvider::clone(&provider::provider());
        limit(&mut provider);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions(allowed))
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![leaf.certificate.der().clone()], key).unwrap()
            }
        };
        config.resumption = Resumption::in_memory_sessions(8);
        Self { config }
    }

    /// Whose every handshake is a full one.
    pub(crate) fn never_resuming(mut self) -> Self {
        self.config.resumption = Resumption::disabled();
        self
    }

    /// With a certificate of its own.
    pub(crate) fn showing(authority: &Authority, leaf: &Leaf) -> Self {
        Self::with(authority, Versions::default(), Some(leaf), |_| {})
    }

    pub(crate) fn connect(&self, identity: &Identity, name: &str) -> Result<Connected, String> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let config = Arc::new(self.config.clone());
        let mut client = ClientConnection::new(config, name).map_err(|e| e.to_string())?;
        let mut reader = HelloReader::new();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        let hello = reader.received(&bytes).unwrap().unwrap();
        let (config, signing) = identity.server_config(&hello).map_err(|e| e.to_string())?;
        let mut server = ServerConnection::new(config).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        exchange(&mut client, &mut server)?;
        Ok(Connected { client, server, signing })
    }
}

/// Both sides of a connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
    pub(crate) signing: Signing,
}

impl Connected {
    fn shown(&self) -> Facts {
        Facts::read(&self.client.peer_certificates().unwrap()[0]).unwrap()
    }

    pub(crate) fn was_resumed(&self) -> bool {
        let kinds = (self.client.handshake_kind(), self.server.handshake_kind());
        kinds == (Some(HandshakeKind::Resumed), Some(HandshakeKind::Resumed))
    }
}

pub(crate) fn exchange(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
) -> Result<(), String> {
    loop {
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|error| format!("client: {error}"))?;
        }
        let mut answer = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut answer).unwrap();
        }
        if answer.is_empty() && bytes.is_empty() {
            return Ok(());
        }
        let mut rest = &answer[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        }
    }
}

pub(crate) const TLS12: Versions = Versions { tls12: true, tls13: false };
pub(crate) const TLS13: Versions = Versions { tls12: false, tls13: true };

#[test]
fn the_name_asked_for_decides_and_an_unknown_one_gets_the_first_or_an_alert() {
    let folder = Folder::new("sni");
    let authority = Authority::new("CA");
    let both = authority.leaf(&["first.example", "other.example"]);
    let mut listener = listener(vec![
        pair(&folder, "first", &both),
        pair(&folder, "wild", &authority.leaf(&["*.wild.example"])),
    ]);
    let client = Client::new(&authority);
    let identity = load(&listener);
    let names = |name: &str| client.connect(&identity, name).unwrap().shown().names;
    assert_eq!(names("first.example")[0], "first.example");
    assert_eq!(names("a.wild.example"), ["*.wild.example"]);
    // The first certificate, which the client then finds wanting.
    let error = client.connect(&identity, "unknown.example").unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    listener.identity.unknown_name = UnknownName::Refuse;
    let identity = load(&listener);
    let error = client.connect(&identity, "unknown.example").unwrap_err();
    assert!(error.contains("unknown.example"), "{error}");
    assert_eq!(
        Refusal::UnknownName(String::new()).alert(),
        rustls::AlertDescription::UnrecognisedName
    );
    assert!(client.connect(&identity, "a.wild.example").is_ok());
}

#[test]
fn a_client_without_a_name_gets_the_first_even_where_unknown_names_are_refused() {
    let folder = Folder::new("no-sni");
    let authority = Authority::new("CA");
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.unknown_name = UnknownName::Refuse;
    let mut client = Client::new(&authority);
    client.config.enable_sni = false;
    assert!(client.connect(&load(&listener), "a.example").is_ok());
}

#[test]
fn of_two_certificates_for_a_name_the_client_gets_one_that_it_can_use() {
    let folder = Folder::new("kinds");
    let authority = Authority::new("CA");
    let rsa = authority.leaf_with(&["a.example"], rsa_key(), |_| {});
    let listener = listener(vec![
        pair(&folder, "ecdsa", &authority.leaf(&["a.example"])),
        pair(&folder, "rsa", &rsa),
    ]);
    let identity = load(&listener);
    let shown = |client: &Client| client.connect(&identity, "a.example").unwrap().shown().key;
    for allowed in [TLS12, TLS13] {
        assert_eq!(shown(&Client::with(&authority, allowed, None, |_| {})), KeyKind::P256);
    }
    // In TLS 1.2 suites say which keys they go with, whatever the signature schemes are.
    let only_rsa_suites = Client::with(&authority, TLS12, None, |provider| {
        provider
            .cipher_suites
            .retain(|suite| suite.usable_for_signature_algorithm(SignatureAlgorithm::RSA));
    });
    assert_eq!(shown(&only_rsa_suites), KeyKind::Rsa(2048));
}

#[test]
fn a_client_that_verifies_no_ecdsa_gets_rsa() {
    let folder = Folder::new("schemes");
    let authority = Authority::new("CA");
    let rsa = authority.leaf_with(&["a.example"], rsa_key(), |_| {});
    let identity = load(&listener(vec![
        pair(&folder, "ecdsa", &authority.leaf(&["a.example"])),
        pair(&folder, "rsa", &rsa),
    ]));
    for allowed in [TLS12, TLS13] {
        let client = Client::with(&authority, allowed, None, |provider| {
            let known = provider.signature_verification_algorithms;
            let is_rsa =
                |(scheme, _): &&(SignatureScheme, _)| format!("{scheme:?}").starts_with("RSA");
            let mapping: Vec<_> = known.mapping.iter().filter(is_rsa).copied().collect();
            provider.signature_verification_algorithms =
                WebPkiSupportedAlgorithms { all: known.all, mapping: mapping.leak() };
        });
        let connected = client.connect(&identity, "a.example").unwrap();
        assert_eq!(connected.shown().key, KeyKind::Rsa(2048), "{allowed:?}");
    }
}

#[test]
fn every_configuration_lets_its_secrets_out_and_takes_no_early_data() {
    let folder = Folder::new("secrets");
    let authority = Authority::new("CA");
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    let connected = Client::new(&authority).connect(&load(&listener), "a.example").unwrap();
    assert_eq!(connected.signing, Signing::Inline);
    assert_eq!(
        connected.client.negotiated_key_exchange_group().map(|group| group.name()),
        Some(rustls::NamedGroup::X25519MLKEM768)
    );
    assert!(connected.server.dangerous_extract_secrets().is_ok());
    listener.mode = Mode::Originate;
    listener.identity.server_name = Some("a.example".to_owned());
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let outward = load(&listener).client_config().unwrap();
    assert!(outward.config.enable_secret_extraction);
    assert!(!outward.config.enable_early_data);
}

#[test]
fn a_session_is_resumed_in_both_versions_and_only_by_the_same_listener() {
    let folder = Folder::new("resume");
    let authority = Authority::new("CA");
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    let common = common();
    let identity = Identity::load(&listener, &common).unwrap();
    listener.name = "other".to_owned();
    let other = Identity::load(&listener, &common).unwrap();
    for allowed in [TLS12, TLS13] {
        let client = Client::with(&authority, allowed, None, |_| {});
        let resumed = |identity| client.connect(identity, "a.example").unwrap().was_resumed();
        assert!(!resumed(&identity));
        assert!(resumed(&identity));
        assert!(!resumed(&other), "its tickets are another listener's");
    }
}

#[test]
fn a_new_ticket_key_opens_old_tickets() {
    let folder = Folder::new("rotate");
    let authority = Authority::new("CA");
    let listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    let common = common();
    let identity = Identity::load(&listener, &common).unwrap();
    let client = Client::with(&authority, TLS13, None, |_| {});
    client.connect(&identity, "a.example").unwrap();
    common.tickets.rotate().unwrap();
    assert!(client.connect(&identity, "a.example").unwrap().was_resumed());
}

#[test]
fn a_reload_that_changes_trust_resumes_nothing_that_was_made_before() {
    let folder = Folder::new("trust");
    let authority = Authority::new("CA");
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.client_authentication = ClientAuthentication::Required;
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let common = common();
    let own = authority.leaf(&["client.example"]);
    for allowed in [TLS12, TLS13] {
        listener.identity.revocation_lists = Vec::new();
        let identity = Identity::load(&listener, &common).unwrap();
        let client = Client::with(&authority, allowed, Some(&own), |_| {});
        client.connect(&identity, "a.example").unwrap();
        let same = identity.reload(&listener, &common).unwrap();
        assert!(client.connect(&same, "a.example").unwrap().was_resumed() || allowed == TLS12);
        let list = authority.revocation_list(&[&own], 1, 2090);
        listener.identity.revocation_lists = vec![folder.file("ca.crl", list)];
        let changed = same.reload(&listener, &common).unwrap();
        let error = client.connect(&changed, "a.example").unwrap_err();
        assert!(error.contains("Revoked"), "not resumed, and so refused: {error}");
    }
}

#[test]
fn clients_are_asked_and_checked_as_configured() {
    let folder = Folder::new("clients");
    let (authority, stranger) = (Authority::new("CA"), Authority::new("stranger"));
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let own = authority.leaf(&["client.example"]);
    let known = Client::showing(&authority, &own);
    let unknown = Client::showing(&authority, &stranger.leaf(&["client.example"]));
    let silent = Client::new(&authority);
    for (asked, of_known, of_unknown, of_silent) in [
        (ClientAuthentication::None, true, true, true),
        (ClientAuthentication::Optional, true, false, true),
        (ClientAuthentication::Required, true, false, false),
    ] {
        listener.identity.client_authentication = asked;
        let identity = load(&listener);
        let gets_in = |client: &Client| client.connect(&identity, "a.example").is_ok();
        assert_eq!(
            (gets_in(&known), gets_in(&unknown), gets_in(&silent)),
            (of_known, of_unknown, of_silent),
            "{asked:?}"
        );
    }
    let connected = known.connect(&load(&listener), "a.example").unwrap();
    let shown = &connected.server.peer_certificates().unwrap()[0];
    assert_eq!(common_name(shown).as_deref(), Some("leaf"));
}

#[test]
fn a_revoked_client_is_refused_and_so_is_one_that_no_list_speaks_of() {
    let folder = Folder::new("revoked");
    let (authority, other) = (Authority::new("CA"), Authority::new("other"));
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.client_authentication = ClientAuthentication::Required;
    listener.identity.authority =
        Some(folder.file("ca.pem", format!("{}{}", authority.pem(), other.pem())));
    let (good, bad) = (authority.leaf(&["good.example"]), authority.leaf(&["bad.example"]));
    let unlisted = other.leaf(&["unlisted.example"]);
    let list = authority.revocation_list(&[&bad], 1, 2090);
    listener.identity.revocation_lists = vec![folder.file("ca.crl", list)];
    let identity = load(&listener);
    let connect = |leaf| Client::showing(&authority, leaf).connect(&identity, "a.example");
    assert!(connect(&good).is_ok());
    assert!(connect(&bad).unwrap_err().contains("Revoked"));
    assert!(connect(&unlisted).unwrap_err().contains("UnknownRevocationStatus"));
    let warnings = identity.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].to_string().contains("no revocation list of the authority CN=other"));
}

#[test]
fn a_list_past_its_time_stays_in_force_with_a_warning() {
    let folder = Folder::new("stale");
    let authority = Authority::new("CA");
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.client_authentication = ClientAuthentication::Required;
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let (good, bad) = (authority.leaf(&["good.example"]), authority.leaf(&["bad.example"]));
    let list = authority.revocation_list(&[&bad], 1, 2025);
    listener.identity.revocation_lists = vec![folder.file("ca.crl", list)];
    let identity = load(&listener);
    assert!(identity.warnings()[0].to_string().contains("2025-01-01"));
    let connect = |leaf| Client::showing(&authority, leaf).connect(&identity, "a.example");
    assert!(connect(&good).is_ok());
    assert!(connect(&bad).unwrap_err().contains("Revoked"));
}

#[test]
fn a_good_ocsp_answer_is_stapled_and_a_bad_one_is_told() {
    let folder = Folder::new("ocsp");
    let authority = Authority::new("CA");
    let leaf = authority.leaf(&["a.example"]);
    let facts = Facts::read(leaf.certificate.der()).unwrap();
    let now = Seconds::now();
    let answer = |ends| {
        staple::tests::answer(&facts, &authority.facts(), staple::tests::SAYS_GOOD, now, Some(ends))
    };
    let CertificateSource::Files(mut files) = pair(&folder, "a", &leaf) else { panic!("files") };
    files.ocsp = Some(folder.file("a.ocsp", answer(Seconds(now.0 + 1000))));
    let listener = listener(vec![CertificateSource::Files(files)]);
    let identity = load(&listener);
    assert_eq!(identity.warnings(), []);
    let good = answer(Seconds(now.0 + 1000));
    for allowed in [TLS12, TLS13] {
        assert_eq!(stapled(&authority, &identity, allowed), good, "{allowed:?}");
    }
    assert_eq!(identity.describe().certificates[0].ocsp, OcspState::Stapled(Seconds(now.0 + 1000)));
    folder.file("a.ocsp", answer(now));
    let identity = identity.refresh(&listener, &common()).unwrap();
    assert_eq!(stapled(&authority, &identity, TLS13), b"");
    assert!(identity.warnings()[0].to_string().contains("a.ocsp is not stapled: it was over"));
}

#[test]
fn an_ocsp_answer_that_ends_while_it_is_stapled_is_left_out_from_then_on() {
    let folder = Folder::new("ocsp-end");
    let authority = Authority::new("CA");
    let leaf = authority.leaf(&["a.example"]);
    let facts = Facts::read(leaf.certificate.der()).unwrap();
    let (begins, ends) = (Seconds(Seconds::now().0 - 2000), Seconds(Seconds::now().0 - 1000));
    let good = staple::tests::SAYS_GOOD;
    let answer = staple::tests::answer(&facts, &authority.facts(), good, begins, Some(ends));
    let CertificateSource::Files(mut files) = pair(&folder, "a", &leaf) else { panic!("files") };
    files.ocsp = Some(folder.file("a.ocsp", answer));
    let listener = listener(vec![CertificateSource::Files(files)]);
    // Loaded while it was good.
    let identity = Identity::load_at(&listener, &common(), None, begins).unwrap();
    assert_eq!(identity.describe().certificates[0].ocsp, OcspState::Stapled(ends));
    assert_eq!(stapled(&authority, &identity, TLS13), b"");
    assert!(identity.warnings()[0].to_string().contains("OCSP answer was over"));
}

/// The OCSP answer that a client gets; empty: none.
fn stapled(authority: &Authority, identity: &Identity, allowed: Versions) -> Vec<u8> {
    #[derive(Debug)]
    struct Capturing(Arc<dyn ServerCertVerifier>, Mutex<Vec<u8>>);

    impl ServerCertVerifier for Capturing {
        fn verify_server_cert(
            &self,
            certificate: &CertificateDer<'_>,
            rest: &[CertificateDer<'_>],
            name: &ServerName<'_>,
            ocsp: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            *self.1.lock().unwrap() = ocsp.to_vec();
            self.0.verify_server_cert(certificate, rest, name, ocsp, now)
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }

    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).unwrap();
    let provider = provider::provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let capturing = Arc::new(Capturing(verifier.build().unwrap(), Mutex::default()));
    let mut client = Client::with(authority, allowed, None, |_| {}).never_resuming();
    client.config.dangerous().set_certificate_verifier(Arc::clone(&capturing) as _);
    client.connect(identity, "a.example").unwrap();
    capturing.1.lock().unwrap().clone()
}

#[test]
fn tls12_is_chosen_for_a_device_only_where_that_was_asked_for() {
    let folder = Folder::new("device");
    let authority = Authority::new("CA");
    let listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    let suite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let preferring = Common { device_suites: vec![suite], ..common() };
    let identity = Identity::load(&listener, &preferring).unwrap();
    let agreed = |identity: &Identity, allowed| {
        let client = Client::with(&authority, allowed, None, |_| {});
        let connected = client.connect(identity, "a.example").unwrap();
        let suite = connected.client.negotiated_cipher_suite().map(|suite| suite.suite());
        (connected.client.protocol_version(), suite)
    };
    let (tls12, tls13) = (Some(ProtocolVersion::TLSv1_2), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(agreed(&identity, Versions::default()), (tls12, Some(suite)));
    assert_eq!(agreed(&identity, TLS13).0, tls13);
    assert_eq!(agreed(&load(&listener), Versions::default()).0, tls13);
    let without = Client::with(&authority, Versions::default(), None, |provider| {
        provider.cipher_suites.retain(|offered| offered.suite() != suite);
    });
    let connected = without.connect(&identity, "a.example").unwrap();
    assert_eq!(connected.client.protocol_version(), tls13, "no suite that the device takes");
}

#[test]
fn an_upstream_must_answer_to_its_name_and_authority_and_sees_our_certificate() {
    let folder = Folder::new("originate");
    let (authority, stranger) = (Authority::new("CA"), Authority::new("stranger"));
    let mut upstream = listener(vec![pair(&folder, "up", &authority.leaf(&["up.example"]))]);
    upstream.identity.client_authentication = ClientAuthentication::Required;
    upstream.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let upstream = load(&upstream);
    let mut ours = listener(vec![pair(&folder, "own", &authority.leaf(&["own.example"]))]);
    ours.mode = Mode::Originate;
    let connect = |name: &str, believed: &Authority, ours: &mut ListenerSettings| {
        ours.identity.server_name = Some(name.to_owned());
        ours.identity.authority = Some(folder.file("believed.pem", believed.pem()));
        let outward = load(ours).client_config().unwrap();
        assert_eq!(outward.signing, Signing::Inline);
        let client = Client { config: ClientConfig::clone(&outward.config) };
        client
            .connect(&upstream, name)
            .map(|connected| common_name(&connected.server.peer_certificates().unwrap()[0]))
    };
    assert_eq!(connect("up.example", &authority, &mut ours), Ok(Some("leaf".to_owned())));
    assert!(
        connect("other.example", &authority, &mut ours).unwrap_err().contains("not valid for name")
    );
    assert!(connect("up.example", &stranger, &mut ours).unwrap_err().contains("UnknownIssuer"));
    ours.identity.certificates.clear();
    assert!(connect("up.example", &authority, &mut ours).unwrap_err().contains("server: "));
}

#[test]
fn a_listener_that_originates_answers_no_client() {
    let folder = Folder::new("no-server");
    let authority = Authority::new("CA");
    let mut listener = listener(Vec::new());
    listener.mode = Mode::Originate;
    listener.identity.server_name = Some("up.example".to_owned());
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let error = Client::new(&authority).connect(&load(&listener), "up.example").unwrap_err();
    assert!(error.contains("no TLS server"), "{error}");
}
