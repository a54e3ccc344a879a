//! The call that every interop test makes: two sources, loss, outages, reordering, wraps.
//!
//! One side protects, a network loses and reorders, the other side opens, and every packet that
//! arrives must be what was sent. Seeded, so a failure repeats.

use srtp::{MasterKey, Profile, Receiver, Refusal, Sender};

/// One end of a call, ours or another implementation. Errors are for people.
pub(crate) trait Endpoint {
    fn protect_rtp(&mut self, plain: &[u8]) -> Result<Vec<u8>, String>;
    fn open_rtp(&mut self, protected: &[u8]) -> Result<Vec<u8>, String>;
    fn protect_rtcp(&mut self, plain: &[u8]) -> Result<Vec<u8>, String>;
    fn open_rtcp(&mut self, protected: &[u8]) -> Result<Vec<u8>, String>;
}

/// What befalls packets on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reordering {
    /// Between protecting and opening.
    OnTheNetwork,
    /// Before they are protected: the sender is a relay whose source's packets arrive so.
    BeforeTheSender,
}

/// Carries two sources over several sequence wraps. Returns how many RTP packets arrived.
pub(crate) fn carry_call(
    from: &mut dyn Endpoint,
    to: &mut dyn Endpoint,
    reordering: Reordering,
    seed: u64,
) -> usize {
    let mut random = Random(seed);
    let mut sequences = [65_400u16, 100];
    let mut arrived = 0;
    for round in 0..ROUNDS {
        let mut plain = batch(&mut sequences, &mut random);
        if reordering == Reordering::BeforeTheSender && round > 0 {
            shuffle(&mut plain, &mut random);
        }
        let mut protected: Vec<_> = plain
            .into_iter()
            .map(|plain| (from.protect_rtp(&plain).expect("protects"), plain))
            .collect();
        // The very first packets set the ROC; RFC 3711 has no answer to losing those at a wrap.
        if round > 0 {
            protected.retain(|_| random.below(10) != 0);
            if reordering == Reordering::OnTheNetwork {
                shuffle(&mut protected, &mut random);
            }
        }
        for (protected, plain) in protected {
            let opened = to.open_rtp(&protected).expect("opens");
            assert_eq!(opened, plain, "round {round}");
            arrived += 1;
        }
        carry_report(from, to, round);
        // An outage: some thousand packets of each source were lost.
        for sequence in &mut sequences {
            *sequence = sequence.wrapping_add(random.below(9_000) as u16);
        }
    }
    arrived
}

/// One compound RTCP packet, the whole way.
fn carry_report(from: &mut dyn Endpoint, to: &mut dyn Endpoint, round: usize) {
    let mut plain = vec![0x80, 200, 0, 6];
    plain.extend(SSRCS[round % 2].to_be_bytes());
    plain.extend((0..20).map(|byte| byte ^ round as u8));
    plain.extend([0x81, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'x', 0]);
    let protected = from.protect_rtcp(&plain).expect("protects RTCP");
    assert_eq!(to.open_rtcp(&protected).expect("opens RTCP"), plain, "round {round}");
}

/// Some packets of both sources, of varied shape.
fn batch(sequences: &mut [u16; 2], random: &mut Random) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for _ in 0..PACKETS_PER_ROUND {
        for (sequence, ssrc) in sequences.iter_mut().zip(SSRCS) {
            packets.push(rtp_packet(*sequence, ssrc, random));
            *sequence = sequence.wrapping_add(1);
        }
    }
    packets
}

fn rtp_packet(sequence: u16, ssrc: u32, random: &mut Random) -> Vec<u8> {
    let csrcs = random.below(4) as u8;
    let extension = random.below(2) as u8;
    let mut packet = vec![0x80 | extension << 4 | csrcs, random.below(128) as u8];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).wrapping_mul(160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..4 * csrcs).map(|byte| byte ^ 0x55));
    if extension == 1 {
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
    }
    packet.extend((0..1 + random.below(300)).map(|byte| byte as u8 ^ sequence as u8));
    packet
}

fn shuffle<T>(packets: &mut [T], random: &mut Random) {
    for at in (1..packets.len()).rev() {
        packets.swap(at, random.below(at as u64 + 1) as usize);
    }
}

/// Our own implementation as an endpoint: a sender and a receiver under one key.
pub(crate) struct Ours {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

impl Endpoint for Ours {
    fn protect_rtp(&mut self, plain: &[u8]) -> Result<Vec<u8>, String> {
        in_place(plain, |buffer| {
            self.sender.protect_rtp(buffer, plain.len()).map(|sealed| sealed.len)
        })
    }

    fn open_rtp(&mut self, protected: &[u8]) -> Result<Vec<u8>, String> {
        in_place(protected, |buffer| {
            self.receiver.open_rtp(&mut buffer[..protected.len()]).map(|opened| opened.len)
        })
    }

    fn protect_rtcp(&mut self, plain: &[u8]) -> Result<Vec<u8>, String> {
        in_place(plain, |buffer| {
            self.sender.protect_rtcp(buffer, plain.len()).map(|sealed| sealed.len)
        })
    }

    fn open_rtcp(&mut self, protected: &[u8]) -> Result<Vec<u8>, String> {
        in_place(protected, |buffer| {
            self.receiver.open_rtcp(&mut buffer[..protected.len()]).map(|opened| opened.len)
        })
    }
}

fn in_place(
    packet: &[u8],
    act: impl FnOnce(&mut [u8]) -> Result<usize, Refusal>,
) -> Result<Vec<u8>, String> {
    let mut buffer = [packet, &[0; 200]].concat();
    let len = act(&mut buffer).map_err(|refusal| refusal.to_string())?;
    buffer.truncate(len);
    Ok(buffer)
}

/// Master key and salt bytes for a profile; the same for every endpoint of a test.
pub(crate) fn master_bytes(profile: Profile) -> (Vec<u8>, Vec<u8>) {
    let key = (0..profile.key_len()).map(|byte| byte as u8 * 7 + 1).collect();
    let salt = (0..profile.salt_len()).map(|byte| byte as u8 * 5 + 3).collect();
    (key, salt)
}

/// The same as a typed key.
pub(crate) fn master_key(profile: Profile) -> MasterKey {
    let (key, salt) = master_bytes(profile);
    MasterKey::from_concatenated(profile, &[key, salt].concat()).expect("the profile's lengths")
}

/// SplitMix64: enough to shuffle packets, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

const SSRCS: [u32; 2] = [0xcafe_babe, 0x0000_0001];
const ROUNDS: usize = 40;
const PACKETS_PER_ROUND: usize = 8;
