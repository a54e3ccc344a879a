//! No allocation per packet, and a bounded size per direction: measured, not believed.
#![allow(clippy::expect_used, reason = "a packet that cannot be made is the test's failure")]

mod sys;

use srtp::{
    Backend, Cryptex, ExtensionIds, HeaderExtensions, KeyParameters, Lifetimes, MasterKey, Mki,
    PacketKind, Policy, Profile, Receiver, Refusal, Sender, SessionKeys, Weakness, Weaknesses,
};

#[global_allocator]
static ALLOCATOR: sys::Counting = sys::Counting;

#[test]
fn packets_of_known_streams_allocate_nothing() {
    for profile in Profile::ALL {
        let key = key(profile);
        let mut sender = Sender::new(&key, &policy()).expect("suitable");
        let mut receiver = Receiver::new(&key, &policy()).expect("suitable");
        carry(&mut sender, &mut receiver, 0);
        let (calls, held, ()) = sys::count(|| {
            for sequence in 1..1000 {
                carry(&mut sender, &mut receiver, sequence);
            }
        });
        assert_eq!((calls, held), (0, 0), "{profile}");
    }
}

/// [`carry`]'s packets have no extension; these have one, with an element to hide and CSRCs.
#[test]
fn hiding_header_extensions_allocates_nothing() {
    let ids = ExtensionIds::new([1]).expect("no zero");
    for header_extensions in
        [HeaderExtensions::Encrypted(ids), HeaderExtensions::Cryptex(Cryptex::Required)]
    {
        for profile in Profile::ALL.into_iter().filter(encrypts) {
            let policy = Policy { header_extensions, ..policy() };
            let key = key(profile);
            let mut sender = Sender::new(&key, &policy).expect("suitable");
            let mut receiver = Receiver::new(&key, &policy).expect("suitable");
            let mut carry = |sequence: u16| {
                let mut rtp = [0; 172 + 32];
                rtp[0] = 0x92;
                rtp[2..4].copy_from_slice(&sequence.to_be_bytes());
                rtp[20..26].copy_from_slice(&[0xbe, 0xde, 0, 5, 0x1f, 7]);
                let sealed = sender.protect_rtp(&mut rtp, 172).expect("protects");
                assert_ne!(rtp[26..41], [0; 15], "hidden");
                receiver.open_rtp(&mut rtp[..sealed.len]).expect("opens");
                assert_eq!(rtp[24..28], [0x1f, 7, 0, 0]);
            };
            carry(0);
            let (calls, held, ()) = sys::count(|| (1..1000).for_each(&mut carry));
            assert_eq!((calls, held), (0, 0), "{profile}, {header_extensions:?}");
        }
    }
}

#[test]
fn refused_packets_allocate_nothing() {
    for profile in Profile::ALL {
        let mut receiver = Receiver::new(&key(profile), &policy()).expect("suitable");
        let (calls, _, ()) = sys::count(|| {
            for ssrc in 0..100 {
                let mut forged = [0x80; 172];
                forged[8] = ssrc;
                assert!(receiver.open_rtp(&mut forged.clone()).is_err());
                assert!(receiver.open_rtcp(&mut forged).is_err());
            }
        });
        assert_eq!(calls, 0, "{profile}");
    }
}

/// Rotation moves keys about and forgets some; moving leaves copies.
#[test]
fn no_key_is_left_in_freed_memory() {
    for (&backend, profile) in Backend::available()
        .iter()
        .flat_map(|backend| Profile::ALL.into_iter().map(move |profile| (backend, profile)))
        .filter(|(backend, profile)| !by_ring(**backend, *profile))
    {
        let masters: Vec<_> = (1..7).map(|byte| key_of(profile, byte)).collect();
        for (secret, master) in masters.iter().enumerate() {
            for kind in [PacketKind::Rtp, PacketKind::Rtcp] {
                let keys = SessionKeys::derive(master, kind);
                let secret_bytes = *keys.dangerous_cipher_key().first_chunk().expect("16 or more");
                let left = sys::leaks(secret_bytes, || rotate(&masters, backend));
                assert_eq!(left, 0, "{profile} on {backend}, {kind:?} key {secret}");
            }
        }
    }
}

/// `ring` does not zeroize the GCM keys that it expands.
fn by_ring(backend: Backend, profile: Profile) -> bool {
    profile.is_aead() && backend == Backend::Portable
}

fn rotate(masters: &[MasterKey], backend: Backend) {
    let policy = Policy { backend, ..policy() };
    let key = |at: usize| KeyParameters {
        master: &masters[at],
        mki: Mki::new(&[at as u8]).expect("one byte"),
        lifetimes: Lifetimes::MAX,
    };
    let mut sender = Sender::new(key(0), &policy).expect("suitable");
    let mut receiver = Receiver::new(key(0), &policy).expect("suitable");
    for at in 1..masters.len() {
        sender.install(&key(at)).expect("suitable");
        receiver.install(&key(at)).expect("suitable");
    }
    for at in (0..masters.len()).rev() {
        sender.switch_to(&key(at).mki).expect("installed");
        let mut rtp = [0x80; PACKET + 1];
        rtp[3] = at as u8;
        let sealed = sender.protect_rtp(&mut rtp, PACKET - 16).expect("protects");
        receiver.open_rtp(&mut rtp[..sealed.len]).expect("opens");
        if at % 2 == 0 && at > 0 {
            sender.retire(&key(at).mki).expect("not the only one");
            receiver.retire(&key(at).mki).expect("not the only one");
        }
    }
}

/// Thousands of calls have two directions each on both legs, so the size of one matters. The
/// figure is for one SSRC, its RTP and RTCP windows included.
#[test]
fn a_direction_takes_less_than_one_and_a_half_kibibytes() {
    for profile in Profile::ALL {
        let key = key(profile);
        let (_, held, (mut sender, mut receiver)) = sys::count(|| {
            let policy = policy();
            (
                Box::new(Sender::new(&key, &policy).expect("suitable")),
                Box::new(Receiver::new(&key, &policy).expect("suitable")),
            )
        });
        let (_, streams, ()) = sys::count(|| carry(&mut sender, &mut receiver, 0));
        let each = (held + streams) / 2;
        println!("{profile}: {each} bytes per direction, of which streams {}", streams / 2);
        assert!(each < 1536, "{profile}: {each} bytes per direction");
    }
}

/// A conference in one session: a stream takes at most 512 bytes. Numbers just above a power of
/// two are the worst, because tables double.
#[test]
fn a_stream_takes_less_than_512_bytes_and_its_packets_allocate_nothing() {
    for count in [1000, 8200, 10_000, 14_400, 16_400] {
        let key = key(Profile::AeadAes128Gcm);
        let policy = Policy { max_streams: 65_536, ..Policy::default() };
        let mut sender = Sender::new(&key, &policy).expect("suitable");
        let mut receiver = Receiver::new(&key, &policy).expect("suitable");
        let mut packets = Vec::from_iter((0..2 * count).map(|_| [0; PACKET]));
        let (first, second) = packets.split_at_mut(count as usize);
        let (_, sent, ()) = sys::count(|| protect_each(&mut sender, first, 1));
        let (_, heard, ()) = sys::count(|| open_each(&mut receiver, first));
        for (direction, held) in [("sending", sent), ("receiving", heard)] {
            let each = held / count;
            println!("{direction} {count} streams: {each} bytes each");
            assert!((128..512).contains(&each), "{direction} {count} streams: {each} bytes each");
        }
        let (calls, held, ()) = sys::count(|| {
            protect_each(&mut sender, second, 2);
            open_each(&mut receiver, second);
        });
        assert_eq!((calls, held), (0, 0), "{count} streams");
    }
}

/// A flood of packets that name ever new SSRCs grows no table: only genuine ones make a stream.
#[test]
fn forged_ssrcs_allocate_nothing_however_large_the_table_may_become() {
    let policy = Policy { max_streams: 65_536, ..Policy::default() };
    for genuine in [1, 100] {
        let key = key(Profile::AeadAes128Gcm);
        let mut sender = Sender::new(&key, &policy).expect("suitable");
        let mut receiver = Receiver::new(&key, &policy).expect("suitable");
        let mut packets = vec![[0; PACKET]; genuine];
        protect_each(&mut sender, &mut packets, 1);
        open_each(&mut receiver, &mut packets);
        let (calls, held, ()) = sys::count(|| {
            for ssrc in 1000..20_000_u32 {
                let mut forged = [0x80; PACKET];
                forged[8..12].copy_from_slice(&ssrc.to_be_bytes());
                assert_eq!(receiver.open_rtp(&mut forged), Err(Refusal::AuthenticationFailed));
            }
        });
        assert_eq!((calls, held), (0, 0));
        assert_eq!(receiver.streams().count(), genuine);
    }
}

/// The packet with `sequence` of each of as many streams as there are buffers.
fn protect_each(sender: &mut Sender, packets: &mut [[u8; PACKET]], sequence: u8) {
    for (ssrc, packet) in (0_u32..).zip(packets) {
        packet[0] = 0x80;
        packet[3] = sequence;
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        sender.protect_rtp(packet, PACKET - 16).expect("protects");
    }
}

fn open_each(receiver: &mut Receiver, packets: &mut [[u8; PACKET]]) {
    for packet in packets {
        receiver.open_rtp(packet).expect("opens");
    }
}

/// One RTP packet and one RTCP packet, protected and opened.
fn carry(sender: &mut Sender, receiver: &mut Receiver, sequence: u16) {
    let mut rtp = [0x80; 172 + 32];
    rtp[2..4].copy_from_slice(&sequence.to_be_bytes());
    let sealed = sender.protect_rtp(&mut rtp, 172).expect("protects");
    receiver.open_rtp(&mut rtp[..sealed.len]).expect("opens");
    let mut rtcp = [0x80; 32 + 32];
    let sealed = sender.protect_rtcp(&mut rtcp, 32).expect("protects");
    receiver.open_rtcp(&mut rtcp[..sealed.len]).expect("opens");
}

/// One that accepts every profile.
fn policy() -> Policy {
    let accepted = Weaknesses::NONE.with(Weakness::NullCipher).with(Weakness::F8);
    Policy { accepted, ..Policy::default() }
}

fn encrypts(profile: &Profile) -> bool {
    profile.weakness() != Some(Weakness::NullCipher)
}

fn key(profile: Profile) -> MasterKey {
    key_of(profile, 7)
}

fn key_of(profile: Profile, byte: u8) -> MasterKey {
    let bytes = vec![byte; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
}

/// Length in bytes of a packet with a GCM tag.
const PACKET: usize = 12 + 20 + 16;
