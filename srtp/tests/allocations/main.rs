//! No allocation per packet, and a bounded size per direction: measured, not believed.
#![allow(clippy::expect_used, reason = "a packet that cannot be made is the test's failure")]

mod sys;

use srtp::{MasterKey, Policy, Profile, Receiver, Sender};

#[global_allocator]
static ALLOCATOR: sys::Counting = sys::Counting;

#[test]
fn packets_of_known_streams_allocate_nothing() {
    for profile in Profile::COMMON {
        let key = key(profile);
        let mut sender = Sender::new(&key, &Policy::default()).expect("suitable");
        let mut receiver = Receiver::new(&key, &Policy::default()).expect("suitable");
        carry(&mut sender, &mut receiver, 0);
        let (calls, held, ()) = sys::count(|| {
            for sequence in 1..1000 {
                carry(&mut sender, &mut receiver, sequence);
            }
        });
        assert_eq!((calls, held), (0, 0), "{profile}");
    }
}

#[test]
fn refused_packets_allocate_nothing() {
    for profile in Profile::COMMON {
        let mut receiver = Receiver::new(&key(profile), &Policy::default()).expect("suitable");
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

/// Thousands of calls have two directions each on both legs, so the size of one matters. The
/// figure is for one SSRC, its RTP and RTCP windows included.
#[test]
fn a_direction_takes_less_than_one_and_a_half_kibibytes() {
    for profile in Profile::COMMON {
        let key = key(profile);
        let (_, held, (mut sender, mut receiver)) = sys::count(|| {
            let policy = Policy::default();
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

fn key(profile: Profile) -> MasterKey {
    let bytes = vec![7; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
}
