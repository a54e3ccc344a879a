//! What the kernel tells by itself: limits reached, SAs that came and went by other hands, devices
//! that went down or up.
//!
//! Reports carry the port of the request that they are of, so that what we did ourselves is left
//! out. A device that goes down loses its SAs without a report of any of them: that is why links
//! are watched. When the kernel had more to say than our socket holds, the answer is
//! [`EngineEvent::Resync`].

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crypto_offload::{EngineError, EngineEvent};
use rustix::event::epoll;

use crate::{
    failure::Operation,
    socket::{Family, Heard, Listener, Requester},
    wire::{
        link::{self, Link},
        netlink::{Message, Refusal},
        numbers::{
            GROUP_OF_LINKS, GROUPS_OF_SAS, RTM_DELLINK, RTM_NEWLINK, XFRM_MSG_DELSA,
            XFRM_MSG_EXPIRE, XFRM_MSG_FLUSHSA, XFRM_MSG_NEWSA, XFRM_MSG_UPDSA,
        },
        state::{Identity, Limit, State},
    },
};

/// Both sources of events.
#[derive(Debug)]
pub(crate) struct Events {
    /// Readable when either socket is.
    either: OwnedFd,
    sas: Listener,
    links: Listener,
    devices: Devices,
    own_port: u32,
    /// A call failed after the last one that succeeded.
    interrupted: bool,
}

impl Events {
    /// Listens from now on, leaving out the reports of requests from `own_port`.
    pub(crate) fn open(own_port: u32, links: &mut Requester) -> Result<Self, EngineError> {
        let (either, sas, listener) = sockets().map_err(|error| {
            Operation::Listen.refused("the kernel's XFRM", &Refusal::of_call(&error))
        })?;
        let mut devices = Devices::default();
        // After listening began, so that nothing falls in between.
        devices.compare(present(links)?);
        Ok(Self { either, sas, links: listener, devices, own_port, interrupted: false })
    }

    /// Readable when there is something.
    pub(crate) fn source(&self) -> BorrowedFd<'_> {
        self.either.as_fd()
    }

    /// All that happened since; `links` is asked when reports of devices were lost.
    pub(crate) fn drain(&mut self, links: &mut Requester) -> Result<Vec<EngineEvent>, EngineError> {
        let mut events = Vec::new();
        if std::mem::replace(&mut self.interrupted, true) {
            events.push(EngineEvent::Resync);
        }
        let failed =
            |error: io::Error| Operation::Listen.refused("events", &Refusal::of_call(&error));
        self.hear_links(links, &mut events, failed)?;
        self.hear_sas(&mut events).map_err(failed)?;
        self.interrupted = false;
        Ok(events)
    }

    fn hear_sas(&mut self, events: &mut Vec<EngineEvent>) -> io::Result<()> {
        for _ in 0..DATAGRAMS_AT_ONCE {
            let own_port = self.own_port;
            let heard = self.sas.hear(|message| events.extend(event_of(&message, own_port)))?;
            match heard {
                Heard::Messages => {}
                Heard::Overrun => events.push(EngineEvent::Resync),
                Heard::Nothing => break,
            }
        }
        Ok(())
    }

    fn hear_links(
        &mut self,
        links: &mut Requester,
        events: &mut Vec<EngineEvent>,
        failed: impl Fn(io::Error) -> EngineError,
    ) -> Result<(), EngineError> {
        for _ in 0..DATAGRAMS_AT_ONCE {
            let devices = &mut self.devices;
            let heard = self.links.hear(|message| events.extend(devices.event_of(&message)));
            match heard.map_err(&failed)? {
                Heard::Messages => {}
                Heard::Overrun => events.extend(self.devices.compare(present(links)?)),
                Heard::Nothing => break,
            }
        }
        Ok(())
    }
}

/// What a report of an SA means to us.
fn event_of(message: &Message<'_>, own_port: u32) -> Option<EngineEvent> {
    match message.kind {
        // Limits are reached by traffic or time, never by a request.
        XFRM_MSG_EXPIRE => {
            let (state, limit) = State::decode_expiry(message.payload)?;
            let id = state.identity.esp()?;
            Some(match limit {
                Limit::Soft => EngineEvent::SoftLimit(id),
                Limit::Hard => EngineEvent::HardLimit(id),
            })
        }
        _ if message.port == own_port => None,
        XFRM_MSG_NEWSA | XFRM_MSG_UPDSA => {
            Some(EngineEvent::Foreign(State::decode(message.payload)?.identity.esp()?))
        }
        XFRM_MSG_DELSA => Some(EngineEvent::Removed(Identity::decode(message.payload)?.esp()?)),
        XFRM_MSG_FLUSHSA => Some(EngineEvent::Resync),
        _ => None,
    }
}

/// The devices as they were last told of.
#[derive(Debug, Default)]
struct Devices(BTreeMap<u32, Link>);

impl Devices {
    fn event_of(&mut self, message: &Message<'_>) -> Option<EngineEvent> {
        let link = Link::decode(message.payload)?;
        match message.kind {
            RTM_NEWLINK => self.changed(link),
            RTM_DELLINK => self.gone(link.index),
            _ => None,
        }
    }

    fn changed(&mut self, link: Link) -> Option<EngineEvent> {
        let (up, name) = (link.up, link.name.clone());
        let was_up = self.0.insert(link.index, link).is_some_and(|before| before.up);
        match (was_up, up) {
            (false, true) => Some(EngineEvent::DeviceUp(name)),
            (true, false) => Some(EngineEvent::DeviceDown(name)),
            _ => None,
        }
    }

    fn gone(&mut self, index: u32) -> Option<EngineEvent> {
        let link = self.0.remove(&index)?;
        link.up.then_some(EngineEvent::DeviceDown(link.name))
    }

    /// What changed unheard, given all devices that there are.
    fn compare(&mut self, present: Vec<Link>) -> Vec<EngineEvent> {
        let stays = |index: &u32| present.iter().any(|link| link.index == *index);
        let left: Vec<u32> = self.0.keys().copied().filter(|index| !stays(index)).collect();
        let mut events: Vec<_> = left.into_iter().filter_map(|index| self.gone(index)).collect();
        events.extend(present.into_iter().filter_map(|link| self.changed(link)));
        events
    }
}

fn present(links: &mut Requester) -> Result<Vec<Link>, EngineError> {
    links
        .dump(link::all, Link::decode)
        .map_err(|refusal| Operation::List.refused("devices", &refusal))
}

fn sockets() -> io::Result<(OwnedFd, Listener, Listener)> {
    let sas = Listener::open(Family::Xfrm, GROUPS_OF_SAS)?;
    let links = Listener::open(Family::Route, GROUP_OF_LINKS)?;
    let either = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for listener in [&sas, &links] {
        epoll::add(&either, listener, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    }
    Ok((either, sas, links))
}

/// A flood must not keep the caller from everything else: the rest is heard at the next call, as
/// the source stays readable.
const DATAGRAMS_AT_ONCE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        example,
        wire::{
            netlink::messages,
            request::Request,
            sa::{self, DirectedSas, Install},
        },
    };

    fn link(index: u32, up: bool) -> Link {
        Link { index, name: format!("eth{index}"), up }
    }

    fn reported(request: Request, kind: u16, port: u32) -> Option<EngineEvent> {
        let bytes = request.finish(1, 0);
        let message = messages(&bytes).next().expect("a message");
        event_of(&Message { kind, port, ..message }, 42)
    }

    #[test]
    fn what_we_did_is_no_news_and_what_others_did_is() {
        let sa = example::outbound();
        let new = || sa::install(&sa, Install::New, None, DirectedSas::Known);
        assert_eq!(reported(new(), XFRM_MSG_NEWSA, 42), None);
        assert_eq!(reported(new(), XFRM_MSG_NEWSA, 43), Some(EngineEvent::Foreign(sa.id)));
        assert_eq!(reported(sa::remove(sa.id), XFRM_MSG_DELSA, 42), None);
        let removed = reported(sa::remove(sa.id), XFRM_MSG_DELSA, 43);
        assert_eq!(removed, Some(EngineEvent::Removed(sa.id)));
    }

    #[test]
    fn a_flush_by_others_asks_for_a_comparison() {
        assert_eq!(reported(sa::all(), XFRM_MSG_FLUSHSA, 43), Some(EngineEvent::Resync));
    }

    #[test]
    fn a_device_is_news_when_it_goes_down_and_when_it_comes_up() {
        let mut devices = Devices::default();
        assert_eq!(devices.changed(link(1, false)), None);
        assert_eq!(devices.changed(link(1, true)), Some(EngineEvent::DeviceUp("eth1".to_owned())));
        assert_eq!(devices.changed(link(1, true)), None);
        let down = Some(EngineEvent::DeviceDown("eth1".to_owned()));
        assert_eq!(devices.changed(link(1, false)), down);
        assert_eq!(devices.gone(1), None);
    }

    #[test]
    fn what_changed_unheard_is_made_up_for() {
        let mut devices = Devices::default();
        devices.compare(vec![link(1, true), link(2, true), link(3, false)]);
        let events = devices.compare(vec![link(2, false), link(3, true)]);
        let expected = [
            EngineEvent::DeviceDown("eth1".to_owned()),
            EngineEvent::DeviceDown("eth2".to_owned()),
            EngineEvent::DeviceUp("eth3".to_owned()),
        ];
        assert_eq!(events, expected);
    }
}
