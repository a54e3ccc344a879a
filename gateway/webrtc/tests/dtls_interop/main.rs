//! DTLS-SRTP with other people's DTLS: OpenSSL's programs over UDP and dimpl in memory, in both
//! roles, with RSA and ECDSA certificates and each SRTP profile. The whole matrix is printed; it is
//! the table of docs/decisions.md, decision 31.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod certificate;
mod dimpl_peer;
mod openssl;

use srtp::Profile;
use webrtc::dtls::Failure;

use crate::certificate::{Certificate, Kind};

/// The peer's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerIs {
    Client,
    Server,
}

const ROLES: [PeerIs; 2] = [PeerIs::Client, PeerIs::Server];

/// The master keys and salts in the order of RFC 5764 section 4.2.
fn in_exported_order(keys: &webrtc::dtls::SrtpKeys, peer: PeerIs) -> Vec<u8> {
    let (client, server) = match peer {
        PeerIs::Client => (&keys.receive, &keys.send),
        PeerIs::Server => (&keys.send, &keys.receive),
    };
    let parts = [client.key(), server.key(), client.salt(), server.salt()];
    parts.map(|part| part.dangerous_bytes().to_vec()).concat()
}

fn row(peer: &str, role: PeerIs, certificate: Kind, profile: Profile, came_to: &str) {
    println!("| {peer} | {role:?} | {certificate:?} | {profile} | {came_to} |");
}

#[test]
fn openssl_in_both_roles_with_each_certificate_and_profile() {
    if !openssl::is_here() {
        println!("SKIPPED dtls_openssl: no openssl here");
        return;
    }
    let ours = Certificate::new(Kind::Ecdsa);
    for kind in [Kind::Ecdsa, Kind::Rsa] {
        let theirs = Certificate::new(kind);
        for role in ROLES {
            for profile in Profile::COMMON {
                let call = openssl::call(&ours, &theirs, role, profile);
                let (agreed, keys) = call.secured.unwrap_or_else(|| panic!("{:?}", call.failed));
                assert_eq!(agreed, profile);
                let exported = in_exported_order(&keys, role);
                assert!(call.exported.contains(&exported), "keys differ: {}", call.printed);
                row("OpenSSL", role, kind, profile, "secured");
            }
        }
    }
}

#[test]
fn our_rsa_certificate_satisfies_openssl() {
    if !openssl::is_here() {
        println!("SKIPPED dtls_openssl_rsa: no openssl here");
        return;
    }
    let (ours, theirs) = (Certificate::new(Kind::Rsa), Certificate::new(Kind::Ecdsa));
    for role in ROLES {
        let call = openssl::call(&ours, &theirs, role, Profile::AeadAes256Gcm);
        assert!(call.secured.is_some(), "{role:?}: {:?}, {}", call.failed, call.printed);
    }
}

#[test]
fn openssl_with_another_certificate_is_refused() {
    if !openssl::is_here() {
        println!("SKIPPED dtls_openssl_fingerprint: no openssl here");
        return;
    }
    let (ours, theirs) = (Certificate::new(Kind::Ecdsa), Certificate::new(Kind::Ecdsa));
    for role in ROLES {
        let expected = ours.identity();
        let call = openssl::call_expecting(&ours, &theirs, &expected, role, Profile::AeadAes128Gcm);
        assert_eq!(call.failed, Some(Failure::WrongFingerprint), "{role:?}");
    }
}

#[test]
fn dimpl_has_neither_rsa_nor_short_tags_and_all_else_works() {
    for kind in [Kind::Ecdsa, Kind::Rsa] {
        let ours = Certificate::new(kind);
        for role in ROLES {
            for version in [dimpl_peer::Version::Dtls12, dimpl_peer::Version::Auto] {
                for profile in Profile::COMMON {
                    let call = dimpl_peer::call(&ours, role, version, profile);
                    let expected = kind == Kind::Ecdsa && profile != Profile::AesCm128HmacSha1_32;
                    assert_eq!(call.is_ok(), expected, "{role:?} {kind:?} {profile}: {call:?}");
                    let came_to = if expected { "secured" } else { "fails" };
                    row("dimpl", role, kind, profile, came_to);
                    if let Ok((keys, exported)) = call {
                        assert_eq!(in_exported_order(&keys, role), exported);
                    }
                }
            }
        }
    }
}
