//! Records from a peer that has finished its handshake: any type and content, properly sealed, or
//! bytes that nobody has sealed. Taken or refused without a panic; what is refused stays so. We have
//! not closed: rustls's own assertions, which cargo-fuzz switches on, forbid an alert behind our
//! close_notify (rustls issue 959); `garbage_after_our_own_close_notify_is_refused_without_a_panic`
//! is a test instead.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{ErrorKind, Write};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use rustls::crypto::ring;
use rustls::{ClientConfig, ContentType, ServerConfig};

use support::attacker::Attacker;
use support::end::in_user_space;
use support::pki::{ClientAuthentication, Pki, VERSIONS};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, mut rest)) = bytes.split_first() else { return };
    let (server, clients) = configurations();
    let client = &clients[usize::from(choice & 1)];
    let (mut attacker, mut victim) = Attacker::meet(server, client, &in_user_space());
    while let Some(([kind, length], behind)) = rest.split_first_chunk::<2>() {
        let (content, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        let sent = match kind {
            0x80.. => content.to_vec(),
            content_type => attacker.record(ContentType::from(*content_type), content),
        };
        if attacker.socket.write_all(&sent).is_err() {
            return;
        }
        match victim.read_all() {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
                assert!(victim.read_all().is_err() && victim.write(b"x").is_err());
                return;
            }
        }
    }
});

fn configurations() -> &'static (Arc<ServerConfig>, [Arc<ClientConfig>; 2]) {
    static CONFIGURATIONS: OnceLock<(Arc<ServerConfig>, [Arc<ClientConfig>; 2])> = OnceLock::new();
    CONFIGURATIONS.get_or_init(|| {
        let pki = Pki::new();
        let clients = [0, 1].map(|version| {
            Arc::new(pki.client(ring::ALL_CIPHER_SUITES, &VERSIONS[version..=version]))
        });
        (Arc::new(pki.server(&[], ClientAuthentication::None)), clients)
    })
}
