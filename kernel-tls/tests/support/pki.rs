//! Certificates, and configurations for every version and cipher.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};

/// A certificate authority and what it has issued.
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

impl Pki {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).expect("a root");
        Self { issuer, roots: Arc::new(roots) }
    }

    pub fn issue(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (vec![certificate.der().clone()], key.into())
    }

    pub fn server(
        &self,
        suites: &[SupportedCipherSuite],
        client: ClientAuthentication,
    ) -> ServerConfig {
        self.server_with(provider(suites), client)
    }

    /// One that knows a single group, and that not the one for which clients send a share: every
    /// handshake of TLS 1.3 takes a HelloRetryRequest.
    pub fn server_that_retries(&self, client: ClientAuthentication) -> ServerConfig {
        let provider = CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::SECP384R1],
            ..aws_lc_rs::default_provider()
        };
        self.server_with(Arc::new(provider), client)
    }

    fn server_with(
        &self,
        provider: Arc<CryptoProvider>,
        client: ClientAuthentication,
    ) -> ServerConfig {
        let (chain, key) = self.issue(NAME);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)
            .expect("versions");
        let builder = match client {
            ClientAuthentication::None => builder.with_no_client_auth(),
            ClientAuthentication::Required => {
                let roots = Arc::clone(&self.roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let mut config = builder.with_single_cert(chain, key).expect("a server");
        config.alpn_protocols = vec![b"sip".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
        config.enable_secret_extraction = true;
        config
    }

    pub fn client(
        &self,
        suites: &[SupportedCipherSuite],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let (chain, key) = self.issue("client.example");
        let mut config = ClientConfig::builder_with_provider(provider(suites))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(chain, key)
            .expect("a client");
        config.alpn_protocols = vec![b"sip".to_vec()];
        config.enable_secret_extraction = true;
        config
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    None,
    Required,
}

fn provider(suites: &[SupportedCipherSuite]) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    Arc::new(provider)
}

/// The name in the server's certificate.
pub const NAME: &str = "sip.example.com";

pub const VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];
