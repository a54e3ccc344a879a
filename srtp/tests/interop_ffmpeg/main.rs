//! Interoperation with ffmpeg, both ways, over loopback, in every suite that it has.
//!
//! ffmpeg sends a tone, of which every packet must open and be the bytes that ffmpeg itself
//! encodes; we send PCMU that ffmpeg must decode to the samples that G.711 says. Sequence numbers
//! wrap in both. Where ffmpeg differs from the RFCs:
//!
//! - Under the name of RFC 4568, AES_CM_128_HMAC_SHA1_32, it gives SRTCP a tag of 4 bytes, though
//!   section 6.2.2 keeps 10 there. By its other name, that of DTLS-SRTP, it has 10.
//! - It authenticates a late packet from before a wrap under the ROC from after it (RFC 3711
//!   section 3.3.1 has it under its own), and so refuses it.
//! - It has no replay window (RFC 3711 section 3.3.2): RTP's order sorts out what comes again, but
//!   not the packet that has just come, which it plays twice.
//! - It knows neither MKIs nor AES-GCM, and takes CSRCs for payload.
#![allow(clippy::expect_used, reason = "a call that cannot be made is the test's failure")]

mod ffmpeg;
mod media;

use ffmpeg::Listener;
use srtp::{MasterKey, PacketKind, Policy, Profile, Receiver, Refusal, Sender, rtcp, rtp};

/// ffmpeg's names for its two suites, and how long it makes SRTCP's tag under them.
const SUITES: [(&str, Profile, SrtcpTag); 4] = [
    ("AES_CM_128_HMAC_SHA1_80", Profile::AesCm128HmacSha1_80, SrtcpTag::Long),
    ("AES_CM_128_HMAC_SHA1_32", Profile::AesCm128HmacSha1_32, SrtcpTag::Short),
    ("SRTP_AES128_CM_HMAC_SHA1_80", Profile::AesCm128HmacSha1_80, SrtcpTag::Long),
    ("SRTP_AES128_CM_HMAC_SHA1_32", Profile::AesCm128HmacSha1_32, SrtcpTag::Long),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SrtcpTag {
    /// 10 bytes, as every peer but ffmpeg has it.
    Long,
    /// 4 bytes: not this profile's.
    Short,
}

#[test]
fn we_open_every_packet_that_ffmpeg_protects() {
    if ffmpeg::is_absent("we_open_every_packet_that_ffmpeg_protects") {
        return;
    }
    let tone = ffmpeg::encode_tone();
    for (suite, profile, srtcp_tag) in SUITES {
        let sent = ffmpeg::send_tone(suite, INLINE_KEY, FIRST_SEQUENCE, SSRC);
        let mut receiver = receiver(profile);
        let (mut audio, mut indexes) = (Vec::new(), u64::from(FIRST_SEQUENCE)..);
        for mut packet in sent.rtp {
            let opened = receiver.open_rtp(&mut packet).expect("opens RTP");
            assert_eq!(Some(opened.index.value()), indexes.next(), "{suite}");
            let plain = rtp::Header::new_checked(&packet[..opened.len]).expect("RTP");
            assert_eq!(plain.ssrc(), SSRC, "{suite}");
            audio.extend_from_slice(plain.payload());
        }
        assert!(indexes.start > 1 << 16, "{suite}: no wrap");
        assert!(audio == tone, "{suite}: other audio than was sent");

        let open = |mut report: Vec<u8>| open_report(&mut receiver, &mut report);
        let reports: Vec<_> = sent.rtcp.into_iter().map(open).collect();
        assert_eq!(reports.len(), 2, "{suite}: one at the start, one with the BYE");
        for report in reports {
            match srtcp_tag {
                SrtcpTag::Long => assert_eq!(report, Ok(media::SENDER_REPORT), "{suite}"),
                // As what it is refused depends on ciphertext that is taken for E flag and index.
                SrtcpTag::Short => assert!(report.is_err(), "{suite}: repaired: expect a report"),
            }
        }
    }
}

#[test]
fn ffmpeg_decodes_the_samples_that_we_protect() {
    if ffmpeg::is_absent("ffmpeg_decodes_the_samples_that_we_protect") {
        return;
    }
    for (suite, profile, srtcp_tag) in SUITES {
        let mut sender = Sender::new(&master_key(profile), &Policy::default()).expect("suitable");
        let mut listener = Listener::start(suite, INLINE_KEY);
        let report = protect(&mut sender, PacketKind::Rtcp, &media::sender_report(SSRC));
        listener.send(PacketKind::Rtcp, &report);
        let packets = media::packets(FIRST_SEQUENCE, SSRC);
        let packets = packets.iter().map(|plain| protect(&mut sender, PacketKind::Rtp, plain));
        for packet in disordered(packets.collect()) {
            listener.send(PacketKind::Rtp, &packet);
        }
        let expected = media::decoded();
        let samples = listener.samples(expected.len());
        assert!(samples == expected, "{suite}: other samples than were sent");

        let bye = protect(&mut sender, PacketKind::Rtcp, &media::bye(SSRC));
        listener.send(PacketKind::Rtcp, &bye);
        match srtcp_tag {
            SrtcpTag::Long => assert_eq!(listener.rest(), [], "{suite}: more than was sent"),
            SrtcpTag::Short => listener.stop(),
        }
    }
}

/// The packets with some swapped (but not over the wrap, see above), some twice, and some forged
/// ones in front of those whose sequence numbers they have.
fn disordered(packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let before_wrap = usize::from(u16::MAX - FIRST_SEQUENCE);
    let mut disordered = Vec::new();
    for (at, packet) in packets.into_iter().enumerate() {
        if at % 9 == 8 {
            let mut forged = packet.clone();
            forged[rtp::FIXED_LEN] ^= 1;
            disordered.push(forged);
        }
        disordered.push(packet);
        if at % 7 == 6 {
            disordered.push(disordered[at - 4].clone());
        }
        if at % 5 == 4 && at != before_wrap + 1 {
            let last = disordered.len() - 1;
            disordered.swap(last - 1, last);
        }
    }
    disordered
}

fn protect(sender: &mut Sender, kind: PacketKind, plain: &[u8]) -> Vec<u8> {
    let mut packet = [plain, &[0; 14]].concat();
    let len = match kind {
        PacketKind::Rtp => sender.protect_rtp(&mut packet, plain.len()).map(|sealed| sealed.len),
        PacketKind::Rtcp => sender.protect_rtcp(&mut packet, plain.len()).map(|sealed| sealed.len),
    };
    packet.truncate(len.expect("protects"));
    packet
}

/// The type of the compound packet's first.
fn open_report(receiver: &mut Receiver, packet: &mut [u8]) -> Result<u8, Refusal> {
    let opened = receiver.open_rtcp(packet)?;
    assert_eq!(opened.ssrc, SSRC);
    Ok(rtcp::Header::new_checked(&packet[..opened.len])?.packet_type())
}

fn receiver(profile: Profile) -> Receiver {
    Receiver::new(&master_key(profile), &Policy::default()).expect("suitable")
}

fn master_key(profile: Profile) -> MasterKey {
    let key: Vec<u8> = (0..30).collect();
    MasterKey::from_concatenated(profile, &key).expect("30 bytes")
}

/// The bytes 0 to 29 in base64.
const INLINE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
const SSRC: u32 = 0x1234;
/// Some tens of packets before the wrap.
const FIRST_SEQUENCE: u16 = 65_497;
