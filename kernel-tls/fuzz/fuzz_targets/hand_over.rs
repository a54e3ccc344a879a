//! A connection from its first byte to its last, cut, glued and held back as the input says, in
//! every version and cipher: no byte is lost, doubled or changed.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::{Arc, OnceLock};

use kernel_tls::{Reading, Support};
use libfuzzer_sys::fuzz_target;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
use rustls::{ClientConfig, ServerConfig};

use support::end::{in_user_space, socket_pair};
use support::exchange::{Bytes, Case, Choose, exchange};
use support::pki::{ClientAuthentication, Pki, VERSIONS};

fuzz_target!(|bytes: &[u8]| {
    let mut choose = Bytes::new(bytes);
    let configurations = configurations();
    let servers = &configurations.servers;
    let clients = &configurations.clients;
    let case = Case {
        server: Arc::clone(&servers[choose.below(servers.len())]),
        client: Arc::clone(&clients[choose.below(clients.len())]),
        reading: [reading(&mut choose), reading(&mut choose)],
        amounts: [choose.below(256) * 257, choose.below(256) * 257],
        updates: choose.below(2) == 0,
        support: Support::absent("a test"),
        policy: in_user_space(),
    };
    exchange(&case, socket_pair, &mut choose);
});

fn reading(choose: &mut impl Choose) -> Reading {
    [Reading::Exact, Reading::Greedy][choose.below(2)]
}

/// They live as long as the process, so that most connections resume an earlier one.
struct Configurations {
    servers: Vec<Arc<ServerConfig>>,
    clients: Vec<Arc<ClientConfig>>,
}

fn configurations() -> &'static Configurations {
    static CONFIGURATIONS: OnceLock<Configurations> = OnceLock::new();
    CONFIGURATIONS.get_or_init(|| {
        let pki = Pki::new();
        let servers = [
            pki.server(ALL_CIPHER_SUITES, ClientAuthentication::None),
            pki.server(ALL_CIPHER_SUITES, ClientAuthentication::Required),
            pki.server_that_retries(ClientAuthentication::Required),
        ]
        .map(Arc::new);
        let mut clients = Vec::new();
        for suite in ALL_CIPHER_SUITES {
            let ecdsa = !format!("{:?}", suite.suite()).contains("RSA");
            let versions = VERSIONS.iter().copied().filter(|version| suite.version() == *version);
            let versions: Vec<_> = versions.collect();
            if ecdsa {
                clients.push(Arc::new(pki.client(&[*suite], &versions)));
            }
        }
        Configurations { servers: servers.into(), clients }
    })
}
