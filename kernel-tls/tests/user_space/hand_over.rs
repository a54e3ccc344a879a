//! No byte is lost or doubled where the handshake ends and the data begins, however the wire cuts
//! and glues: every version and cipher, mutual TLS or not, resumed or not, with a HelloRetryRequest
//! or without, both ways of reading.

use std::sync::Arc;

use kernel_tls::{Reading, Support};
use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

use crate::support::end::{in_user_space, socket_pair};
use crate::support::exchange::{Case, Seeded, exchange};
use crate::support::pki::{ClientAuthentication, Pki, VERSIONS};

fn case(
    suite: usize,
    [mutual, retries]: [bool; 2],
    reading: [Reading; 2],
    amounts: [usize; 2],
) -> Case {
    let pki = Pki::new();
    let suite = ALL_CIPHER_SUITES[suite];
    let versions = VERSIONS.iter().copied().filter(|version| suite.version() == *version);
    let versions: Vec<_> = versions.collect();
    let authentication =
        if mutual { ClientAuthentication::Required } else { ClientAuthentication::None };
    let server = match retries {
        false => pki.server(ALL_CIPHER_SUITES, authentication),
        true => pki.server_that_retries(authentication),
    };
    Case {
        server: Arc::new(server),
        client: Arc::new(pki.client(&[suite], &versions)),
        reading,
        amounts,
        updates: true,
        support: Support::absent("a test"),
        policy: in_user_space(),
    }
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![Just(Reading::Exact), Just(Reading::Greedy)]
}

/// The suites whose certificates are ECDSA: the others differ in the signature alone.
fn suite() -> impl Strategy<Value = usize> {
    let ecdsa = |suite: &usize| !format!("{:?}", ALL_CIPHER_SUITES[*suite].suite()).contains("RSA");
    let suites: Vec<_> = (0..ALL_CIPHER_SUITES.len()).filter(ecdsa).collect();
    assert_eq!(suites.len(), 6, "three ciphers in two versions");
    prop::sample::select(suites)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_byte_is_lost_or_doubled_at_the_hand_over(
        seed in 1..u64::MAX,
        suite in suite(),
        ways: [bool; 2],
        reading in [reading(), reading()],
        amounts in [0..60_000_usize, 0..60_000_usize],
    ) {
        let case = case(suite, ways, reading, amounts);
        let mut choose = Seeded(seed);
        let first = exchange(&case, socket_pair, &mut choose);
        prop_assert!(!first.resumed);
        let second = exchange(&case, socket_pair, &mut choose);
        prop_assert!(second.resumed);
        prop_assert_eq!(first.version, second.version);
    }
}
