//! Installing one SA: a transaction that ends with reading back what came of it.
//!
//! 1. look at what has the name already: a reservation is taken over, an SA is a conflict;
//! 2. receive at its UDP port, where it has one;
//! 3. ask the kernel (a reservation that ended meanwhile: ask for a new SA);
//! 4. read it back, and believe that;
//! 5. whatever fails: remove the SA or what is left of its reservation.

use crypto_offload::{Direction, Effective, EngineError, ErrorClass, Placement, SaSpec};

use crate::{
    engine::XfrmEngine,
    failure::Operation,
    wire::{
        link::{self, Link},
        netlink::Refusal,
        numbers::XFRMA_REPLAY_ESN_MAX,
        sa::{self, Depth, Install, Offload},
        state::{Algorithm, State},
    },
};

impl XfrmEngine {
    pub(crate) fn install_and_read_back(
        &mut self,
        sa: &SaSpec,
        placement: Placement,
    ) -> Result<Effective, EngineError> {
        let operation = Operation::Install(placement);
        check(sa, operation)?;
        let how = self.room_for(sa, operation)?;
        let outcome = self.offload(sa, placement).and_then(|offload| {
            self.receive(sa)?;
            self.put(sa, how, offload).map_err(|refusal| operation.refused(sa.id, &refusal))?;
            self.verify(sa, placement)
        });
        if outcome.is_err() {
            // The error that is told is the first one; an SA that cannot even be removed is seen
            // by the next comparison with the kernel's list.
            let _ = self.forget(sa.id);
            self.encapsulation.release(sa.id);
        }
        outcome
    }

    /// Step 3, alone.
    pub(crate) fn put(
        &mut self,
        sa: &SaSpec,
        how: Install,
        offload: Option<Offload>,
    ) -> Result<(), Refusal> {
        let outcome = self.sas.tell(sa::install(sa, how, offload, self.directed));
        let ended = matches!(&outcome, Err(refusal) if refusal.errno == libc::ESRCH);
        if ended && how == Install::OverReservation {
            return self.sas.tell(sa::install(sa, Install::New, offload, self.directed));
        }
        outcome
    }

    /// Step 1.
    fn room_for(&mut self, sa: &SaSpec, operation: Operation) -> Result<Install, EngineError> {
        let taken = |what: String| {
            let class = ErrorClass::Conflict;
            Err(operation.impossible(sa.id, class, what, Some("choose another SPI")))
        };
        match self.read(sa.id) {
            Err(refusal) if refusal.errno == libc::ESRCH => Ok(Install::New),
            Err(refusal) => Err(operation.refused(sa.id, &refusal)),
            Ok(State { algorithm: Algorithm::Larval, reqid, .. }) if reqid == sa.reqid.0.get() => {
                Ok(Install::OverReservation)
            }
            Ok(State { algorithm: Algorithm::Larval, reqid, .. }) => {
                taken(format!("the SPI is reserved under reqid {reqid}"))
            }
            Ok(state) => taken(format!("there is an SA of that name, of reqid {}", state.reqid)),
        }
    }

    /// Step 2.
    fn receive(&mut self, sa: &SaSpec) -> Result<(), EngineError> {
        match sa.encapsulation {
            Some(ports) if sa.direction == Direction::Inbound => {
                self.encapsulation.receive(sa.id, ports.destination_port)
            }
            _ => Ok(()),
        }
    }

    fn offload(
        &mut self,
        sa: &SaSpec,
        placement: Placement,
    ) -> Result<Option<Offload>, EngineError> {
        let depth = match placement {
            Placement::InlinePacket => Depth::Packet,
            Placement::InlineCrypto => Depth::Crypto,
            Placement::KernelSoftware => return Ok(None),
            Placement::UserSpace => {
                let (class, reason) = (ErrorClass::Unsupported, "the kernel is not user space");
                return Err(Operation::Install(placement).impossible(sa.id, class, reason, None));
            }
        };
        let Some(device) = &sa.device else {
            let (class, reason) = (ErrorClass::Unsupported, "an inline placement needs a device");
            let hint = Some("name the SA's device");
            return Err(Operation::Install(placement).impossible(sa.id, class, reason, hint));
        };
        let index = self.device_index(device)?;
        Ok(Some(Offload { index, depth }))
    }

    /// The kernel itself would take an unknown index for "whatever the route says".
    pub(crate) fn device_index(&mut self, device: &str) -> Result<u32, EngineError> {
        let found = self.links.ask(link::named(device), Link::decode);
        let failed = |refusal| Operation::FindDevice.refused(device, &refusal);
        found.map(|link| link.index).map_err(failed)
    }

    /// Step 4.
    fn verify(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError> {
        let operation = Operation::Install(placement);
        let state = self.read(sa.id).map_err(|refusal| operation.refused(sa.id, &refusal))?;
        let same = match state.algorithm {
            Algorithm::Known(aead, None) => aead == sa.keying.aead(),
            Algorithm::Known(_, Some(key)) => key == sa.keying.fingerprint(),
            Algorithm::Larval | Algorithm::Other(_) => false,
        };
        if !same {
            let reason = "reading it back gives another key: another program took the SPI";
            return Err(operation.impossible(sa.id, ErrorClass::Conflict, reason, None));
        }
        let effective = placement_of(state.offload);
        let reason = (effective != placement).then(|| ignored(sa.device.as_deref()));
        Ok(Effective { requested: placement, effective, reason })
    }
}

/// Where the attribute that is read back puts an SA.
pub(crate) fn placement_of(offload: Option<Offload>) -> Placement {
    match offload.map(|offload| offload.depth) {
        None => Placement::KernelSoftware,
        Some(Depth::Crypto) => Placement::InlineCrypto,
        Some(Depth::Packet) => Placement::InlinePacket,
    }
}

/// Why an SA is not where it was asked for, though nobody refused it.
pub(crate) fn ignored(device: Option<&str>) -> String {
    let device = device.unwrap_or("the device");
    format!("the kernel accepted the request and ignored it (no driver support on {device})")
}

/// What no kernel takes, said in our words rather than its EINVAL.
fn check(sa: &SaSpec, operation: Operation) -> Result<(), EngineError> {
    let refuse =
        |reason: String| Err(operation.impossible(sa.id, ErrorClass::Unsupported, reason, None));
    if sa.source.is_ipv4() != sa.id.destination.is_ipv4() {
        return refuse(format!("{} and its source {} differ in family", sa.id, sa.source));
    }
    let window = sa.replay_window;
    if sa.direction == Direction::Inbound && !(1..=XFRMA_REPLAY_ESN_MAX).contains(&window) {
        let most = XFRMA_REPLAY_ESN_MAX;
        return refuse(format!("a replay window of {window} packets is not between 1 and {most}"));
    }
    Ok(())
}
