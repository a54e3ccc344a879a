//! Requests about SAs: `struct xfrm_usersa_info`, `xfrm_usersa_id`, `xfrm_userspi_info` and their
//! attributes.

use std::net::IpAddr;

use crypto_offload::{
    Aead, Direction, Lifetimes, Mode, Reqid, SaId, SaSpec, SequenceNumbers, Spi, UdpEncapsulation,
};

use super::{
    numbers::{
        IPPROTO_ESP, NLM_F_ACK, NLM_F_DUMP, UDP_ENCAP_ESPINUDP, XFRM_INF, XFRM_MODE_TRANSPORT,
        XFRM_MODE_TUNNEL, XFRM_MSG_ALLOCSPI, XFRM_MSG_DELSA, XFRM_MSG_GETSA, XFRM_MSG_NEWSA,
        XFRM_MSG_UPDSA, XFRM_OFFLOAD_INBOUND, XFRM_OFFLOAD_PACKET, XFRM_SA_DIR_IN, XFRM_SA_DIR_OUT,
        XFRM_STATE_ESN, XFRMA_ALG_AEAD, XFRMA_ENCAP, XFRMA_OFFLOAD_DEV, XFRMA_PROTO,
        XFRMA_REPLAY_ESN_VAL, XFRMA_SA_DIR,
    },
    request::{Request, family},
    selector::{self, SELECTOR_LEN},
};

/// What becomes of an SA of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Install {
    /// There must be none.
    New,
    /// It is a reservation, which the SA takes over.
    OverReservation,
}

/// A device's engine, asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offload {
    /// Of the device.
    pub(crate) index: u32,
    pub(crate) depth: Depth,
}

/// How much a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The cipher.
    Crypto,
    /// Everything.
    Packet,
}

/// Whether the kernel has SAs with a direction (Linux 6.10), which changes what it takes: with
/// it, an outbound SA must have no replay window, and without it, one with ESN must have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DirectedSas {
    Known,
    #[default]
    Unknown,
}

/// Installs an SA.
pub(crate) fn install(
    sa: &SaSpec,
    how: Install,
    offload: Option<Offload>,
    directed: DirectedSas,
) -> Request {
    let kind = match how {
        Install::New => XFRM_MSG_NEWSA,
        Install::OverReservation => XFRM_MSG_UPDSA,
    };
    let mut request = Request::new(kind, NLM_F_ACK);
    selector::encode(&mut request, &sa.selector);
    let flags = match sa.sequence_numbers {
        SequenceNumbers::Extended => XFRM_STATE_ESN,
        SequenceNumbers::Short => 0,
    };
    identity(&mut request, sa.id, sa.source);
    lifetimes(&mut request, &sa.lifetimes);
    request.zeros(LIFETIME_CURRENT_LEN + STATS_LEN + 4);
    tail(&mut request, sa.reqid, sa.source, mode_number(sa.mode), flags);
    aead(&mut request, sa);
    replay(&mut request, sa, directed);
    if let Some(UdpEncapsulation { source_port, destination_port }) = sa.encapsulation {
        request.attribute(XFRMA_ENCAP, |request| {
            request.u16(UDP_ENCAP_ESPINUDP).be16(source_port).be16(destination_port).zeros(18);
        });
    }
    if let Some(Offload { index, depth }) = offload {
        let flags = inbound_flag(sa.direction) | packet_flag(depth);
        request.attribute(XFRMA_OFFLOAD_DEV, |request| {
            request.u32(index).u8(flags).zeros(3);
        });
    }
    direction(&mut request, sa.direction, directed);
    request
}

/// Reserves an SPI out of a range: the kernel makes a larval SA and answers with it.
pub(crate) fn reserve(
    destination: IpAddr,
    source: IpAddr,
    reqid: u32,
    spis: std::ops::RangeInclusive<u32>,
    directed: DirectedSas,
) -> Request {
    let mut request = Request::new(XFRM_MSG_ALLOCSPI, NLM_F_ACK);
    request.zeros(SELECTOR_LEN);
    request.address(destination).be32(0).u8(IPPROTO_ESP).zeros(3).address(source);
    request.zeros(LIFETIME_CONFIG_LEN + LIFETIME_CURRENT_LEN + STATS_LEN + 4);
    request.u32(reqid).u16(family(source)).u8(XFRM_MODE_TUNNEL).zeros(9);
    request.u32(*spis.start()).u32(*spis.end());
    direction(&mut request, Direction::Inbound, directed);
    request
}

/// Asks for one SA.
pub(crate) fn read(id: SaId) -> Request {
    named(XFRM_MSG_GETSA, id)
}

/// Takes one SA away.
pub(crate) fn remove(id: SaId) -> Request {
    named(XFRM_MSG_DELSA, id)
}

/// Asks for every ESP SA. Unlike asking for one, a dump has no struct before its attributes: the
/// kernel would pass over them, with a complaint in its log.
pub(crate) fn all() -> Request {
    let mut request = Request::new(XFRM_MSG_GETSA, NLM_F_DUMP);
    request.attribute(XFRMA_PROTO, |request| {
        request.u8(IPPROTO_ESP);
    });
    request
}

/// The kernel's name of an AEAD for ESP.
pub(crate) const fn kernel_name(aead: Aead) -> &'static str {
    match aead {
        Aead::Aes128Gcm | Aead::Aes256Gcm => "rfc4106(gcm(aes))",
        Aead::ChaCha20Poly1305 => "rfc7539esp(chacha20,poly1305)",
    }
}

/// The kernel's number of a mode.
pub(crate) const fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Transport => XFRM_MODE_TRANSPORT,
        Mode::Tunnel => XFRM_MODE_TUNNEL,
    }
}

/// `struct xfrm_lifetime_cfg`. Seconds are since the installation, never since the first use.
pub(crate) fn lifetimes(request: &mut Request, lifetimes: &Lifetimes) {
    let Lifetimes { soft, hard } = lifetimes;
    for limit in [soft.bytes, hard.bytes, soft.packets, hard.packets] {
        request.u64(limit.unwrap_or(XFRM_INF));
    }
    request.u64(soft.seconds.unwrap_or(0)).u64(hard.seconds.unwrap_or(0)).u64(0).u64(0);
}

/// Bytes of `struct xfrm_lifetime_cfg`.
pub(crate) const LIFETIME_CONFIG_LEN: usize = 64;
/// Bytes of `struct xfrm_lifetime_cur`.
pub(crate) const LIFETIME_CURRENT_LEN: usize = 32;
/// Bytes of `struct xfrm_stats`.
const STATS_LEN: usize = 12;
/// Bytes of `struct xfrm_usersa_info`.
#[cfg(test)]
const INFO_LEN: usize = 224;
/// Bytes of an algorithm's name, zeros included.
const NAME_LEN: usize = 64;

fn named(kind: u16, id: SaId) -> Request {
    let mut request = Request::new(kind, NLM_F_ACK);
    request.address(id.destination).be32(id.spi.value()).u16(family(id.destination));
    request.u8(IPPROTO_ESP).u8(0);
    request
}

/// `struct xfrm_id` and the source address.
fn identity(request: &mut Request, id: SaId, source: IpAddr) {
    let spi: Spi = id.spi;
    request.address(id.destination).be32(spi.value()).u8(IPPROTO_ESP).zeros(3).address(source);
}

/// From `reqid` to the end of `struct xfrm_usersa_info`. Its own replay window, at most 32
/// packets, stays 0: the attribute has it.
fn tail(request: &mut Request, reqid: Reqid, outer: IpAddr, mode: u8, flags: u8) {
    request.u32(reqid.0.get()).u16(family(outer)).u8(mode).u8(0).u8(flags).zeros(7);
}

/// `struct xfrm_algo_aead`: lengths in bits, and the salt counts as part of the key.
fn aead(request: &mut Request, sa: &SaSpec) {
    let name = kernel_name(sa.keying.aead());
    let key = sa.keying.bytes().dangerous_bytes();
    request.attribute(XFRMA_ALG_AEAD, |request| {
        request.bytes(name.as_bytes()).zeros(NAME_LEN - name.len());
        request.u32(key.len() as u32 * 8).u32(Aead::ICV_LEN as u32 * 8).bytes(key);
    });
}

/// `struct xfrm_replay_state_esn`, which the kernel takes without ESN too: it alone has windows of
/// more than 32 packets.
///
/// A key that has been in use goes on after `resume_after`: outbound the number is preset, inbound
/// the window ends there with every bit set, so that whatever it covers is a replay and whatever
/// is below it is too old.
fn replay(request: &mut Request, sa: &SaSpec, directed: DirectedSas) {
    let window = match (sa.direction, directed) {
        (Direction::Inbound, _) => sa.replay_window,
        (Direction::Outbound, DirectedSas::Known) => 0,
        (Direction::Outbound, DirectedSas::Unknown) => SMALLEST_WINDOW,
    };
    let words = window.div_ceil(32);
    let (low, high) = (sa.resume_after as u32, (sa.resume_after >> 32) as u32);
    let (oseq, seq) = match sa.direction {
        Direction::Outbound => ([low, high], [0, 0]),
        Direction::Inbound => ([0, 0], [low, high]),
    };
    let seen = if seq == [0, 0] { 0 } else { u32::MAX };
    request.attribute(XFRMA_REPLAY_ESN_VAL, |request| {
        request.u32(words).u32(oseq[0]).u32(seq[0]).u32(oseq[1]).u32(seq[1]).u32(window);
        for _ in 0..words {
            request.u32(seen);
        }
    });
}

fn direction(request: &mut Request, direction: Direction, directed: DirectedSas) {
    let number = match direction {
        Direction::Inbound => XFRM_SA_DIR_IN,
        Direction::Outbound => XFRM_SA_DIR_OUT,
    };
    if directed == DirectedSas::Known {
        request.attribute(XFRMA_SA_DIR, |request| {
            request.u8(number);
        });
    }
}

const fn inbound_flag(direction: Direction) -> u8 {
    match direction {
        Direction::Inbound => XFRM_OFFLOAD_INBOUND,
        Direction::Outbound => 0,
    }
}

const fn packet_flag(depth: Depth) -> u8 {
    match depth {
        Depth::Crypto => 0,
        Depth::Packet => XFRM_OFFLOAD_PACKET,
    }
}

/// A device with packet offload takes windows of 32, 64, 128 or 256; outbound it has no meaning.
const SMALLEST_WINDOW: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    /// Length of the header and of the struct before the attributes.
    const BEFORE_ATTRIBUTES: usize = 16 + INFO_LEN;

    fn attributes_of(request: Request) -> Vec<(u16, Vec<u8>)> {
        let bytes = request.finish(1, 0);
        crate::wire::netlink::attributes(&bytes[BEFORE_ATTRIBUTES..])
            .map(|(kind, payload)| (kind, payload.to_vec()))
            .collect()
    }

    fn words(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    #[test]
    fn golden_newsa() {
        let sa = example::outbound();
        let bytes = install(&sa, Install::New, None, DirectedSas::Known).finish(3, 0);
        let mut golden = Vec::new();
        // header: 16 + 224 + aead 96 + replay 28 + direction 8
        golden.extend(words(&[372]));
        golden.extend([XFRM_MSG_NEWSA.to_ne_bytes(), 5u16.to_ne_bytes()].concat());
        golden.extend(words(&[3, 0]));
        // selector: destination, source, ports, family, prefix lengths, protocol
        golden.extend([10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([0; 8]);
        golden.extend(2u16.to_ne_bytes());
        golden.extend([16, 16, 0, 0, 0, 0]);
        golden.extend([0; 8]);
        // destination, SPI, protocol, source
        golden.extend([192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([0xc0, 0, 0, 1, 50, 0, 0, 0]);
        golden.extend([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        // soft and hard bytes, soft and hard packets, soft and hard seconds, idle seconds
        for limit in [u64::MAX, u64::MAX, 900, 1000, 77_760, 86_400, 0, 0] {
            golden.extend(limit.to_ne_bytes());
        }
        golden.extend([0; 32 + 12 + 4]);
        golden.extend(words(&[77]));
        golden.extend(2u16.to_ne_bytes());
        golden.extend([1, 0, 128, 0, 0, 0, 0, 0, 0, 0]);
        // the AEAD
        golden.extend([96u16.to_ne_bytes(), 18u16.to_ne_bytes()].concat());
        golden.extend(b"rfc4106(gcm(aes))");
        golden.extend([0; 64 - 17]);
        golden.extend(words(&[160, 128]));
        golden.extend([7; 20]);
        // the sequence numbers
        golden.extend([28u16.to_ne_bytes(), 23u16.to_ne_bytes()].concat());
        golden.extend(words(&[0, 0, 0, 0, 0, 0]));
        // the direction
        golden.extend([5u16.to_ne_bytes(), 33u16.to_ne_bytes()].concat());
        golden.extend([2, 0, 0, 0]);
        assert_eq!(*bytes, golden);
    }

    #[test]
    fn golden_allocspi() {
        let (to, from) = ([192, 0, 2, 2].into(), [192, 0, 2, 1].into());
        let request = reserve(to, from, 77, 0xc000_0001..=0xc000_0001, DirectedSas::Unknown);
        let bytes = request.finish(4, 0);
        assert_eq!(bytes.len(), 16 + 232);
        assert_eq!(bytes[16 + 56..16 + 60], [192, 0, 2, 2]);
        assert_eq!(bytes[16 + 72..16 + 80], [0, 0, 0, 0, 50, 0, 0, 0]);
        assert_eq!(bytes[16 + 80..16 + 84], [192, 0, 2, 1]);
        assert_eq!(bytes[16 + 208..16 + 212], 77u32.to_ne_bytes());
        assert_eq!(bytes[16 + 212..16 + 214], 2u16.to_ne_bytes());
        assert_eq!(bytes[16 + 214..16 + 216], [1, 0]);
        assert_eq!(bytes[16 + 224..], words(&[0xc000_0001, 0xc000_0001]));
    }

    #[test]
    fn golden_delsa_over_ipv6() {
        let id = SaId {
            destination: "2001:db8::2".parse().expect("an address"),
            spi: Spi::new(0x100).expect("free"),
        };
        let bytes = remove(id).finish(5, 0);
        let mut golden = words(&[40]);
        golden.extend([XFRM_MSG_DELSA.to_ne_bytes(), 5u16.to_ne_bytes()].concat());
        golden.extend(words(&[5, 0]));
        golden.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        golden.extend([0, 0, 1, 0]);
        golden.extend(10u16.to_ne_bytes());
        golden.extend([50, 0]);
        assert_eq!(*bytes, golden);
    }

    #[test]
    fn golden_dump_of_esp_alone() {
        let bytes = all().finish(6, 0);
        let mut golden = words(&[24]);
        golden.extend([XFRM_MSG_GETSA.to_ne_bytes(), 0x301u16.to_ne_bytes()].concat());
        golden.extend(words(&[6, 0]));
        golden.extend([5u16.to_ne_bytes(), 25u16.to_ne_bytes()].concat());
        golden.extend([50, 0, 0, 0]);
        assert_eq!(*bytes, golden);
    }

    #[test]
    fn an_inbound_sa_in_use_refuses_what_its_window_covers() {
        let sa = SaSpec { resume_after: (3 << 32) + 9, replay_window: 40, ..example::inbound() };
        let found = attributes_of(install(&sa, Install::New, None, DirectedSas::Known));
        let window = words(&[2, 0, 9, 0, 3, 40, u32::MAX, u32::MAX]);
        assert!(found.contains(&(XFRMA_REPLAY_ESN_VAL, window)));
    }

    #[test]
    fn an_outbound_sa_in_use_goes_on_after_its_number() {
        let sa = SaSpec { resume_after: (3 << 32) + 9, ..example::outbound() };
        let found = attributes_of(install(&sa, Install::New, None, DirectedSas::Known));
        assert!(found.contains(&(XFRMA_REPLAY_ESN_VAL, words(&[0, 9, 0, 3, 0, 0]))));
        let found = attributes_of(install(&sa, Install::New, None, DirectedSas::Unknown));
        assert!(found.contains(&(XFRMA_REPLAY_ESN_VAL, words(&[1, 9, 0, 3, 0, 32, 0]))));
    }

    #[test]
    fn a_device_is_asked_for_with_the_direction_and_the_depth() {
        let sa = example::inbound();
        let asked = |depth| {
            let offload = Some(Offload { index: 7, depth });
            attributes_of(install(&sa, Install::OverReservation, offload, DirectedSas::Unknown))
        };
        let with = |flags| (XFRMA_OFFLOAD_DEV, [words(&[7]), vec![flags, 0, 0, 0]].concat());
        assert!(asked(Depth::Crypto).contains(&with(2)));
        assert!(asked(Depth::Packet).contains(&with(6)));
    }

    #[test]
    fn udp_encapsulation_has_its_ports_in_network_order() {
        let ports = UdpEncapsulation { source_port: 4500, destination_port: 40_000 };
        let sa = SaSpec { encapsulation: Some(ports), ..example::inbound() };
        let found = attributes_of(install(&sa, Install::New, None, DirectedSas::Unknown));
        let mut template = 2u16.to_ne_bytes().to_vec();
        template.extend([0x11, 0x94, 0x9c, 0x40]);
        template.extend([0; 18]);
        assert!(found.contains(&(XFRMA_ENCAP, template)));
    }

    #[test]
    fn the_longest_request_fits_without_growing() {
        let sa = SaSpec {
            keying: example::keying(Aead::ChaCha20Poly1305),
            replay_window: 4096,
            ..example::inbound()
        };
        let bytes = install(&sa, Install::New, None, DirectedSas::Known).finish(1, 0);
        assert_eq!(bytes.len(), BEFORE_ATTRIBUTES + 112 + 28 + 512 + 8);
    }
}
