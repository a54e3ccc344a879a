//! What a stream costs: nothing but its state while it is idle, and while data flows no allocation
//! but rustls's own, which is one for each record. aws-lc's contexts come from its own allocator
//! and are not seen here; the benches measure the whole process.
#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

#[path = "sys.rs"]
mod allocator;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use kernel_tls::{Reading, Received, Stream};

use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use support::end::{Talk, connect, in_user_space};
use support::pki::{ClientAuthentication, Pki, VERSIONS};

#[global_allocator]
static COUNTING: allocator::Counting = allocator::Counting;

/// Two ends, and their configurations, which live longer than any connection.
fn pair(
    version: &'static SupportedProtocolVersion,
) -> (Talk, Talk, (Arc<ServerConfig>, Arc<ClientConfig>)) {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], &[version]));
    let (served, mut asked) = connect(&server, &client, Reading::Greedy, &in_user_space());
    assert_eq!(asked.read_all().expect("tickets"), b"");
    (served, asked, (server, client))
}

/// Sends `data` and reads it: how often each of the two allocated.
fn pass(from: &mut Talk, to: &mut Talk, data: &[u8]) -> (u64, u64) {
    let before = allocator::allocations();
    assert_eq!(from.write(data).expect("written"), data.len());
    let between = allocator::allocations();
    let mut received = 0;
    while received < data.len() {
        match to.read().expect("read") {
            Received::Data(data) => received += data.len(),
            other => panic!("{other:?}"),
        }
    }
    (between - before, allocator::allocations() - between)
}

#[test]
fn the_counters_count() {
    let (allocations, held) = (allocator::allocations(), allocator::held());
    let memory = std::hint::black_box(vec![1_u8; 1_000]);
    assert_eq!((allocator::allocations() - allocations, allocator::held() - held), (1, 1_000));
    drop(memory);
    assert_eq!(allocator::held(), held);
}

#[test]
fn steady_traffic_allocates_what_rustls_does_for_a_record_and_no_more() {
    for version in VERSIONS {
        let (mut server, mut client, _configurations) = pair(version);
        for size in [100, 16_384, 60_000] {
            let data = vec![7; size];
            let records = size.div_ceil(16_384) as u64;
            pass(&mut client, &mut server, &data);
            pass(&mut server, &mut client, &data);
            for _ in 0..10 {
                let there = pass(&mut client, &mut server, &data);
                let back = pass(&mut server, &mut client, &data);
                assert_eq!(there, (records, records), "{version:?}, {size} bytes there");
                assert_eq!(back, (records, records), "{version:?}, {size} bytes back");
            }
        }
    }
}

#[test]
fn an_idle_stream_holds_no_buffer_whatever_went_through_it() {
    let (mut server, mut client, _configurations) = pair(VERSIONS[1]);
    let quiet = allocator::held();
    for size in [60_000, 1, 30_000] {
        pass(&mut client, &mut server, &vec![7; size]);
        pass(&mut server, &mut client, &vec![7; size]);
    }
    // What is left is in the `Scratch`es of the thread, and a few queues of rustls.
    let grown = allocator::held() - quiet;
    assert!(grown < 2_048, "{grown} bytes more than before");
}

#[test]
fn a_stream_costs_a_few_kilobytes() {
    let (server, client, _configurations) = pair(VERSIONS[1]);
    let before = allocator::held();
    drop(server.stream);
    let of_server = before - allocator::held();
    drop(client.stream);
    let of_client = before - of_server - allocator::held();
    // Measured: 2,370 and 2,940 bytes; the client keeps the server's chain.
    assert!(of_server < 4_096, "{of_server}");
    assert!(of_client < 4_096, "{of_client}");
    assert!(size_of::<Stream>() <= 64, "the rest is behind a pointer: {}", size_of::<Stream>());
}
