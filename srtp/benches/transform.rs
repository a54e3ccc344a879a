//! What a packet's figures leave out: SRTCP packets, and the set-up of a direction.
//!
//! `cargo bench -p srtp --bench transform`. RTP packets, one by one and in batches, are the figure
//! `srtp` of the crate `benches`, which times them beside other implementations:
//! `cargo run --release -p benches --bin figures -- srtp --rounds 3`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::expect_used, reason = "a bench that cannot run has nothing to say")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use srtp::{MasterKey, Policy, Profile, Receiver, Sender};

type Buffer = [u8; RTCP_LEN + 32];

/// SRTCP expands its keys per packet; this is what that costs in all.
fn protect_rtcp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protect_rtcp");
    group.throughput(Throughput::Elements(1));
    for profile in Profile::COMMON {
        group.bench_function(BenchmarkId::from_parameter(profile), |bencher| {
            bencher.iter_custom(|iterations| {
                in_batches(iterations, &plain_batch(), &mut sender(profile), |sender, packet| {
                    sender.protect_rtcp(packet, RTCP_LEN).is_ok()
                })
            });
        });
    }
}

fn open_rtcp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open_rtcp");
    group.throughput(Throughput::Elements(1));
    for profile in Profile::COMMON {
        let len = RTCP_LEN + profile.rtcp_overhead();
        let mut sender = sender(profile);
        let mut protected = plain_batch();
        for packet in &mut protected {
            sender.protect_rtcp(packet, RTCP_LEN).expect("protects");
        }
        group.bench_function(BenchmarkId::from_parameter(profile), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                let mut left = iterations;
                // To a receiver of its own each, because a second time they would be replays.
                while left > 0 {
                    let count = left.min(BATCH as u64);
                    spent += in_batches(
                        count,
                        &protected,
                        &mut receiver(profile),
                        |receiver, packet| receiver.open_rtcp(&mut packet[..len]).is_ok(),
                    );
                    left -= count;
                }
                spent
            });
        });
    }
}

/// A direction's set-up: key derivation, key schedule and midstates.
fn new_direction(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new");
    for profile in Profile::COMMON {
        group.bench_function(BenchmarkId::from_parameter(profile), |bencher| {
            let key = key(profile);
            bencher.iter(|| black_box(Receiver::new(&key, &Policy::default()).expect("suitable")));
        });
    }
}

/// The time `work` takes on `iterations` packets, in batches that lie ready.
fn in_batches<S>(
    iterations: u64,
    fresh: &[Buffer],
    session: &mut S,
    mut work: impl FnMut(&mut S, &mut Buffer) -> bool,
) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = iterations as usize;
    while left > 0 {
        let mut batch = fresh[..left.min(fresh.len())].to_vec();
        let start = Instant::now();
        let done = batch.iter_mut().map(|packet| work(session, packet)).filter(|ok| *ok).count();
        spent += start.elapsed();
        assert_eq!(black_box(done), batch.len(), "every packet is genuine");
        left -= batch.len();
    }
    spent
}

fn plain_batch() -> Vec<Buffer> {
    let mut packet = [0x5a; RTCP_LEN + 32];
    packet[..8].copy_from_slice(&[0x81, 200, 0, 12, 0xca, 0xfe, 0xba, 0xbe]);
    vec![packet; BATCH]
}

fn sender(profile: Profile) -> Sender {
    Sender::new(&key(profile), &Policy::default()).expect("suitable")
}

fn receiver(profile: Profile) -> Receiver {
    Receiver::new(&key(profile), &Policy::default()).expect("suitable")
}

fn key(profile: Profile) -> MasterKey {
    let bytes = vec![7; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's lengths")
}

/// A compound packet of a sender report with one block, and an SDES item.
const RTCP_LEN: usize = 76;
/// 13 KiB of packets: they stay in the first-level cache.
const BATCH: usize = 128;

criterion_group!(benches, protect_rtcp, open_rtcp, new_direction);
criterion_main!(benches);
