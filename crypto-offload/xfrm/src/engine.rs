//! The engine: the sockets of one network namespace, and the trait over them.
//!
//! Every call is one exchange with the kernel, or a few; none is undone by dropping the engine:
//! SAs and policies outlive it, but for the reception of ESP in UDP, which lasts as long as the
//! socket that does it.

use std::{
    fs::File,
    io::{self, Read, Seek},
    net::{IpAddr, UdpSocket},
    os::fd::BorrowedFd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crypto_offload::{
    Capabilities, Direction, Effective, EngineError, EngineEvent, ErrorClass, InstalledPolicy,
    InstalledSa, IpsecEngine, Placement, PolicyDirection, PolicySpec, Reqid, SaId, SaSpec, SaUsage,
    Selector, UdpEncapsulation,
};

use crate::{
    encapsulation::Encapsulation,
    events::Events,
    failure::Operation,
    install::placement_of,
    socket::{Family, Requester},
    wire::{
        link::{self, Link},
        netlink::Refusal,
        sa::{self, DirectedSas},
        state::{Algorithm, State},
    },
};

/// The kernel's IPsec in one network namespace.
#[derive(Debug)]
pub struct XfrmEngine {
    pub(crate) sas: Requester,
    pub(crate) links: Requester,
    pub(crate) encapsulation: Encapsulation,
    pub(crate) directed: DirectedSas,
    /// Any socket of the namespace: what ethtool's ioctl asks.
    pub(crate) device_features: UdpSocket,
    events: Events,
    /// Open from the beginning: the path leads to the namespace of whoever follows it.
    statistics: Option<File>,
    capabilities: Capabilities,
}

impl XfrmEngine {
    /// In the network namespace of the calling thread, for good; and probes it.
    ///
    /// # Errors
    /// Without XFRM in the kernel ([`ErrorClass::Unsupported`]), or without CAP_NET_ADMIN
    /// ([`ErrorClass::Fatal`]). A kernel without ESP is no error: its capabilities say so.
    pub fn open() -> Result<Self, EngineError> {
        let failed = |error: io::Error| {
            Operation::Open.refused("the kernel's XFRM", &Refusal::of_call(&error))
        };
        let sas = Requester::open(Family::Xfrm).map_err(failed)?;
        let mut links = Requester::open(Family::Route).map_err(failed)?;
        let events = Events::open(sas.port(), &mut links)?;
        let mut engine = Self {
            sas,
            links,
            encapsulation: Encapsulation::default(),
            directed: DirectedSas::Unknown,
            device_features: UdpSocket::bind("0.0.0.0:0").map_err(failed)?,
            events,
            statistics: File::open("/proc/thread-self/net/xfrm_stat").ok(),
            capabilities: Capabilities::default(),
        };
        engine.probe()?;
        Ok(engine)
    }

    pub(crate) fn read(&mut self, id: SaId) -> Result<State, Refusal> {
        self.sas.ask(sa::read(id), State::decode)
    }

    /// Removing what is gone already is a success.
    pub(crate) fn forget(&mut self, id: SaId) -> Result<(), Refusal> {
        match self.sas.tell(sa::remove(id)) {
            Err(refusal) if refusal.errno == libc::ESRCH => Ok(()),
            outcome => outcome,
        }
    }

    pub(crate) fn devices(&mut self) -> Result<Vec<Link>, Refusal> {
        self.links.dump(link::all, Link::decode)
    }
}

impl IpsecEngine for XfrmEngine {
    fn name(&self) -> &'static str {
        "xfrm"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn probe(&mut self) -> Result<(), EngineError> {
        self.capabilities = self.find_capabilities()?;
        Ok(())
    }

    fn reserve(&mut self, id: SaId, source: IpAddr, reqid: Reqid) -> Result<(), EngineError> {
        let spi = id.spi.value();
        let request = sa::reserve(id.destination, source, reqid.0.get(), spi..=spi, self.directed);
        let failed = |refusal| Operation::Reserve.refused(id, &refusal);
        let state = self.sas.ask(request, State::decode).map_err(failed)?;
        if state.identity.esp() == Some(id) {
            return Ok(());
        }
        let reason = "the kernel reserved another SPI than the one asked for";
        Err(Operation::Reserve.impossible(id, ErrorClass::Conflict, reason, None))
    }

    fn install(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError> {
        self.install_and_read_back(sa, placement)
    }

    fn adopt(
        &mut self,
        id: SaId,
        direction: Direction,
        encapsulation: Option<UdpEncapsulation>,
    ) -> Result<(), EngineError> {
        match (direction, encapsulation) {
            (Direction::Inbound, Some(ports)) => {
                self.encapsulation.receive(id, ports.destination_port)
            }
            _ => Ok(()),
        }
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        self.forget(id).map_err(|refusal| Operation::Remove.refused(id, &refusal))?;
        self.encapsulation.release(id);
        Ok(())
    }

    fn set_policy(&mut self, policy: &PolicySpec, placement: Placement) -> Result<(), EngineError> {
        self.set_own_policy(policy, placement)
    }

    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        self.remove_own_policy(direction, selector)
    }

    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError> {
        let failed = |refusal| Operation::List.refused("SAs", &refusal);
        let states = self.sas.dump(sa::all, State::decode).map_err(failed)?;
        let inline = states.iter().any(|state| state.offload.is_some());
        let devices = if inline { self.devices().map_err(failed)? } else { Vec::new() };
        let now = since_1970();
        Ok(states.into_iter().filter_map(|state| installed(state, &devices, now)).collect())
    }

    fn policies(&mut self) -> Result<Vec<InstalledPolicy>, EngineError> {
        self.all_policies()
    }

    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError> {
        let state = self.read(id).map_err(|refusal| Operation::Read.refused(id, &refusal))?;
        Ok(usage(&state, since_1970()))
    }

    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        self.events.drain(&mut self.links)
    }

    fn event_source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.events.source())
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError> {
        let object = "/proc/net/xfrm_stat";
        let Some(file) = &mut self.statistics else {
            let reason = "the kernel was built without CONFIG_XFRM_STATISTICS";
            let class = ErrorClass::Unsupported;
            return Err(Operation::Read.impossible(object, class, reason, None));
        };
        let mut text = String::new();
        file.rewind()
            .and_then(|()| file.read_to_string(&mut text))
            .map_err(|error| Operation::Read.refused(object, &Refusal::of_call(&error)))?;
        Ok(counters(&text))
    }
}

/// `None` for SAs that are not ESP, or have no SPI: those that the kernel makes for traffic that
/// waits for an SA have 0.
fn installed(state: State, devices: &[Link], now: Duration) -> Option<InstalledSa> {
    let named = |index| devices.iter().find(|device| device.index == index);
    let usage = usage(&state, now);
    let (aead, fingerprint, algorithm) = match state.algorithm {
        Algorithm::Larval => (None, None, "none: a reserved SPI".to_owned()),
        Algorithm::Known(aead, key) => (Some(aead), key, sa::kernel_name(aead).to_owned()),
        Algorithm::Other(name) => (None, None, name),
    };
    Some(InstalledSa {
        id: state.identity.esp()?,
        source: state.source,
        reqid: state.reqid,
        placement: placement_of(state.offload),
        device: state.offload.map(|offload| {
            named(offload.index).map_or_else(|| format!("#{}", offload.index), |at| at.name.clone())
        }),
        aead,
        fingerprint,
        algorithm,
        usage,
    })
}

/// The kernel keeps times of the wall clock, and a clock that was set back must not make an SA
/// younger than new.
fn usage(state: &State, now: Duration) -> SaUsage {
    let since = |seconds| now.saturating_sub(Duration::from_secs(seconds));
    SaUsage {
        packets: state.packets,
        bytes: state.bytes,
        sequence: state.sequence,
        replayed: state.replayed.into(),
        late: state.late.into(),
        forged: state.forged.into(),
        age: since(state.added),
        in_use: (state.first_used != 0).then(|| since(state.first_used)),
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A name and a number each line.
fn counters(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(char::is_whitespace)?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        example,
        wire::sa::{Depth, Install, Offload},
    };

    fn state(offload: Option<Offload>) -> State {
        let request = sa::install(&example::outbound(), Install::New, offload, DirectedSas::Known);
        State::decode(&request.finish(1, 0)[16..]).expect("an SA")
    }

    #[test]
    fn an_sa_is_listed_with_its_device_by_name() {
        let offload = Some(Offload { index: 7, depth: Depth::Crypto });
        let eth0 = Link { index: 7, name: "eth0".to_owned(), up: true };
        let listed = installed(state(offload), &[eth0], Duration::ZERO).expect("ESP");
        assert_eq!(listed.device.as_deref(), Some("eth0"));
        assert_eq!(listed.placement, Placement::InlineCrypto);
        assert_eq!(listed.fingerprint, Some(example::outbound().keying.fingerprint()));
    }

    #[test]
    fn a_device_that_left_is_listed_by_number() {
        let offload = Some(Offload { index: 7, depth: Depth::Packet });
        let listed = installed(state(offload), &[], Duration::ZERO).expect("ESP");
        assert_eq!(listed.device.as_deref(), Some("#7"));
        assert_eq!(listed.placement, Placement::InlinePacket);
    }

    #[test]
    fn a_clock_set_back_makes_no_negative_age() {
        let state = State { added: 1000, first_used: 1001, ..state(None) };
        let usage = usage(&state, Duration::from_secs(999));
        assert_eq!((usage.age, usage.in_use), (Duration::ZERO, Some(Duration::ZERO)));
    }

    #[test]
    fn statistics_are_names_and_numbers() {
        let text = "XfrmInError             \t0\nXfrmOutNoStates         \t17\nnonsense\n";
        let expected = [("XfrmInError".to_owned(), 0), ("XfrmOutNoStates".to_owned(), 17)];
        assert_eq!(counters(text), expected);
    }
}
