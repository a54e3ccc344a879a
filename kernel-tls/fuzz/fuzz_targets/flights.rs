//! Handshakes whose flights somebody changes on the way, both directions: bytes replaced, put in,
//! taken out. Either side goes on, waits or refuses, without a panic; a refusal by the server before
//! it has said anything comes with an alert.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::{Arc, OnceLock};

use kernel_tls::{Handshake, HandshakeError, HelloReader, Progress};
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use support::pki::{ClientAuthentication, NAME, Pki, VERSIONS};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, changes)) = bytes.split_first() else { return };
    // A failed handshake is over: there is nothing more to ask of it.
    let _refused = shake_hands(*choice, &mut Changes(changes));
});

fn shake_hands(choice: u8, changes: &mut Changes<'_>) -> Result<(), HandshakeError> {
    let (server, clients) = configurations();
    let config = Arc::clone(&clients[usize::from(choice & 1)]);
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = Handshake::client(config, name)?;
    let mut out = Vec::new();
    client.step(&mut out)?;
    let hello = HelloReader::new().received(&changes.apply(&out)).inspect_err(|error| {
        assert!(error.peer_alert().is_some() || !error.alert_bytes().is_empty(), "{error}");
    })?;
    let Some(hello) = hello else { return Ok(()) };
    let mut server = Handshake::server(Arc::clone(server), hello)?;
    let mut flight = Vec::new();
    for _ in 0..4 {
        flight.clear();
        let done = server.step(&mut flight)? == Progress::Complete;
        client.received(&changes.apply(&flight));
        out.clear();
        let all = client.step(&mut out)? == Progress::Complete && done;
        server.received(&changes.apply(&out));
        if all {
            return Ok(());
        }
    }
    Ok(())
}

/// Each change is four bytes: a place (two), what to do, a value.
struct Changes<'a>(&'a [u8]);

impl Changes<'_> {
    fn apply(&mut self, flight: &[u8]) -> Vec<u8> {
        let mut flight = flight.to_vec();
        let Some(([count], rest)) = self.0.split_first_chunk::<1>() else { return flight };
        self.0 = rest;
        for _ in 0..count % 4 {
            let Some(([high, low, what, value], rest)) = self.0.split_first_chunk::<4>() else {
                return flight;
            };
            self.0 = rest;
            let place = usize::from(u16::from_be_bytes([*high, *low])) % (flight.len() + 1);
            match what % 4 {
                0 if place < flight.len() => flight[place] = *value,
                1 => flight.insert(place, *value),
                2 if place < flight.len() => drop(flight.remove(place)),
                _ => flight.truncate(place),
            }
        }
        flight
    }
}

fn configurations() -> &'static (Arc<ServerConfig>, [Arc<ClientConfig>; 2]) {
    static CONFIGURATIONS: OnceLock<(Arc<ServerConfig>, [Arc<ClientConfig>; 2])> = OnceLock::new();
    CONFIGURATIONS.get_or_init(|| {
        let pki = Pki::new();
        let clients = [0, 1].map(|version| Arc::new(pki.client(&[], &VERSIONS[version..=version])));
        (Arc::new(pki.server(&[], ClientAuthentication::Required)), clients)
    })
}
