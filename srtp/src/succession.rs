//! Receivers that follow each other, for a peer that changes its key without an MKI.
//!
//! An SDES re-INVITE or a new DTLS handshake gives the peer another master key. Which packet is
//! the first under it nobody says, and the network reorders: so what the newest receiver refuses
//! is tried with those before it, until some time after the first packet under the newer key. A
//! peer may go on in its round or begin again with ROC 0; the newer receiver is told where the
//! streams stood and tries both.
//!
//! A key that stays, or comes back, is still one key: of what was received under it nothing opens a
//! second time. For as long as a key is taken its receiver's windows see to that; of one that has
//! gone, the highest index of each stream is kept.
//!
//! While nothing is being replaced, opening costs one more branch. Time comes in as an argument.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::{Opened, OpenedRtcp, Receiver, Refusal, sealed_state::Content};

/// A receiver and, for a while after a change of key, those before it.
///
/// What tells the keys apart is the tag: under UNAUTHENTICATED_SRTP
/// ([`SessionParameters`](crate::SessionParameters)) every SRTP packet opens under the newest key,
/// the late ones as noise.
#[derive(Debug)]
pub struct Succession {
    newest: Receiver,
    before: Option<Box<Before>>,
    /// What is left of keys that are not taken any more, the last one last.
    gone: Vec<Content>,
    overlap: Duration,
}

#[derive(Debug)]
struct Before {
    /// The last one first.
    receivers: ArrayVec<Predecessor, { Succession::MOST_BEFORE }>,
    /// Opening spoils what it refuses.
    kept: Vec<u8>,
}

#[derive(Debug)]
struct Predecessor {
    receiver: Receiver,
    /// When it goes; not before a newer key has been heard.
    until: Option<Instant>,
}

impl Succession {
    /// How many older keys are taken at a time; a further change lets the oldest go.
    pub const MOST_BEFORE: usize = 3;

    /// How many keys that are not taken any more are known again if they come back.
    pub const MOST_GONE: usize = 16;

    /// `receiver` alone. After a change of key, packets under the old one are taken for `overlap`
    /// more, counted from the first packet under the new one: far longer than any network
    /// reorders, say five seconds.
    pub fn new(receiver: Receiver, overlap: Duration) -> Self {
        Self { newest: receiver, before: None, gone: Vec::new(), overlap }
    }

    /// The receiver of the newest key.
    pub fn newest(&self) -> &Receiver {
        &self.newest
    }

    /// The same, to install keys by MKI or to say what to expect.
    pub fn newest_mut(&mut self) -> &mut Receiver {
        &mut self.newest
    }

    /// How many older keys are still taken.
    pub fn older(&self) -> usize {
        self.before.as_ref().map_or(0, |before| before.receivers.len())
    }

    /// Whether a packet has opened under the newest key, or under one that it shares with all before
    /// it: the peer has it.
    pub fn is_newest_heard(&self) -> bool {
        let last = self.before.as_ref().and_then(|before| before.receivers.first());
        last.is_none_or(|last| last.until.is_some())
    }

    /// The peer will protect under the key of `receiver`, which has received nothing yet, from now
    /// on. If an earlier receiver has that key too, or one of its keys, this one goes on in its
    /// place, with its windows and its use of the key: the peer has kept the key or come back to
    /// it. The last [`Self::MOST_GONE`] receivers are remembered for that.
    ///
    /// Under a key of its own, streams past their first round may go on in it, up to 64 of them, or
    /// begin again at ROC 0.
    pub fn follow(&mut self, mut receiver: Receiver) {
        let mut before = self.before.take().unwrap_or_else(|| Box::new(Before::new()));
        self.gone.retain(|content| !take_over(&mut receiver, content));
        before.receivers.retain(|old| !take_over(&mut receiver, &old.receiver.content()));
        let stays = take_over(&mut receiver, &self.newest.content());
        self.newest.tell(&mut receiver);
        let receiver = std::mem::replace(&mut self.newest, receiver);
        if !stays {
            if before.receivers.is_full()
                && let Some(oldest) = before.receivers.pop()
            {
                self.remember(&oldest.receiver);
            }
            before.receivers.insert(0, Predecessor { receiver, until: None });
        }
        self.before = Some(before).filter(|before| !before.receivers.is_empty());
    }

    /// Keeps of `receiver`, which goes, where its streams are.
    fn remember(&mut self, receiver: &Receiver) {
        let mut content = receiver.content();
        for stream in content.rtp.iter_mut().chain(&mut content.rtcp) {
            stream.history = Vec::new();
        }
        if self.gone.len() == Self::MOST_GONE {
            self.gone.remove(0);
        }
        self.gone.push(content);
    }

    /// Opens `packet` in place, as [`Receiver::open_rtp`] does; `now` is read where keys overlap.
    /// If no key opens it, the refusal is the newest one's.
    pub fn open_rtp(&mut self, packet: &mut [u8], now: Instant) -> Result<Opened, Refusal> {
        if self.before.is_none() {
            return self.newest.open_rtp(packet);
        }
        self.open_with_any(packet, now, Receiver::open_rtp)
    }

    /// Opens `packet` in place, as [`Receiver::open_rtcp`] does.
    pub fn open_rtcp(&mut self, packet: &mut [u8], now: Instant) -> Result<OpenedRtcp, Refusal> {
        if self.before.is_none() {
            return self.newest.open_rtcp(packet);
        }
        self.open_with_any(packet, now, Receiver::open_rtcp)
    }

    #[cold]
    fn open_with_any<T>(
        &mut self,
        packet: &mut [u8],
        now: Instant,
        open: impl Fn(&mut Receiver, &mut [u8]) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.part(now);
        let Some(before) = &mut self.before else { return open(&mut self.newest, packet) };
        before.kept.clear();
        before.kept.extend_from_slice(packet);
        let mut opened = open(&mut self.newest, packet);
        let mut heard = opened.is_ok().then_some(0);
        for (at, old) in (1..).zip(&mut before.receivers) {
            if opened.is_ok() {
                break;
            }
            packet.copy_from_slice(&before.kept);
            let tried = open(&mut old.receiver, packet);
            if tried.is_ok() {
                (opened, heard) = (tried, Some(at));
            }
        }
        // All keys before the one heard are on their way out.
        if let Some(heard) = heard {
            for old in before.receivers.iter_mut().skip(heard) {
                old.until.get_or_insert(now + self.overlap);
            }
        }
        opened
    }

    /// Lets those go whose time has come.
    fn part(&mut self, now: Instant) {
        let Some(mut before) = self.before.take() else { return };
        let goes = |old: &Predecessor| old.until.is_some_and(|until| now >= until);
        // Whoever is before one that goes goes too.
        while before.receivers.last().is_some_and(goes) {
            let oldest = before.receivers.pop();
            oldest.iter().for_each(|oldest| self.remember(&oldest.receiver));
        }
        self.before = Some(before).filter(|before| !before.receivers.is_empty());
    }
}

/// Whether `receiver` has a key in common with the one of `content`, whose packets it then knows.
fn take_over(receiver: &mut Receiver, content: &Content) -> bool {
    let shares = receiver.shares_key(content);
    if shares {
        receiver.absorb(content);
    }
    shares
}

impl Before {
    fn new() -> Self {
        Self { receivers: ArrayVec::new(), kept: Vec::with_capacity(USUAL_PACKET) }
    }
}

/// Longer than what a network carries in one piece.
const USUAL_PACKET: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MasterKey, PacketIndex, Policy, Profile, Sender, Weaknesses};

    const OVERLAP: Duration = Duration::from_secs(5);

    fn key(profile: Profile, byte: u8) -> MasterKey {
        let bytes = vec![byte; profile.key_len() + profile.salt_len()];
        MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
    }

    fn pair(profile: Profile, byte: u8) -> (Sender, Receiver) {
        let policy = Policy { accepted: Weaknesses::ALL, ..Policy::default() };
        let key = key(profile, byte);
        let sender = Sender::new(&key, &policy).expect("suitable");
        (sender, Receiver::new(&key, &policy).expect("suitable"))
    }

    fn protect(sender: &mut Sender, sequence: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0, 0, 0, 9]);
        packet.extend(b"payload");
        let len = packet.len();
        packet.resize(len + 16, 0);
        let sealed = sender.protect_rtp(&mut packet, len).expect("protects");
        packet.truncate(sealed.len);
        packet
    }

    /// Brings a stream into round `roc` by steps of less than half the sequence space.
    fn advance(sender: &mut Sender, succession: &mut Succession, roc: u32, now: Instant) {
        for step in 0..=3 * roc {
            let packet = protect(sender, (step * 22_000) as u16);
            succession.open_rtp(&mut packet.clone(), now).expect("opens");
        }
        let highest = succession.newest().highest(9).expect("is heard");
        assert_eq!(highest.roc(), roc);
    }

    #[test]
    fn late_packets_under_the_old_key_open_for_the_overlap_and_not_longer() {
        for profile in Profile::ALL {
            let now = Instant::now();
            let (mut old, receiver) = pair(profile, 1);
            let (mut new, follower) = pair(profile, 2);
            let mut succession = Succession::new(receiver, OVERLAP);
            let [first, late, too_late] = [1, 2, 3].map(|s| protect(&mut old, s));
            succession.open_rtp(&mut first.clone(), now).expect("opens");
            succession.follow(follower);
            let much_later = now + 100 * OVERLAP;
            assert!(succession.open_rtp(&mut first.clone(), much_later).is_err(), "a replay");
            succession.open_rtp(&mut protect(&mut new, 4), much_later).expect("opens");
            let within = much_later + OVERLAP - Duration::from_millis(1);
            succession.open_rtp(&mut late.clone(), within).expect("opens");
            let after = much_later + OVERLAP;
            assert!(succession.open_rtp(&mut too_late.clone(), after).is_err(), "{profile}");
            assert_eq!(succession.older(), 0);
            succession.open_rtp(&mut protect(&mut new, 5), after).expect("opens");
        }
    }

    #[test]
    fn the_newest_key_is_heard_once_a_packet_opened_under_it() {
        let now = Instant::now();
        let (mut old, receiver) = pair(Profile::AeadAes128Gcm, 1);
        let (mut new, follower) = pair(Profile::AeadAes128Gcm, 2);
        let mut succession = Succession::new(receiver, OVERLAP);
        assert!(succession.is_newest_heard(), "it is the only one");
        succession.follow(follower);
        succession.open_rtp(&mut protect(&mut old, 1), now).expect("opens");
        assert!(!succession.is_newest_heard());
        succession.open_rtp(&mut protect(&mut new, 2), now).expect("opens");
        assert!(succession.is_newest_heard());
        succession.open_rtp(&mut protect(&mut old, 3), now).expect("opens");
        assert!(succession.is_newest_heard(), "a late one changes nothing");
        succession.open_rtp(&mut protect(&mut new, 4), now + OVERLAP).expect("opens");
        assert!(succession.is_newest_heard(), "nor that the old ones have gone");
    }

    /// A re-INVITE may keep the key, and go back to one from before another.
    #[test]
    fn a_key_that_stays_or_comes_back_opens_nothing_twice() {
        for profile in [Profile::AeadAes128Gcm, Profile::AesCm128HmacSha1_80] {
            let mut now = Instant::now();
            let (mut old, receiver) = pair(profile, 1);
            let mut new = pair(profile, 2).0;
            let mut succession = Succession::new(receiver, OVERLAP);
            let packets: Vec<_> = (1..4).map(|sequence| protect(&mut old, sequence)).collect();
            for packet in &packets {
                succession.open_rtp(&mut packet.clone(), now).expect("opens");
            }
            let replayed = |succession: &mut Succession, now| {
                packets.iter().any(|packet| succession.open_rtp(&mut packet.clone(), now).is_ok())
            };
            succession.follow(pair(profile, 1).1);
            assert_eq!(succession.older(), 0, "it stays");
            assert!(!replayed(&mut succession, now), "{profile}: it stays");
            for later in [0, 1, 10] {
                succession.follow(pair(profile, 2).1);
                let sequence = 10 + later;
                succession.open_rtp(&mut protect(&mut new, sequence), now).expect("opens");
                now += u32::from(later) * OVERLAP;
                assert!(!replayed(&mut succession, now), "{profile}: it is old");
                succession.follow(pair(profile, 1).1);
                assert!(!replayed(&mut succession, now), "{profile}: it comes back");
                let fresh = protect(&mut old, sequence);
                succession.open_rtp(&mut fresh.clone(), now).expect("opens");
                let again = succession.open_rtp(&mut fresh.clone(), now);
                assert_eq!(again, Err(Refusal::Replayed), "{profile}");
            }
        }
    }

    #[test]
    fn a_stream_goes_on_in_its_round_over_a_key_that_was_never_heard() {
        let now = Instant::now();
        let profile = Profile::AeadAes128Gcm;
        let (mut sender, receiver) = pair(profile, 1);
        let mut succession = Succession::new(receiver, OVERLAP);
        advance(&mut sender, &mut succession, 2, now);
        let last = succession.newest().highest(9).expect("is heard");
        succession.follow(pair(profile, 2).1);
        succession.follow(pair(profile, 3).1);
        let mut renewed = pair(profile, 3).0;
        renewed.resume(9, last).expect("there is room");
        let sequence = last.sequence().wrapping_add(1);
        let opened = succession.open_rtp(&mut protect(&mut renewed, sequence), now);
        assert_eq!(opened.map(|opened| opened.index), Ok(PacketIndex::new(2, sequence)));
    }

    #[test]
    fn three_quick_changes_lose_nothing() {
        let now = Instant::now();
        let profile = Profile::AeadAes128Gcm;
        let (mut senders, receivers): (Vec<_>, Vec<_>) = (1..=4).map(|b| pair(profile, b)).unzip();
        let packets: Vec<_> = senders.iter_mut().zip(1..).map(|(s, n)| protect(s, n)).collect();
        let mut receivers = receivers.into_iter();
        let mut succession = Succession::new(receivers.next().expect("four"), OVERLAP);
        receivers.for_each(|receiver| succession.follow(receiver));
        for packet in packets.iter().rev() {
            succession.open_rtp(&mut packet.clone(), now).expect("opens");
        }
    }

    #[test]
    fn under_a_new_key_a_stream_goes_on_in_its_round_or_begins_again() {
        for profile in [Profile::AeadAes128Gcm, Profile::AesCm128HmacSha1_80] {
            for begins_again in [false, true] {
                let now = Instant::now();
                let (mut sender, receiver) = pair(profile, 1);
                let mut succession = Succession::new(receiver, OVERLAP);
                advance(&mut sender, &mut succession, 2, now);
                let (mut renewed, receiver) = pair(profile, 2);
                succession.follow(receiver);
                let last = succession.before.as_ref().expect("one").receivers[0]
                    .receiver
                    .highest(9)
                    .expect("is heard");
                if !begins_again {
                    renewed.resume(9, last).expect("there is room");
                }
                let sequence = last.sequence().wrapping_add(1);
                let packet = protect(&mut renewed, sequence);
                let opened = succession.open_rtp(&mut packet.clone(), now).expect("opens");
                let roc = if begins_again { 0 } else { 2 };
                assert_eq!(opened.index, PacketIndex::new(roc, sequence), "{profile}");
            }
        }
    }
}
