//! A kernel that takes the keys of one way and not of the other, or of neither, after rustls has
//! given them up: the connection ends, its peer is told, and the next one stays in user space.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use kernel_tls::{KernelUse, Policy, Reading, Received, Stream, Support};
use rustls::{AlertDescription, SupportedCipherSuite};

use crate::ground::{Deadline, Place, TLS12, configs, has_tls13, suite, takes_tls13, tcp_pair};
use crate::support::end::{End, Talk};
use crate::sys;

const TCP_ULP: i32 = 31;
const SOL_TLS: i32 = 282;
const TLS_RX: i32 = 2;

/// `TLS_CIPHER_*`, and the length of its keys' structure.
#[derive(Clone, Copy)]
struct Junk(u16, usize);
const AES_128: Junk = Junk(51, 40);
const AES_256: Junk = Junk(52, 56);

/// Puts keys into a socket that will be in the way of the real ones.
fn spoil(socket: &OwnedFd, version: u16, Junk(cipher, length): Junk) {
    sys::set(socket, libc::IPPROTO_TCP, TCP_ULP, b"tls\0").expect("TCP_ULP");
    let mut keys = vec![7; length];
    keys[..2].copy_from_slice(&version.to_ne_bytes());
    keys[2..4].copy_from_slice(&cipher.to_ne_bytes());
    sys::set(socket, SOL_TLS, TLS_RX, &keys).expect("TLS_RX");
}

/// The error of a server whose socket was spoilt, and the alert that its client got.
fn refusal(suite: SupportedCipherSuite, version: u16, junk: Junk, support: &Support) -> String {
    let (server, client) = configs(suite);
    let (left, right) = tcp_pair();
    let mut accepting = End::server(left, server, Reading::Exact);
    let mut connecting = End::client(right, client, Reading::Exact);
    let (mut accepted, mut connected) = (false, false);
    let until = Deadline::new();
    while !accepted || !connected {
        accepted = accepted || accepting.advance().expect("the server's side");
        connected = connected || connecting.advance().expect("the client's side");
        until.check("the handshake");
    }
    let (socket, handshake) = accepting.handshake();
    spoil(&socket, version, junk);
    let policy = Policy { kernel: KernelUse::Auto, ..Policy::default() };
    let error = Stream::establish(handshake, &socket, support, &policy).expect_err("refused");
    let mut client = Talk::new(connecting, support, &Place::User.policy());
    loop {
        match client.read() {
            Ok(Received::Nothing) => {}
            Ok(Received::Alert(alert)) => {
                assert_eq!(alert, AlertDescription::InternalError);
                return error.to_string();
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        until.check("the alert");
    }
}

#[test]
fn keys_that_the_kernel_takes_one_way_only_end_the_connection_with_an_alert() {
    let support = Support::probe();
    let error = refusal(suite(TLS12), 0x0303, AES_128, &support);
    assert!(error.contains("TLS_RX failed") && error.contains("os error 16"), "{error}");
    // It was no passing trouble: nothing is handed over any more.
    let reason = support.takes(kernel_tls::Version::Tls12, kernel_tls::Cipher::Aes128Gcm);
    assert_eq!(reason, Err(error));
}

#[test]
fn keys_that_the_kernel_does_not_take_at_all_end_the_connection_with_an_alert() {
    for name in [TLS12, "TLS_ECDHE_ECDSA_WITH_CHACHA20"] {
        let error = refusal(suite(name), 0x0303, AES_256, &Support::probe());
        assert!(error.contains("TLS_TX failed") && error.contains("os error 22"), "{error}");
    }
}

#[test]
fn tls13_keys_that_the_kernel_does_not_take_end_the_connection_with_an_alert() {
    if !has_tls13() {
        return;
    }
    assert!(takes_tls13());
    for name in ["TLS13_AES_128", "TLS13_CHACHA20"] {
        let error = refusal(suite(name), 0x0304, AES_256, &Support::probe());
        assert!(error.contains("TLS_TX failed") && error.contains("os error 22"), "{error}");
    }
}
