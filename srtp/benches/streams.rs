//! What many streams in one session cost: nanoseconds per 172-byte packet, AEAD_AES_128_GCM, from
//! 1 to 10,000 SSRCs visited in turn, beside as many packets of one SSRC.
//!
//! `cargo bench -p srtp --bench streams`. Both sides read the same number of buffers, so the
//! packets' own cache misses are in both; what the sides differ by is the table of streams: its
//! lookup, and the lines of stream and window that have left the cache since their last packet.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::expect_used, reason = "a bench that cannot run has nothing to say")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use srtp::{MasterKey, PacketIndex, Policy, Profile, Receiver, Sender};

type Buffer = [u8; PLAIN_LEN + 16];

fn protect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protect");
    group.throughput(Throughput::Elements(1));
    for (name, count, ssrcs) in SHAPES.into_iter().flat_map(both) {
        group.bench_function(BenchmarkId::new(name, count), |bencher| {
            let mut sender = sender();
            let mut turn = Turn::new(count, ssrcs);
            turn.each(|packet| sender.protect_rtp(packet, PLAIN_LEN).is_ok());
            bencher.iter_custom(|iterations| {
                turn.repeat(
                    iterations,
                    |_| {},
                    |packet| sender.protect_rtp(packet, PLAIN_LEN).is_ok(),
                )
            });
        });
    }
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Elements(1));
    for (name, count, ssrcs) in SHAPES.into_iter().flat_map(both) {
        group.bench_function(BenchmarkId::new(name, count), |bencher| {
            let (mut sender, mut receiver) = (sender(), receiver());
            let mut turn = Turn::new(count, ssrcs);
            let mut seal = |packets: &mut [Buffer]| {
                for packet in packets {
                    sender.protect_rtp(packet, PLAIN_LEN).expect("protects");
                }
            };
            turn.repeat(count as u64, &mut seal, |packet| receiver.open_rtp(packet).is_ok());
            bencher.iter_custom(|iterations| {
                turn.repeat(iterations, &mut seal, |packet| receiver.open_rtp(packet).is_ok())
            });
        });
    }
}

/// Many streams, and one stream with as many packets.
fn both(count: usize) -> [(&'static str, usize, usize); 2] {
    [("streams", count, count), ("one stream", count, 1)]
}

/// A packet of each stream in turn, again and again with the next sequence number.
struct Turn {
    packets: Vec<Buffer>,
    next: Vec<PacketIndex>,
}

impl Turn {
    fn new(packets: usize, ssrcs: usize) -> Self {
        Self { packets: vec![[0x5a; _]; packets], next: vec![PacketIndex::new(0, 0); ssrcs] }
    }

    /// Writes the headers of the next packet of each buffer's stream.
    fn prepare(&mut self) {
        let streams = self.next.len();
        for (at, packet) in self.packets.iter_mut().enumerate() {
            let next = &mut self.next[at % streams];
            let ssrc = (at % streams) as u32;
            packet[..4].copy_from_slice(&[0x80, 0, 0, 0]);
            packet[2..4].copy_from_slice(&next.sequence().to_be_bytes());
            packet[8..12].copy_from_slice(&ssrc.wrapping_mul(0x9e37_79b9).to_be_bytes());
            let sequence = next.sequence().wrapping_add(1);
            *next = PacketIndex::new(0, sequence);
        }
    }

    fn each(&mut self, mut work: impl FnMut(&mut Buffer) -> bool) {
        self.prepare();
        assert!(self.packets.iter_mut().all(&mut work), "every packet is genuine");
    }

    /// The time that `work` takes on `iterations` packets, without that of making them.
    fn repeat(
        &mut self,
        iterations: u64,
        mut make: impl FnMut(&mut [Buffer]),
        mut work: impl FnMut(&mut Buffer) -> bool,
    ) -> Duration {
        let mut spent = Duration::ZERO;
        let mut left = iterations as usize;
        while left > 0 {
            self.prepare();
            make(&mut self.packets);
            let now = left.min(self.packets.len());
            let start = Instant::now();
            let done = self.packets[..now].iter_mut().map(&mut work).filter(|ok| *ok).count();
            spent += start.elapsed();
            assert_eq!(black_box(done), now, "every packet is genuine");
            left -= now;
        }
        spent
    }
}

fn sender() -> Sender {
    Sender::new(&key(), &policy()).expect("suitable")
}

fn receiver() -> Receiver {
    Receiver::new(&key(), &policy()).expect("suitable")
}

fn policy() -> Policy {
    Policy { max_streams: 10_000, ..Policy::default() }
}

fn key() -> MasterKey {
    MasterKey::from_concatenated(Profile::AeadAes128Gcm, &[7; 28]).expect("the profile's length")
}

const PLAIN_LEN: usize = 172;
const SHAPES: [usize; 5] = [1, 10, 100, 1000, 10_000];

criterion_group!(benches, protect, open);
criterion_main!(benches);
