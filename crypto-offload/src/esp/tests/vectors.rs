//! Published packets: draft-mcgrew-gcm-test-01 section 4 and RFC 7634 appendix A.
//!
//! Their IVs are not sequence numbers, so they are opened through [`Open`], and sealed by the
//! cipher's own test.

use super::{
    super::{NextHeader, Open},
    pair::{keyed, opened},
};
use crate::{Aead, SaSpec, SequenceNumbers, Spi};

/// One packet.
pub(in crate::esp) struct Vector {
    pub(in crate::esp) name: &'static str,
    aead: Aead,
    key: Vec<u8>,
    sequence_numbers: SequenceNumbers,
    /// The whole number.
    pub(in crate::esp) sequence: u64,
    /// From the SPI to the ICV.
    pub(in crate::esp) packet: Vec<u8>,
    /// What is encrypted, with the trailer.
    pub(in crate::esp) body: Vec<u8>,
}

impl Vector {
    /// An SA that has come to the number before.
    pub(in crate::esp) fn sa(&self) -> SaSpec {
        let mut sa = keyed(self.aead, &self.key, self.sequence_numbers);
        let spi = u32::from_be_bytes(*self.packet.first_chunk().expect("a header"));
        sa.id.spi = Spi::new(spi).expect("not reserved");
        sa.resume_after = self.sequence - 1;
        sa
    }
}

/// Each of them.
pub(in crate::esp) fn all() -> [Vector; 3] {
    [
        Vector {
            name: "draft-mcgrew-gcm-test-01: 128 bits, ESN",
            aead: Aead::Aes128Gcm,
            key: hex("4c80cdefbb5d10da906ac73c3613a634 2e443b68"),
            sequence_numbers: SequenceNumbers::Extended,
            sequence: 0x8765_4321_0000_0000,
            packet: hex("00004321 00000000 4956ed7e3b244cfe
                fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34
                cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce
                61bc17d768fd9732 459018148f6cbe722fd04796562dfdb4"),
            body: hex("45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000
                00000000045f736970045f756470037369700963796265726369747902646b00
                0021000101020201"),
        },
        Vector {
            name: "draft-mcgrew-gcm-test-01: 256 bits, short numbers",
            aead: Aead::Aes256Gcm,
            key: hex("abbccddef00112233445566778899aababbccddef00112233445566778899aab 11223344"),
            sequence_numbers: SequenceNumbers::Short,
            sequence: 2,
            packet: hex("4a2cbfe3 00000002 0102030405060708
                ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763
                748a637985771d347f0545659f14e99def842d8e
                b335f4eecfdbf831824b4c4915956c96"),
            body: hex("4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000
                7002400020bf0000020405b40101040201020201"),
        },
        Vector {
            name: "RFC 7634 appendix A",
            aead: Aead::ChaCha20Poly1305,
            key: hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3"),
            sequence_numbers: SequenceNumbers::Short,
            sequence: 5,
            packet: hex("01020304 00000005 1011121314151617
                24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
                14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
                cbec163fac469b502773f6fb94e664da9165b82829f641e0
                76aaa8266b7fb0f7b11b369907e1ad43"),
            body: hex("45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
                0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
                2425262728292a2b2c2d2e2f303132333435363701020204"),
        },
    ]
}

#[test]
fn opens_the_published_packets() {
    for vector in all() {
        let (payload, about) = opened(&mut Open::new(&vector.sa()), &vector.packet)
            .unwrap_or_else(|refused| panic!("{}: {refused:?}", vector.name));
        // Each has two bytes of padding before its two of trailer.
        let (expected, trailer) = vector.body.split_at(vector.body.len() - 4);
        assert_eq!(payload, expected, "{}", vector.name);
        assert_eq!(about.next_header, NextHeader(trailer[3]), "{}", vector.name);
        assert_eq!(about.sequence, vector.sequence, "{}", vector.name);
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
