//! What the SBC is told about a client, read by a decoder that is not ours.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use ppp::v2::{Addresses, Header, Type};
use tls_relay::{ClientAuthentication, ProxyProtocol};

use crate::support::{BOTH, Pki, Relay, accept, connect, read_exactly, sbc};

/// The header, whose length is in its 15th and 16th byte.
fn header(sbc: &mut TcpStream) -> Vec<u8> {
    let mut bytes = read_exactly(sbc, 16);
    let rest = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    bytes.extend(read_exactly(sbc, rest));
    bytes
}

fn field(header: &Header<'_>, kind: Type) -> Option<Vec<u8>> {
    let kind = u8::from(kind);
    let tlvs = header.tlvs().map(|tlv| tlv.unwrap());
    tlvs.filter(|tlv| tlv.kind == kind).map(|tlv| tlv.value.to_vec()).next()
}

#[test]
fn the_sbc_learns_address_name_protocol_version_cipher_and_certificate_before_the_first_byte() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let mut settings = pki.terminate(&[address]);
    settings.proxy_protocol = ProxyProtocol::V2;
    settings.identity.client_authentication = ClientAuthentication::Optional;
    settings.identity.authority = Some(pki.authority());
    settings.identity.alpn = vec!["sip".to_owned()];
    let relay = Relay::start(vec![settings]);
    let alice = pki.issue("alice");
    for version in BOTH {
        let mut config = pki.client_config_as(version, &alice);
        config.alpn_protocols = vec![b"sip".to_vec()];
        let mut client = connect(Arc::new(config), relay.address(0)).unwrap();
        let mut sbc = accept(&listener);
        // The SBC may speak first, and hears of the client before.
        let bytes = header(&mut sbc);
        let told = Header::try_from(bytes.as_slice()).unwrap();
        let Addresses::IPv4(addresses) = told.addresses else { panic!("{told:?}") };
        let source = SocketAddr::from((addresses.source_address, addresses.source_port));
        assert_eq!(source, client.sock.local_addr().unwrap());
        assert_eq!(addresses.destination_address, Ipv4Addr::LOCALHOST);
        assert_eq!(addresses.destination_port, relay.address(0).port());
        assert_eq!(field(&told, Type::Authority).unwrap(), b"localhost");
        assert_eq!(field(&told, Type::ALPN).unwrap(), b"sip");
        let ssl = field(&told, Type::SSL).unwrap();
        assert_eq!(&ssl[..5], [7, 0, 0, 0, 0], "TLS, certificate in this handshake, verified");
        let text = String::from_utf8_lossy(&ssl).into_owned();
        let (tls, cipher) = match version.version {
            rustls::ProtocolVersion::TLSv1_2 => ("TLSv1.2", "ECDHE-ECDSA-AES"),
            _ => ("TLSv1.3", "TLS_AES_"),
        };
        assert!(text.contains(tls) && text.contains(cipher) && text.contains("alice"), "{text}");
        client.write_all(b"INVITE").unwrap();
        assert_eq!(read_exactly(&mut sbc, 6), b"INVITE");
    }
}

#[test]
fn a_client_without_certificate_is_told_as_such_and_a_resumed_one_as_known_earlier() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let mut settings = pki.terminate(&[address]);
    settings.proxy_protocol = ProxyProtocol::V2;
    settings.identity.client_authentication = ClientAuthentication::Optional;
    settings.identity.authority = Some(pki.authority());
    let relay = Relay::start(vec![settings]);
    let flags = |config: &Arc<rustls::ClientConfig>| {
        let mut client = connect(Arc::clone(config), relay.address(0)).unwrap();
        let mut sbc = accept(&listener);
        let bytes = header(&mut sbc);
        let ssl = field(&Header::try_from(bytes.as_slice()).unwrap(), Type::SSL).unwrap();
        // A byte back makes the client read the tickets that are before it.
        sbc.write_all(b"!").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        (ssl[0], ssl[4])
    };
    let nameless = Arc::new(pki.client_config(&rustls::version::TLS13));
    assert_eq!(flags(&nameless), (0x01, 1));
    let known = Arc::new(pki.client_config_as(&rustls::version::TLS13, &pki.issue("alice")));
    assert_eq!(flags(&known), (0x07, 0));
    assert_eq!(flags(&known), (0x05, 0), "resumed: known by the session alone");
    assert_eq!(relay.counters().resumed, 1);
}
