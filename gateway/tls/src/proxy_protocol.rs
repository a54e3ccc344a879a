//! The PROXY protocol header, version 2: what the upstream is told about a TLS client.
//!
//! Written after HAProxy's specification (proxy-protocol.txt, 2020/03/05), whose sections are cited.
//! It goes out before the first byte of data and is never read here. Lengths that do not fit are
//! cut off at the field, so that a header is always well formed: whole fields are left out.
//!
//! ```text
//!  12 bytes signature | version, command | family | length | addresses and ports | TLVs …
//!                                                  16 bits
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What is told about a client.
#[derive(Clone, Debug)]
pub(crate) struct Client<'a> {
    /// Where it connected from.
    pub(crate) source: SocketAddr,
    /// What it connected to.
    pub(crate) destination: SocketAddr,
    /// The name that it asked for.
    pub(crate) server_name: Option<&'a str>,
    /// The protocol agreed on.
    pub(crate) alpn: Option<&'a [u8]>,
    /// As OpenSSL writes it: `TLSv1.3`.
    pub(crate) version: &'static str,
    /// As OpenSSL writes it: `ECDHE-RSA-AES128-GCM-SHA256`.
    pub(crate) cipher: &'static str,
    pub(crate) certificate: ClientCertificate<'a>,
}

/// What a client showed; whatever it showed was verified, or there would be no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCertificate<'a> {
    None,
    /// In this handshake, with this common name if it has one.
    Shown(Option<&'a str>),
    /// In the handshake of the session that this one goes on from.
    Earlier(Option<&'a str>),
}

/// The header's bytes.
pub(crate) fn header(client: &Client<'_>) -> Vec<u8> {
    let mut header = Vec::with_capacity(TYPICAL);
    header.extend_from_slice(&SIGNATURE);
    header.push(VERSION_2_PROXY);
    let (family, addresses) = addresses(client.source.ip(), client.destination.ip());
    header.push(family);
    let length_at = header.len();
    header.extend_from_slice(&[0, 0]);
    header.extend_from_slice(&addresses);
    header.extend_from_slice(&client.source.port().to_be_bytes());
    header.extend_from_slice(&client.destination.port().to_be_bytes());
    if let Some(alpn) = client.alpn {
        field(&mut header, TYPE_ALPN, alpn);
    }
    if let Some(name) = client.server_name {
        field(&mut header, TYPE_AUTHORITY, name.as_bytes());
    }
    field(&mut header, TYPE_SSL, &ssl(client));
    let length = (header.len() - length_at - 2) as u16;
    header[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    header
}

/// What OpenSSL calls a suite, given its IANA name: what readers of the header expect.
pub(crate) fn cipher_name(suite: &'static str) -> &'static str {
    match suite {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => "ECDHE-RSA-CHACHA20-POLY1305",
        // TLS 1.3, where both have one name: rustls writes TLS13_… for the IANA's TLS_….
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        other => other,
    }
}

/// Section 2.2: both addresses are of one family; an odd pair is told as IPv6.
fn addresses(source: IpAddr, destination: IpAddr) -> (u8, Vec<u8>) {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (TCP_OVER_IPV4, [source.octets(), destination.octets()].concat())
        }
        (source, destination) => {
            (TCP_OVER_IPV6, [ipv6(source).octets(), ipv6(destination).octets()].concat())
        }
    }
}

fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Section 2.2.6: a bit field, the result of verification, and fields of its own.
fn ssl(client: &Client<'_>) -> Vec<u8> {
    let (shown, common_name) = match client.certificate {
        ClientCertificate::None => (0, None),
        ClientCertificate::Shown(name) => (CLIENT_CERT_CONN | CLIENT_CERT_SESS, name),
        ClientCertificate::Earlier(name) => (CLIENT_CERT_SESS, name),
    };
    // "zero if the client presented a certificate and it was successfully verified, and non-zero
    // otherwise"
    let verify = u32::from(shown == 0);
    let mut value = vec![CLIENT_SSL | shown];
    value.extend_from_slice(&verify.to_be_bytes());
    field(&mut value, SUBTYPE_SSL_VERSION, client.version.as_bytes());
    if let Some(name) = common_name {
        field(&mut value, SUBTYPE_SSL_CN, name.as_bytes());
    }
    field(&mut value, SUBTYPE_SSL_CIPHER, client.cipher.as_bytes());
    value
}

/// Appends one TLV; one that is longer than any honest peer's is left out.
fn field(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    if value.len() > LONGEST_FIELD {
        return;
    }
    to.push(kind);
    to.extend_from_slice(&(value.len() as u16).to_be_bytes());
    to.extend_from_slice(value);
}

/// Section 2.2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Section 2.2.1 and following.
const TYPE_ALPN: u8 = 0x01;
const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_VERSION: u8 = 0x21;
const SUBTYPE_SSL_CN: u8 = 0x22;
const SUBTYPE_SSL_CIPHER: u8 = 0x23;
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;

/// A name has 255 bytes, an ALPN protocol too; only a common name could be longer (RFC 5280 allows
/// 64 characters). All fields together then fit the header's 16-bit length.
const LONGEST_FIELD: usize = 1024;

const TYPICAL: usize = 256;

#[cfg(test)]
mod tests {
    use ppp::v2::{Header, TypeLengthValue};
    use proptest::prelude::*;

    use super::*;

    fn client<'a>(source: &str, destination: &str) -> Client<'a> {
        Client {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            server_name: Some("sip.example.com"),
            alpn: Some(b"sip"),
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            certificate: ClientCertificate::Shown(Some("alice")),
        }
    }

    fn tlvs<'a>(header: &'a Header<'_>) -> Vec<TypeLengthValue<'a>> {
        header.tlvs().map(|tlv| tlv.expect("well formed")).collect()
    }

    #[test]
    fn an_independent_decoder_reads_addresses_and_fields() {
        let bytes = header(&client("192.0.2.7:40000", "198.51.100.1:5061"));
        let header = Header::try_from(bytes.as_slice()).unwrap();
        let addresses = ppp::v2::IPv4::new(
            "192.0.2.7".parse::<std::net::Ipv4Addr>().unwrap(),
            "198.51.100.1".parse::<std::net::Ipv4Addr>().unwrap(),
            40000,
            5061,
        );
        assert_eq!(header.addresses, ppp::v2::Addresses::IPv4(addresses));
        let fields = tlvs(&header);
        let found = |kind| {
            fields.iter().find(|tlv| tlv.kind == kind).map(|tlv| tlv.value.to_vec()).unwrap()
        };
        assert_eq!(found(ppp::v2::Type::ALPN.into()), b"sip");
        assert_eq!(found(ppp::v2::Type::Authority.into()), b"sip.example.com");
        let mut ssl = vec![0x07, 0, 0, 0, 0];
        ssl.extend(b"\x21\0\x07TLSv1.3\x22\0\x05alice\x23\0\x16TLS_AES_128_GCM_SHA256");
        assert_eq!(found(ppp::v2::Type::SSL.into()), ssl);
    }

    #[test]
    fn ipv6_and_mixed_families_are_told_as_ipv6() {
        for (source, destination) in
            [("[2001:db8::7]:1", "[2001:db8::1]:2"), ("192.0.2.7:1", "[2001:db8::1]:2")]
        {
            let bytes = header(&client(source, destination));
            let header = Header::try_from(bytes.as_slice()).unwrap();
            assert!(matches!(header.addresses, ppp::v2::Addresses::IPv6(_)), "{source}");
        }
    }

    #[test]
    fn a_client_without_certificate_counts_as_not_verified_and_an_earlier_one_as_such() {
        let mut told = client("192.0.2.7:1", "198.51.100.1:2");
        told.certificate = ClientCertificate::None;
        assert_eq!(&ssl(&told)[..5], [0x01, 0, 0, 0, 1]);
        told.certificate = ClientCertificate::Earlier(None);
        assert_eq!(&ssl(&told)[..5], [0x05, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_the_header_is_well_formed(
            name in proptest::option::of(".{0,2000}"),
            common in proptest::option::of(".{0,2000}"),
            alpn in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        ) {
            let mut told = client("192.0.2.7:1", "198.51.100.1:2");
            told.server_name = name.as_deref();
            told.alpn = alpn.as_deref();
            told.certificate = ClientCertificate::Shown(common.as_deref());
            let mut bytes = header(&told);
            bytes.extend(b"INVITE");
            let header = Header::try_from(bytes.as_slice()).unwrap();
            prop_assert_eq!(header.len() + 6, bytes.len());
            prop_assert!(header.tlvs().all(|tlv| tlv.is_ok()));
        }
    }
}
