//! Who a certificate is for.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The first DNS name among the certificate's subject alternative names, in lower case (RFC 5280,
/// 4.2.1.6); where it has none, the first URI. `None` if it has neither: the subject's common name is
/// never looked at. Only a certificate that was verified says anything.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let dns = certificate.valid_dns_names().next().map(str::to_ascii_lowercase);
    dns.or_else(|| certificate.valid_uri_names().next().map(ToOwned::to_owned))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    #[test]
    fn the_first_dns_name_comes_before_any_uri() {
        let named = certificate(vec![uri("spiffe://x/gw"), dns("GW-b.example"), dns("other")]);
        assert_eq!(identity_of(&named).as_deref(), Some("gw-b.example"));
        let uris = certificate(vec![uri("spiffe://x/gw"), uri("spiffe://x/other")]);
        assert_eq!(identity_of(&uris).as_deref(), Some("spiffe://x/gw"));
    }

    #[test]
    fn a_common_name_is_nobody() {
        assert_eq!(identity_of(&certificate(Vec::new())), None);
        assert_eq!(identity_of(&CertificateDer::from(vec![0x30, 0x00])), None);
    }
}
