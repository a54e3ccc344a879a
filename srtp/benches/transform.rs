//! Nanoseconds per 172-byte packet (20 ms of G.711), protect and open, every profile, beside
//! `webrtc-srtp` in the same run.
//!
//! `cargo bench -p srtp --bench transform`. Packets lie ready in a small batch, as a relay's do
//! after a receive; only the work on them is timed, not their making. Ours works in place;
//! theirs allocates its result, as its users must.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::expect_used, reason = "a bench that cannot run has nothing to say")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use aes_gcm::{AeadInOut, KeyInit};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use srtp::{MasterKey, Policy, Profile, Receiver, Sender};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

type Buffer = [u8; PLAIN_LEN + 32];

fn protect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protect");
    group.throughput(Throughput::Elements(1));
    let plain = plain_batch();
    for profile in Profile::COMMON {
        group.bench_function(BenchmarkId::new("ours", profile), |bencher| {
            let new = || Sender::new(&key(profile), &Policy::default()).expect("suitable");
            bencher.iter_custom(|iterations| {
                in_batches(iterations, &plain, new, |sender, packet| {
                    sender.protect_rtp(packet, PLAIN_LEN).is_ok()
                })
            });
        });
        group.bench_function(BenchmarkId::new("webrtc-srtp", profile), |bencher| {
            bencher.iter_custom(|iterations| {
                in_batches(
                    iterations,
                    &plain,
                    || their_context(profile),
                    |context, packet| context.encrypt_rtp(&packet[..PLAIN_LEN]).is_ok(),
                )
            });
        });
    }
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Elements(1));
    for profile in Profile::COMMON {
        let protected = protected_batch(profile);
        let len = PLAIN_LEN + profile.rtp_overhead();
        group.bench_function(BenchmarkId::new("ours", profile), |bencher| {
            let new = || Receiver::new(&key(profile), &Policy::default()).expect("suitable");
            bencher.iter_custom(|iterations| {
                in_batches(iterations, &protected, new, |receiver, packet| {
                    receiver.open_rtp(&mut packet[..len]).is_ok()
                })
            });
        });
        group.bench_function(BenchmarkId::new("webrtc-srtp", profile), |bencher| {
            bencher.iter_custom(|iterations| {
                in_batches(
                    iterations,
                    &protected,
                    || their_context(profile),
                    |context, packet| context.decrypt_rtp(&packet[..len]).is_ok(),
                )
            });
        });
    }
}

/// SRTCP expands its keys per packet; this is what that costs in all.
fn protect_rtcp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protect_rtcp");
    group.throughput(Throughput::Elements(1));
    for profile in Profile::COMMON {
        group.bench_function(BenchmarkId::new("ours", profile), |bencher| {
            let new = || Sender::new(&key(profile), &Policy::default()).expect("suitable");
            bencher.iter_custom(|iterations| {
                in_batches(iterations, &plain_batch(), new, |sender, packet| {
                    sender.protect_rtcp(packet, RTCP_LEN).is_ok()
                })
            });
        });
    }
}

/// A direction's set-up: key derivation, key schedule and midstates.
fn new_direction(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new");
    for profile in Profile::COMMON {
        let key = key(profile);
        group.bench_function(BenchmarkId::new("ours", profile), |bencher| {
            bencher.iter(|| black_box(Receiver::new(&key, &Policy::default()).expect("suitable")));
        });
    }
}

/// AES-GCM alone, as the two candidates for our transform do it: why ring is the one.
fn gcm_seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gcm_seal");
    group.throughput(Throughput::Elements(1));
    let mut payload = [0x5a; PLAIN_LEN - HEADER_LEN];
    let header = [0x80; HEADER_LEN];
    for (name, algorithm, key) in [
        ("128", &ring::aead::AES_128_GCM, &[7_u8; 32][..16]),
        ("256", &ring::aead::AES_256_GCM, &[7_u8; 32][..]),
    ] {
        let key = ring::aead::UnboundKey::new(algorithm, key).expect("the algorithm's length");
        let key = ring::aead::LessSafeKey::new(key);
        group.bench_function(BenchmarkId::new("ring", name), |bencher| {
            bencher.iter(|| {
                let nonce = ring::aead::Nonce::assume_unique_for_key([1; 12]);
                let aad = ring::aead::Aad::from(&header);
                black_box(key.seal_in_place_separate_tag(nonce, aad, &mut payload).is_ok())
            });
        });
    }
    let short = aes_gcm::Aes128Gcm::new(&[7; 16].into());
    group.bench_function(BenchmarkId::new("aes-gcm", "128"), |bencher| {
        bencher.iter(|| seal_with(&short, &header, &mut payload));
    });
    let long = aes_gcm::Aes256Gcm::new(&[7; 32].into());
    group.bench_function(BenchmarkId::new("aes-gcm", "256"), |bencher| {
        bencher.iter(|| seal_with(&long, &header, &mut payload));
    });
}

fn seal_with(
    cipher: &impl AeadInOut<NonceSize = aes_gcm::aead::consts::U12>,
    header: &[u8],
    payload: &mut [u8],
) -> bool {
    black_box(cipher.encrypt_inout_detached(&[1; 12].into(), header, payload.into()).is_ok())
}

/// The time `work` takes on `iterations` packets, in batches with a new session each.
fn in_batches<S>(
    iterations: u64,
    fresh: &[Buffer],
    new: impl Fn() -> S,
    mut work: impl FnMut(&mut S, &mut Buffer) -> bool,
) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = iterations as usize;
    while left > 0 {
        let mut batch = fresh.to_vec();
        batch.truncate(left);
        let mut session = new();
        let start = Instant::now();
        let done =
            batch.iter_mut().map(|packet| work(&mut session, packet)).filter(|ok| *ok).count();
        spent += start.elapsed();
        assert_eq!(black_box(done), batch.len(), "every packet is genuine");
        left -= batch.len();
    }
    spent
}

/// Consecutive packets of one source.
fn plain_batch() -> Vec<Buffer> {
    let packet = |sequence: u16| {
        let mut packet = [0x5a; PLAIN_LEN + 32];
        packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe]);
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet
    };
    (0..BATCH).map(packet).collect()
}

fn protected_batch(profile: Profile) -> Vec<Buffer> {
    let mut sender = Sender::new(&key(profile), &Policy::default()).expect("suitable");
    let mut batch = plain_batch();
    for packet in &mut batch {
        sender.protect_rtp(packet, PLAIN_LEN).expect("protects");
    }
    batch
}

fn key(profile: Profile) -> MasterKey {
    let (key, salt) = key_bytes(profile);
    MasterKey::from_concatenated(profile, &[key, salt].concat()).expect("the profile's lengths")
}

fn key_bytes(profile: Profile) -> (Vec<u8>, Vec<u8>) {
    (vec![7; profile.key_len()], vec![9; profile.salt_len()])
}

fn their_context(profile: Profile) -> Context {
    let (key, salt) = key_bytes(profile);
    let profile = match profile {
        Profile::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        other => panic!("webrtc-srtp has no {other}"),
    };
    Context::new(&key, &salt, profile, None, None).expect("a context")
}

const PLAIN_LEN: usize = 172;
const HEADER_LEN: usize = 12;
/// A compound packet of a sender report with one block, and an SDES item.
const RTCP_LEN: usize = 76;
/// 26 KiB of packets: they stay in the first-level cache.
const BATCH: u16 = 128;

criterion_group!(benches, protect, open, protect_rtcp, new_direction, gcm_seal);
criterion_main!(benches);
