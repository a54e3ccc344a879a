//! Finding out what the kernel and its devices do, by asking for it: throwaway SAs between
//! addresses that nobody has (RFC 5737), under SPIs that the kernel chooses, read back and removed
//! at once. No policy leads to them, so that their key, all zeros, never seals a packet.
//!
//! A device is asked only if its driver says `esp-hw-offload`; the bit says nothing of what it can
//! do. A refusal for want of room or time is no answer: such an entry is unknown.

use std::{net::IpAddr, num::NonZeroU32, os::fd::AsFd};

use crypto_offload::{
    Aead, Answer, Capabilities, Capability, Direction, EngineError, ErrorClass, Evidence, Feature,
    KeyingMaterial, Lifetimes, Limits, Mode, Placement, Reqid, SaId, SaSpec, SecretKey, Selector,
    SequenceNumbers, Spi, UdpEncapsulation,
};

use crate::{
    engine::XfrmEngine,
    failure::Operation,
    features::{EspOffload, esp_offload},
    install::{ignored, placement_of},
    wire::{
        link::Link,
        netlink::Refusal,
        numbers::XFRMA_REPLAY_ESN_MAX,
        sa::{self, Depth, DirectedSas, Install, Offload},
        state::State,
    },
};

impl XfrmEngine {
    /// Everything anew.
    pub(crate) fn find_capabilities(&mut self) -> Result<Capabilities, EngineError> {
        let refused = |refusal| Operation::Probe.refused("the kernel's XFRM", &refusal);
        self.directed = self.find_directed().map_err(refused)?;
        let mut found = Vec::new();
        let software = Place { placement: Placement::KernelSoftware, device: None };
        self.probe_place(&software, &mut found);
        for device in self.devices().map_err(refused)? {
            self.probe_device(&device, &mut found);
        }
        Ok(Capabilities { entries: found })
    }

    /// Kernels that know directions answer with the one that they were given.
    fn find_directed(&mut self) -> Result<DirectedSas, Refusal> {
        let state = self.reserve_throwaway(V4, DirectedSas::Known)?;
        if let Some(id) = state.identity.esp() {
            self.forget(id)?;
        }
        let known = state.direction.is_some();
        Ok(if known { DirectedSas::Known } else { DirectedSas::Unknown })
    }

    fn probe_device(&mut self, device: &Link, found: &mut Vec<Capability>) {
        // A device that left meanwhile, or whose driver has no ethtool, is as good as off.
        let offload = esp_offload(self.device_features.as_fd(), &device.name);
        let on = matches!(offload, Ok(EspOffload::On));
        for placement in [Placement::InlineCrypto, Placement::InlinePacket] {
            let place = Place { placement, device: Some(device) };
            if on {
                self.probe_place(&place, found);
            } else {
                let by = format!("esp-hw-offload of {}: off", device.name);
                found.push(place.entry(Feature::Engine, Answer::No, Evidence::Declared { by }));
            }
        }
    }

    /// Every algorithm, and with the first that works every other feature.
    fn probe_place(&mut self, place: &Place<'_>, found: &mut Vec<Capability>) {
        let before = found.len();
        for aead in Aead::ALL {
            let (answer, evidence) = self.try_once(place, aead, Feature::Aead(aead));
            found.push(place.entry(Feature::Aead(aead), answer, evidence));
        }
        let algorithms = &found[before..];
        let working = algorithms.iter().find(|entry| entry.answer == Answer::Yes);
        let best =
            working.or_else(|| algorithms.iter().find(|entry| entry.answer == Answer::Unknown));
        // With none that works, the first one's refusal is as good as any.
        let (answer, evidence) = best
            .or(algorithms.first())
            .map_or((Answer::No, Evidence::Probed { errno: None, message: None }), |entry| {
                (entry.answer, entry.evidence.clone())
            });
        let with = working.map(|entry| entry.feature);
        found.insert(before, place.entry(Feature::Engine, answer, evidence));
        let Some(Feature::Aead(aead)) = with else { return };
        for feature in FEATURES {
            let (answer, evidence) = self.try_once(place, aead, feature);
            found.push(place.entry(feature, answer, evidence));
        }
    }

    fn try_once(&mut self, place: &Place<'_>, aead: Aead, feature: Feature) -> (Answer, Evidence) {
        match self.attempt(place, aead, feature) {
            Ok(effective) if effective == place.placement => {
                (Answer::Yes, Evidence::Probed { errno: None, message: None })
            }
            Ok(_) => {
                let message = Some(ignored(place.device.map(|device| device.name.as_str())));
                (Answer::No, Evidence::Probed { errno: None, message })
            }
            Err(Refusal { errno, message }) => {
                let refusal = Refusal { errno, message: message.clone() };
                let error = Operation::Probe.refused("", &refusal);
                let answer = match error.class {
                    ErrorClass::Unsupported => Answer::No,
                    _ => Answer::Unknown,
                };
                // Whoever is refused for this reason later is to know what mends it.
                let message = match (message, error.hint) {
                    (Some(words), Some(hint)) => Some(format!("{words} ({hint})")),
                    (words, hint) => words.or(hint),
                };
                (answer, Evidence::Probed { errno: Some(errno), message })
            }
        }
    }

    /// Installs, reads back, removes.
    fn attempt(
        &mut self,
        place: &Place<'_>,
        aead: Aead,
        feature: Feature,
    ) -> Result<Placement, Refusal> {
        let family = if feature == Feature::Ipv6 { V6 } else { V4 };
        let id = self.reserve_throwaway(family, self.directed)?.identity.esp();
        let id = id.ok_or(Refusal { errno: libc::EPROTO, message: None })?;
        let sa = throwaway(id, family, aead, feature);
        let put = sa.and_then(|sa| self.put(&sa, Install::OverReservation, place.offload()));
        let read = put.and_then(|()| self.read(id));
        self.forget(id)?;
        read.map(|state| placement_of(state.offload))
    }

    fn reserve_throwaway(
        &mut self,
        (source, destination): Ends,
        directed: DirectedSas,
    ) -> Result<State, Refusal> {
        let request = sa::reserve(destination, source, REQID.get(), Spi::CHOSEN, directed);
        self.sas.ask(request, State::decode)
    }
}

/// Where work is probed.
struct Place<'a> {
    placement: Placement,
    device: Option<&'a Link>,
}

impl Place<'_> {
    fn offload(&self) -> Option<Offload> {
        let depth = match self.placement {
            Placement::InlinePacket => Depth::Packet,
            Placement::InlineCrypto => Depth::Crypto,
            Placement::KernelSoftware | Placement::UserSpace => return None,
        };
        self.device.map(|device| Offload { index: device.index, depth })
    }

    fn entry(&self, feature: Feature, answer: Answer, evidence: Evidence) -> Capability {
        let device = self.device.map(|device| device.name.clone());
        Capability { placement: self.placement, device, feature, answer, evidence }
    }
}

/// The plainest SA with one feature more.
fn throwaway(id: SaId, ends: Ends, aead: Aead, feature: Feature) -> Result<SaSpec, Refusal> {
    let key = SecretKey::copy_from(&vec![0; aead.key_len() + Aead::SALT_LEN]);
    let invalid = || Refusal { errno: libc::EINVAL, message: None };
    let keying = KeyingMaterial::new(aead, key).map_err(|_| invalid())?;
    let packets = (feature == Feature::CountedLimits).then_some(1 << 20);
    let hard =
        Limits { packets: packets.map(|soft| soft * 2), seconds: Some(SECONDS), bytes: None };
    Ok(SaSpec {
        id,
        source: ends.0,
        direction: Direction::Inbound,
        mode: match feature {
            Feature::Mode(mode) => mode,
            _ => Mode::Tunnel,
        },
        keying,
        sequence_numbers: match feature {
            Feature::Esn => SequenceNumbers::Extended,
            _ => SequenceNumbers::Short,
        },
        replay_window: match feature {
            Feature::ReplayWindow(packets) => packets,
            _ => 64,
        },
        lifetimes: Lifetimes { soft: Limits { packets, ..Limits::default() }, hard },
        encapsulation: (feature == Feature::UdpEncapsulation)
            .then_some(UdpEncapsulation { source_port: 4500, destination_port: 4500 }),
        reqid: Reqid(REQID),
        selector: Selector {
            source: ends.0.into(),
            destination: ends.1.into(),
            protocol: None,
            source_port: None,
            destination_port: None,
        },
        device: None,
        resume_after: 0,
    })
}

/// Source and destination.
type Ends = (IpAddr, IpAddr);

const V4: Ends = (
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
);
/// Documentation addresses of IPv6 (RFC 3849).
const V6: Ends = (
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
);

const FEATURES: [Feature; 7] = [
    Feature::Mode(Mode::Tunnel),
    Feature::Mode(Mode::Transport),
    Feature::Ipv6,
    Feature::UdpEncapsulation,
    Feature::Esn,
    Feature::ReplayWindow(XFRMA_REPLAY_ESN_MAX),
    Feature::CountedLimits,
];

/// Packet offload refuses 0.
const REQID: NonZeroU32 = NonZeroU32::MAX;
/// What a crash in between leaves behind ends by itself.
const SECONDS: u64 = 10;
