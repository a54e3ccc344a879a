//! The client's side: TLS towards an upstream.
//!
//! The upstream must have a certificate for the configured name that leads to a configured
//! authority; nothing else is believed. Sessions to be resumed are few and belong to one identity:
//! after a reload none of them goes on.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::Outward;
use super::fault::IdentityFault;
use super::pair::{Pair, Signing};
use super::server::{protocols, versions};
use super::trust::Trust;
use crate::settings::ListenerSettings;

/// What connections to the upstream go by.
#[derive(Debug)]
pub(crate) struct Client(Outward);

impl Client {
    pub(crate) fn new(
        listener: &ListenerSettings,
        pair: Option<&Pair>,
        trust: Option<&Trust>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, IdentityFault> {
        let settings = &listener.identity;
        let name = settings.server_name.clone().unwrap_or_default();
        let server_name =
            ServerName::try_from(name.clone()).map_err(|_| IdentityFault::ServerName { name })?;
        let trust = trust.ok_or(IdentityFault::NoAuthority)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&versions(settings.versions))?
            .with_webpki_verifier(trust.server_verifier(Arc::clone(provider))?);
        let mut config = match pair {
            Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                Arc::clone(&pair.certified),
            ))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols(&settings.alpn)?;
        config.enable_secret_extraction = true;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let signing = pair.map_or(Signing::Inline, |pair| pair.signing);
        Ok(Self(Outward { config: Arc::new(config), server_name, signing }))
    }

    pub(crate) fn outward(&self) -> Outward {
        self.0.clone()
    }
}

/// A listener has one upstream name; rustls keeps up to eight tickets for each.
const SESSIONS: usize = 8;
