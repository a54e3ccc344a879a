//! What a plan does to one stream: its sockets, keys, addresses and directions.
//!
//! Runs between batches. `Keep` and `None` leave state alone, so a plan may be applied again
//! without harm: indexes, replay windows and learned addresses survive.

use std::io;
use std::net::UdpSocket;

use packet_io::Driver;
use srtp::{Mki, Unsuitable};

use super::bundle::Routes;
use super::command::{KeyOwner, PortPair, Remote, Route, StreamIndex, StreamPlan};
use super::demultiplex::{Carriage, Component};
use super::key_plan::{ReceivePlan, SendPlan, SrtpKeys, Terms};
use super::keys::{Inbound, Opener, Outbound, Sealer};
use super::learning::{Elsewhere, Endpoint};
use super::limits::Notice;
use super::stream::{Flow, Slot, Stream, Towards};

impl Stream {
    /// Makes the stream at `slot`, one of its call's `slots`, be what the plan says. A refused socket
    /// leaves the rest applied.
    pub(super) fn apply(
        &mut self,
        slot: Slot,
        slots: &[Slot],
        mut plan: StreamPlan,
        replay_window: usize,
        driver: &mut impl Driver,
    ) -> io::Result<()> {
        if plan.closed {
            self.close_sockets(slot, driver);
            self.towards = Towards::Nobody;
            self.set_tap(None);
            return Ok(());
        }
        self.set_towards(plan.peer, std::mem::take(&mut plan.routes), slots);
        self.carriage = if plan.rtcp_mux { Carriage::Muxed } else { Carriage::Separate };
        self.receive = if plan.receive { Flow::On } else { Flow::Off };
        self.send = if plan.send { Flow::On } else { Flow::Off };
        self.set_tap(plan.agent);
        self.set_endpoints(&plan);
        self.set_keys(plan.receive_key, plan.send_key, replay_window);
        let opened = match plan.sockets {
            Some(pair) => self.open_sockets(slot, pair, driver),
            None => Ok(()),
        };
        if let Some(tos) = plan.tos {
            self.set_tos(slot, tos, driver);
        }
        opened
    }

    fn set_towards(&mut self, peer: Option<StreamIndex>, routes: Vec<Route>, slots: &[Slot]) {
        let before = self.cold.routes.take();
        let peer = peer.and_then(|peer| slots.get(usize::from(peer.0)).copied());
        self.towards = match peer {
            _ if !routes.is_empty() => Towards::Sections,
            Some(peer) => Towards::Peer(peer),
            None => Towards::Nobody,
        };
        // A plan that sets all sections aside does not make them unknown.
        if !routes.is_empty() || before.is_some() {
            self.cold.routes = Some(Routes::new(routes, slots, before));
        }
    }

    /// Closes what sockets it has; late packets find nobody.
    pub(super) fn close_sockets(&mut self, slot: Slot, driver: &mut impl Driver) {
        for component in [Component::Rtp, Component::Rtcp] {
            if self.cold.local[component as usize].take().is_some() {
                driver.remove(slot.token(component));
            }
        }
    }

    fn set_endpoints(&mut self, plan: &StreamPlan) {
        let ice_rules = self.ice_rules();
        let elsewhere = if plan.strict_source { Elsewhere::Refused } else { Elsewhere::Relayed };
        for (component, learner) in self.cold.learners.iter_mut().enumerate() {
            learner.policy(plan.learning, elsewhere);
            if let Some(Remote { rtp, rtcp }) = plan.remote {
                // What is signalled counts again once ICE is gone.
                let mut unused = Endpoint::default();
                let endpoint = if ice_rules { &mut unused } else { &mut self.endpoints[component] };
                learner.signal(endpoint, [rtp, rtcp][component]);
            }
        }
    }

    pub(super) fn set_keys(&mut self, receive: ReceivePlan, send: SendPlan, replay_window: usize) {
        self.set_receive_keys(receive, replay_window);
        match send {
            SendPlan::Keep => {}
            SendPlan::Clear => self.outbound = Outbound::Clear,
            SendPlan::Await => {
                if matches!(self.outbound, Outbound::Clear) {
                    self.outbound = Outbound::Unset;
                }
            }
            SendPlan::Set(keys, terms) => {
                let before = std::mem::replace(&mut self.outbound, Outbound::Unset);
                match Sealer::new(&keys, terms, replay_window, before) {
                    Ok(sealer) => self.outbound = Outbound::Srtp(sealer),
                    Err(error) => self.refuse_key(KeyOwner::Ours, error),
                }
                self.cold.limits[KeyOwner::Ours as usize] = Notice::Below;
            }
        }
    }

    /// Goes on under these keys once the party has them.
    pub(super) fn prepare_keys(&mut self, keys: &SrtpKeys, terms: Terms, replay_window: usize) {
        let Outbound::Srtp(sealer) = &mut self.outbound else { return };
        if let Err(error) = sealer.prepare(keys, terms, replay_window) {
            self.outbound = Outbound::Unset;
            self.refuse_key(KeyOwner::Ours, error);
        }
    }

    /// Protects under another of the keys that the party was given. Without any, which its refusal
    /// has told, there is nothing to switch.
    pub(super) fn switch_key(&mut self, mki: &Mki) {
        let Outbound::Srtp(sealer) = &mut self.outbound else { return };
        match sealer.switch_to(mki) {
            // What was met of the limits was the other key's.
            Ok(()) => self.cold.limits[KeyOwner::Ours as usize] = Notice::Below,
            Err(error) => {
                let (call, stream) = (self.cold.call.0, self.cold.index.0);
                tracing::error!(call, stream, %error, "no key of this MKI to switch to");
            }
        }
    }

    fn set_receive_keys(&mut self, plan: ReceivePlan, replay_window: usize) {
        let outcome = match plan {
            ReceivePlan::Keep => return,
            ReceivePlan::Clear => {
                self.inbound = Inbound::Clear;
                return;
            }
            ReceivePlan::Await => {
                if matches!(self.inbound, Inbound::Clear) {
                    self.inbound = Inbound::Unset;
                    self.forget_what_nobody_proved();
                }
                return;
            }
            ReceivePlan::Set(keys, terms) => {
                self.cold.limits[KeyOwner::Party as usize] = Notice::Below;
                let before = std::mem::replace(&mut self.inbound, Inbound::Unset);
                Opener::new(&keys, terms, replay_window, before)
                    .map(|opener| self.inbound = Inbound::Srtp(opener))
            }
            ReceivePlan::Change(change) => match &mut self.inbound {
                Inbound::Srtp(opener) => opener.change(*change),
                // Its set was refused: these keys alone are not the whole of them.
                Inbound::Unset | Inbound::Clear => Ok(()),
            },
        };
        if let Err(error) = outcome {
            self.refuse_key(KeyOwner::Party, error);
        }
    }

    /// What was learned in the clear is not where SRTP and DTLS go.
    fn forget_what_nobody_proved(&mut self) {
        if self.ice_rules() {
            return;
        }
        for (learner, endpoint) in self.cold.learners.iter_mut().zip(&mut self.endpoints) {
            learner.begin_again(endpoint);
        }
    }

    /// What signalling hands on was checked when it was parsed, so this is a mistake of ours. The
    /// direction is without the key, and what would need it is dropped.
    fn refuse_key(&self, owner: KeyOwner, error: Unsuitable) {
        let (call, stream) = (self.cold.call.0, self.cold.index.0);
        tracing::error!(call, stream, ?owner, %error, "an SRTP key was refused");
    }

    fn open_sockets(
        &mut self,
        slot: Slot,
        pair: PortPair,
        driver: &mut impl Driver,
    ) -> io::Result<()> {
        self.close_sockets(slot, driver);
        self.open_socket(slot, Component::Rtp, pair.rtp, driver)?;
        match pair.rtcp {
            Some(rtcp) => self.open_socket(slot, Component::Rtcp, rtcp, driver),
            None => Ok(()),
        }
    }

    fn open_socket(
        &mut self,
        slot: Slot,
        component: Component,
        socket: UdpSocket,
        driver: &mut impl Driver,
    ) -> io::Result<()> {
        let local = socket.local_addr()?;
        driver.add(slot.token(component), socket)?;
        self.cold.local[component as usize] = Some(local);
        self.kernel_drops[component as usize] = 0;
        Ok(())
    }

    /// TOS is a wish: a kernel that refuses it still relays.
    fn set_tos(&self, slot: Slot, tos: u8, driver: &impl Driver) {
        for component in [Component::Rtp, Component::Rtcp] {
            let Some(local) = self.cold.local[component as usize] else { continue };
            let Some(socket) = driver.socket(slot.token(component)) else { continue };
            if let Err(error) = packet_io::set_tos(socket, local, tos) {
                tracing::warn!(%local, tos, %error, "the kernel refused this TOS; sending without");
            }
        }
    }
}
