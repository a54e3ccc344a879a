//! One leg: the ICE agent and the DTLS association of a stream, sans-IO. Datagrams, plans and the
//! time come in, [`Effect`]s and the next deadline go out; sockets and places are the thread's.
//!
//! 1. The plan comes, then the sockets' addresses: ICE begins.
//! 2. A valid pair, or without ICE the signalled address: the leg has a way. A client's handshake
//!    may begin; a server's begins with a ClientHello. Who has a way was checked by ICE, or
//!    signalled: nobody else is ever sent a handshake, and the worker lets nobody else's in.
//! 3. Secured: the keys go to the worker. A new epoch of the plan begins at 2 again, a restart of
//!    ICE at 1, beside what there is.
//! 4. The end: the party is told, and everything is given back.

use std::net::SocketAddr;
use std::time::Instant;

use webrtc::dtls::DtlsSettings;
use webrtc::ice::Seed;
use webrtc::identity::Identity;

use super::checks::{Checks, Locals};
use super::effect::Effect;
use super::keying::{Cost, Keying, KeyingState};
use super::plan::{CertificateSerial, DtlsPlan, Epoch, LegNewsKind, LegPlan};
use crate::relay::command::{CallKey, StreamIndex};
use crate::relay::uplink::{AgentPacket, Component};

/// A leg's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LegKey {
    call: u64,
    stream: u16,
}

impl LegKey {
    pub(super) fn new(call: CallKey, stream: StreamIndex) -> Self {
        Self { call: call.0, stream: stream.0 }
    }

    /// Every leg of a call.
    pub(super) fn all_of(call: CallKey) -> std::ops::RangeInclusive<Self> {
        Self::new(call, StreamIndex(0))..=Self::new(call, StreamIndex(u16::MAX))
    }

    pub(super) fn call(self) -> CallKey {
        CallKey(self.call)
    }

    pub(super) fn stream(self) -> StreamIndex {
        StreamIndex(self.stream)
    }
}

/// A datagram that came up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'a> {
    pub(super) component: Component,
    /// The address of ours that it came to.
    pub(super) local: SocketAddr,
    pub(super) source: SocketAddr,
    pub(super) bytes: &'a [u8],
}

impl<'a> From<&'a AgentPacket> for Datagram<'a> {
    fn from(packet: &'a AgentPacket) -> Self {
        let AgentPacket { component, local, source, .. } = *packet;
        Self { component, local, source, bytes: packet.bytes() }
    }
}

/// See the module's documentation.
pub(super) struct Leg {
    plan: LegPlan,
    locals: Locals,
    checks: Option<Checks>,
    keying: Option<Keying>,
    /// Without ICE: where the party's last DTLS datagram came from. The worker has looked at that.
    /// Until signalling says that the party is elsewhere.
    heard: Option<SocketAddr>,
}

/// Where a leg's ICE stands, as metrics tell it.
pub(super) type IceState = webrtc::ice::State;

impl Leg {
    /// A leg whose sockets are still to come.
    pub(super) fn new(mut plan: LegPlan) -> Self {
        let keying = plan.dtls.take().map(Keying::new);
        Self { plan, locals: [None; 2], checks: None, keying, heard: None }
    }

    /// The worker has the leg's plan, `next` where that is another one than the last, and lent the
    /// stream's sockets, which are bound there. What the plan wants begins; ICE anew where the
    /// sockets are others than before.
    pub(super) fn lent(
        &mut self,
        next: Option<LegPlan>,
        locals: Locals,
        seed: Seed,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        if let Some(plan) = next {
            self.adopt(plan, now, out);
        }
        if self.locals[0] != locals[0] {
            self.checks = None;
        }
        self.locals = locals;
        if self.checks.is_none() {
            self.start_checks(seed, now, out);
        }
        self.drain(now, out);
    }

    /// The leg as it should be from now on, on the same footing.
    pub(super) fn update(&mut self, plan: LegPlan, now: Instant, out: &mut Vec<Effect>) {
        self.adopt(plan, now, out);
        self.drain(now, out);
    }

    /// A STUN message from anywhere.
    pub(super) fn stun(&mut self, packet: Datagram<'_>, now: Instant, out: &mut Vec<Effect>) {
        let Some(checks) = &mut self.checks else { return };
        // Why not is the agent's counter's to tell.
        let _ = checks.receive(packet, now);
        self.drain(now, out);
    }

    /// What it would cost to take this datagram.
    pub(super) fn cost(&self, packet: Datagram<'_>) -> Cost {
        match (&self.keying, packet.component) {
            // Its media may come already, but our flight would have nowhere to go, and would be
            // late for it; the party's comes again.
            _ if self.plan.ice.is_some() && self.way().is_none() => Cost::Useless,
            (Some(keying), Component::Rtp) => keying.cost(packet.bytes),
            // One association keys RTP and RTCP, which are one flow with rtcp-mux.
            _ => Cost::Useless,
        }
    }

    /// A DTLS datagram from an address that the worker knows.
    pub(super) fn dtls(&mut self, packet: Datagram<'_>, now: Instant, out: &mut Vec<Effect>) {
        let Some(keying) = &mut self.keying else { return };
        if self.plan.ice.is_none() {
            self.heard = Some(packet.source);
        }
        keying.receive(packet.bytes, now);
        self.drain(now, out);
    }

    /// A client that could begin now.
    pub(super) fn is_client_to_begin(&self) -> bool {
        self.keying.as_ref().is_some_and(Keying::is_client_to_begin) && self.way().is_some()
    }

    /// Which association it is to have.
    #[cfg(test)]
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.dtls_plan().map(|plan| plan.epoch)
    }

    /// The certificate that its next handshake shows.
    pub(super) fn certificate(&self) -> Option<CertificateSerial> {
        self.dtls_plan().map(|plan| plan.certificate)
    }

    /// Begins the handshake.
    pub(super) fn begin(
        &mut self,
        identity: &Identity,
        settings: &DtlsSettings,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        if let Some(keying) = &mut self.keying {
            keying.begin(identity, settings, now, out);
            if self.checks.is_some() {
                keying.address_proven();
            }
        }
        self.drain(now, out);
    }

    /// The party has answered, and the caller has a place for the handshake; it is given back by
    /// [`Effect::PlaceFree`] or with [`Effect::Handshake`].
    pub(super) fn take_place(&mut self, now: Instant) {
        if let Some(keying) = &mut self.keying {
            keying.take_place(now);
        }
    }

    /// The handshake cannot begin.
    pub(super) fn refuse_handshake(&mut self, reason: &str, now: Instant, out: &mut Vec<Effect>) {
        if let Some(keying) = &mut self.keying {
            keying.refuse(reason, now, out);
        }
    }

    /// A signature that was asked for.
    pub(super) fn signed(
        &mut self,
        epoch: Epoch,
        signature: Option<Vec<u8>>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        if let Some(keying) = &mut self.keying {
            keying.signed(epoch, signature, now);
        }
        self.drain(now, out);
    }

    /// Its deadline has come.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if let Some(checks) = self.checks.as_mut().filter(|checks| due(checks.deadline())) {
            checks.handle_timeout(now);
        }
        if let Some(keying) = self.keying.as_mut().filter(|keying| due(keying.deadline())) {
            keying.handle_timeout(now, out);
        }
        self.drain(now, out);
    }

    /// When it wants to be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let checks = self.checks.as_ref().and_then(Checks::deadline);
        let keying = self.keying.as_ref().and_then(Keying::deadline);
        checks.into_iter().chain(keying).min()
    }

    /// Ends it.
    pub(super) fn close(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let way = self.way();
        if let Some(mut keying) = self.keying.take() {
            keying.close(now, way, out);
        }
        self.checks = None;
    }

    pub(super) fn ice_state(&self) -> Option<IceState> {
        self.checks.as_ref().map(Checks::state)
    }

    pub(super) fn keying_state(&self) -> Option<KeyingState> {
        self.keying.as_ref().map(Keying::state)
    }

    pub(super) fn ice_counters(&self) -> Option<&webrtc::ice::Counters> {
        self.checks.as_ref().map(Checks::counters)
    }

    fn dtls_plan(&self) -> Option<&DtlsPlan> {
        self.keying.as_ref().map(Keying::plan)
    }

    fn update_keying(&mut self, plan: Option<DtlsPlan>, now: Instant, out: &mut Vec<Effect>) {
        let way = self.way();
        match (plan, &mut self.keying) {
            (Some(plan), Some(keying)) => keying.update(plan, now, out),
            (Some(plan), none) => *none = Some(Keying::new(plan)),
            (None, some) => {
                if let Some(mut keying) = some.take() {
                    keying.close(now, way, out);
                }
            }
        }
    }

    fn adopt(&mut self, mut plan: LegPlan, now: Instant, out: &mut Vec<Effect>) {
        self.update_keying(plan.dtls.take(), now, out);
        if plan.signalled != self.plan.signalled || plan.ice.is_some() != self.plan.ice.is_some() {
            self.heard = None;
        }
        let generation = |plan: &LegPlan| plan.ice.as_ref().map(|ice| ice.generation);
        if generation(&plan) != generation(&self.plan) {
            self.checks = None;
        }
        let (ice, muxed) = (plan.ice.clone(), plan.rtcp_mux);
        self.plan = plan;
        // Where there is none yet, it begins with the sockets.
        if let Some((ice, checks)) = ice.zip(self.checks.as_mut())
            && let Err(error) = checks.update(ice, muxed, now)
        {
            refuse_ice(error, out);
        }
    }

    fn start_checks(&mut self, seed: Seed, now: Instant, out: &mut Vec<Effect>) {
        let Some(ice) = self.plan.ice.clone() else { return };
        match Checks::new(ice, self.locals, self.plan.rtcp_mux, seed, now) {
            Ok(checks) => self.checks = Some(checks),
            Err(error) => refuse_ice(error, out),
        }
    }

    /// Where the party can be spoken to: ICE says so, or signalling. Not without sockets.
    fn way(&self) -> Option<SocketAddr> {
        self.locals[0]?;
        match (&self.plan.ice, &self.checks) {
            (None, _) => self.heard.or(self.plan.signalled[0]),
            (Some(_), checks) => checks.as_ref()?.destination(),
        }
    }

    fn drain(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if let Some(checks) = &mut self.checks {
            checks.drain(out);
        }
        let way = self.way();
        if let Some(keying) = &mut self.keying {
            keying.drain(now, way, out);
        }
    }
}

fn refuse_ice(error: webrtc::ice::AgentError, out: &mut Vec<Effect>) {
    let reason = match error {
        webrtc::ice::AgentError::ReusedCredentials => "ICE: credentials that were used before",
        _ => "ICE: the party's credentials are malformed",
    };
    out.push(Effect::News(LegNewsKind::Disconnected { reason }));
}

#[cfg(test)]
mod tests;
