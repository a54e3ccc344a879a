//! Nanoseconds per 172-byte packet (20 ms of G.711), protect and open, every profile, beside
//! `webrtc-srtp` in the same run.
//!
//! `cargo bench -p srtp`. Ours works in place, so an iteration copies the packet into its buffer
//! first; theirs allocates its result, as its users must.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::expect_used, reason = "a bench that cannot run has nothing to say")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use srtp::{MasterKey, Policy, Profile, Receiver, Sender};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

fn protect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protect");
    group.throughput(Throughput::Elements(1));
    for profile in Profile::ALL {
        group.bench_function(BenchmarkId::new("ours", profile), |bencher| {
            let mut sender = Sender::new(&key(profile), &Policy::default());
            let mut packets = Packets::default();
            let mut buffer = [0; PLAIN_LEN + 32];
            bencher.iter(|| {
                buffer[..PLAIN_LEN].copy_from_slice(packets.next());
                black_box(sender.protect_rtp(&mut buffer, PLAIN_LEN).expect("protects"))
            });
        });
        group.bench_function(BenchmarkId::new("webrtc-srtp", profile), |bencher| {
            let mut context = their_context(profile);
            let mut packets = Packets::default();
            bencher.iter(|| black_box(context.encrypt_rtp(packets.next()).expect("protects")));
        });
    }
}

/// Opening needs packets never opened before; they are protected beforehand, few enough to stay
/// in the cache as fresh packets are, and the receiver is renewed when they have been used.
fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Elements(1));
    for profile in Profile::ALL {
        let protected = protected_packets(profile);
        group.bench_function(BenchmarkId::new("ours", profile), |bencher| {
            let new = || Receiver::new(&key(profile), &Policy::default());
            let (mut receiver, mut turn) = (new(), protected.iter());
            let mut buffer = protected[0].clone();
            bencher.iter(|| {
                let packet = turn.next().unwrap_or_else(|| {
                    (receiver, turn) = (new(), protected.iter());
                    &protected[0]
                });
                buffer.copy_from_slice(packet);
                black_box(receiver.open_rtp(&mut buffer).is_ok())
            });
        });
        group.bench_function(BenchmarkId::new("webrtc-srtp", profile), |bencher| {
            let mut context = their_context(profile);
            let mut turn = protected.iter();
            bencher.iter(|| {
                let packet = turn.next().unwrap_or_else(|| {
                    (context, turn) = (their_context(profile), protected.iter());
                    &protected[0]
                });
                black_box(context.decrypt_rtp(packet).is_ok())
            });
        });
    }
}

/// A key's schedule, midstates and tables: the cost of a call's set-up, per direction.
fn new_session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new");
    for profile in Profile::ALL {
        let key = key(profile);
        group.bench_function(BenchmarkId::new("ours", profile), |bencher| {
            bencher.iter(|| black_box(Receiver::new(&key, &Policy::default())));
        });
    }
}

fn rtcp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protect_rtcp");
    for profile in Profile::ALL {
        group.bench_function(BenchmarkId::new("ours", profile), |bencher| {
            let mut sender = Sender::new(&key(profile), &Policy::default());
            let mut buffer = [0x80; 64 + 32];
            bencher.iter(|| {
                buffer[0] = 0x80;
                black_box(sender.protect_rtcp(&mut buffer, 64).expect("protects"))
            });
        });
    }
}

/// One packet with an ever-increasing sequence number.
struct Packets {
    packet: [u8; PLAIN_LEN],
    sequence: u16,
}

impl Default for Packets {
    fn default() -> Self {
        let mut packet = [0x5a; PLAIN_LEN];
        packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe]);
        Self { packet, sequence: 0 }
    }
}

impl Packets {
    fn next(&mut self) -> &[u8; PLAIN_LEN] {
        self.packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        &self.packet
    }
}

fn protected_packets(profile: Profile) -> Vec<Vec<u8>> {
    let mut sender = Sender::new(&key(profile), &Policy::default());
    let mut packets = Packets::default();
    (0..1024)
        .map(|_| {
            let mut buffer = packets.next().to_vec();
            buffer.resize(PLAIN_LEN + profile.rtp_overhead(), 0);
            sender.protect_rtp(&mut buffer, PLAIN_LEN).expect("protects");
            buffer
        })
        .collect()
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
    };
    Context::new(&key, &salt, profile, None, None).expect("a context")
}

const PLAIN_LEN: usize = 172;

criterion_group!(benches, protect, open, new_session, rtcp);
criterion_main!(benches);
