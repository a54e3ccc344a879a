//! Every version and cipher, both roles: where the records are, and that bytes arrive.

use kernel_tls::{Cipher, Support, Version};
use rustls::ProtocolVersion;

use crate::ground::{Deadline, Flow, Place, connect, flush, suite, suites, tcp_pair, transfer};
use crate::support::exchange::{Case, Seeded, exchange};
use crate::support::pki::{ClientAuthentication, Pki};

#[test]
fn data_goes_both_ways_in_every_version_and_cipher_and_role() {
    for suite in suites() {
        for (server, client) in [
            (Place::Kernel, Place::User),
            (Place::User, Place::Kernel),
            (Place::Kernel, Place::Kernel),
        ] {
            let mut ends = connect(suite, &server.policy(), &client.policy());
            for (end, place) in [(&ends.0, server), (&ends.1, client)] {
                let taken = place == Place::Kernel && kernel_takes(end.stream.version());
                assert_eq!(end.stream.is_kernel(), taken, "{suite:?}: {:?}", end.stream.paths());
            }
            let mut flows = [Flow::new(0), Flow::new(1)];
            transfer(&mut ends, &mut flows, 60_000, &[1, 100, 16_384, 16_385, 40_000]);
            close_both(&mut ends, &mut flows);
        }
    }
}

fn kernel_takes(version: ProtocolVersion) -> bool {
    version == ProtocolVersion::TLSv1_2 || std::env::var("POSTERN_VM").is_ok_and(|line| line == "7")
}

fn close_both(
    ends: &mut (crate::support::end::Talk, crate::support::end::Talk),
    flows: &mut [Flow; 2],
) {
    ends.0.stream.close_write(&ends.0.socket).expect("closed");
    flush(&mut ends.0);
    // The other way goes on.
    flows[1].write(&mut ends.1, 1_000);
    let until = Deadline::new();
    while !flows[0].read(&mut ends.1) || flows[1].received < flows[1].sent {
        flows[1].read(&mut ends.0);
        until.check("the first half-close");
    }
    ends.1.stream.close_write(&ends.1.socket).expect("closed");
    flush(&mut ends.1);
    while !flows[1].read(&mut ends.0) {
        until.check("the second half-close");
    }
    assert_eq!((flows[0].sent, flows[1].sent), (flows[0].received, flows[1].received));
}

#[test]
fn tls13_is_the_kernels_only_where_keys_can_be_renewed() {
    let (server, client) =
        connect(suite("TLS13_AES_128"), &Place::Kernel.policy(), &Place::User.policy());
    let reason = server.stream.paths().reason.clone();
    match std::env::var("POSTERN_VM").as_deref() {
        Ok("6.12") => {
            assert!(!server.stream.is_kernel());
            let reason = reason.expect("a reason");
            assert!(reason.contains("TLS_TX a second time") && reason.contains("6.14"), "{reason}");
            assert!(Support::shared().takes(Version::Tls12, Cipher::Aes128Gcm).is_ok());
        }
        _ => {
            assert!(server.stream.is_kernel());
            assert_eq!(reason, None);
        }
    }
    assert_eq!(client.stream.paths().reason, None, "nobody asked for the kernel");
}

#[test]
fn no_byte_is_lost_or_doubled_where_the_kernel_takes_over() {
    for (seed, suite) in (1..).zip(suites()) {
        let pki = Pki::new();
        let case = Case {
            server: pki.server(&[], ClientAuthentication::Required).into(),
            client: pki.client(&[suite], &[suite.version()]).into(),
            reading: [kernel_tls::Reading::Exact; 2],
            amounts: [30_000, 30_000],
            updates: true,
            support: Support::probe(),
            policy: Place::Kernel.policy(),
        };
        for resumed in [false, true] {
            let outcome = exchange(&case, tcp_pair, &mut Seeded(seed));
            assert_eq!(outcome.resumed, resumed, "{suite:?}");
        }
    }
}
