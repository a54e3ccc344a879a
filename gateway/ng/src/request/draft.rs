//! A request while its keys come in: in any order, some twice, some within `rtpp-flags`.
//!
//! Of what identifies a call the first mention counts, of options the last. Keys are read first,
//! then `flags`, then `rtpp-flags`.

use std::time::Duration;

use bytes::Bytes;

use super::flag::{DeleteFlag, Flag, Half, List, transport};
use super::key::Key;
use super::option::{self, Taken};
use super::rtpp_flags::{Word, word, words};
use super::unknown::{Reason, Unknown};
use super::{Command, Delete, Ice, Query, Refused, Request, Signal, Transport};
use crate::sdp::Protocol;
use crate::wire::{Dict, Value};

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    command: Option<Bytes>,
    call_id: Option<Bytes>,
    from_tag: Option<Bytes>,
    to_tag: Option<Bytes>,
    via_branch: Option<Bytes>,
    sdp: Option<Bytes>,
    limit: Option<i64>,
    /// The options of offer and answer; the names above are filled in at the end.
    options: Signal,
    halves: Halves,
    interfaces: Interfaces,
    delete: DeleteFlags,
    unknown: Unknown,
}

/// Transport given in halves (`SRTP AVPF`).
#[derive(Debug, Default)]
struct Halves {
    any: bool,
    secure: bool,
    feedback: bool,
    dtls: bool,
}

/// Interface names, as they come.
#[derive(Debug, Default)]
struct Interfaces {
    from: Option<Bytes>,
    to: Option<Bytes>,
}

#[derive(Debug, Default)]
struct DeleteFlags {
    fatal: bool,
    fast: bool,
    to_tag: bool,
}

impl Draft {
    /// Reads a whole dictionary.
    pub(super) fn read(dict: &Dict) -> Self {
        let mut draft = Self::default();
        let (mut flags, mut raw) = (None, None);
        for (name, value) in &dict.0 {
            match Key::of(name) {
                Some(Key::Flags) => flags = Some(value),
                Some(Key::RtppFlags) => raw = value.bytes(),
                Some(key) => draft.key(key, name, value),
                None => draft.unknown.push(name, Reason::UnknownKey),
            }
        }
        if let Some(flags) = flags {
            draft.flags(flags);
        }
        if let Some(raw) = raw {
            words(raw).take(MAX_FLAGS).for_each(|word| draft.word(word));
        }
        draft
    }

    /// The request, where all that its command needs is there.
    pub(super) fn finish(self) -> (Result<Request, Refused>, Unknown) {
        let command = match self.command.as_deref().map(Command::of) {
            Some(Some(command)) => command,
            Some(None) => return (Err(Refused::Unrecognized), self.unknown),
            None => return (Err(Refused::NoCommand), self.unknown),
        };
        match command {
            Command::Ping => (Ok(Request::Ping), self.unknown),
            Command::Statistics => (Ok(Request::Statistics), self.unknown),
            Command::List => (Ok(Request::List { limit: self.list_limit() }), self.unknown),
            Command::Offer => self.signal(Request::Offer, ToTag::Optional),
            Command::Answer => self.signal(Request::Answer, ToTag::Required),
            Command::Delete => self.delete(),
            Command::Query => self.query(),
            Command::Other => (Err(Refused::NotImplemented), self.unknown),
        }
    }

    fn list_limit(&self) -> usize {
        self.limit.map_or(DEFAULT_LIMIT, |limit| usize::try_from(limit).unwrap_or(0))
    }

    /// Checks in the incumbent's order: body, call-id, from-tag, to-tag.
    fn signal(
        mut self,
        kind: fn(Box<Signal>) -> Request,
        to_tag: ToTag,
    ) -> (Result<Request, Refused>, Unknown) {
        let mut fill = || {
            let mut signal = std::mem::take(&mut self.options);
            signal.sdp = non_empty(self.sdp.take()).ok_or(Refused::NoSdp)?;
            signal.call_id = non_empty(self.call_id.take()).ok_or(Refused::NoCallId)?;
            signal.from_tag = non_empty(self.from_tag.take()).ok_or(Refused::NoFromTag)?;
            signal.to_tag = non_empty(self.to_tag.take());
            if signal.to_tag.is_none() && to_tag == ToTag::Required {
                return Err(Refused::NoToTag);
            }
            signal.via_branch = non_empty(self.via_branch.take());
            signal.direction = self.interfaces.direction();
            if let Some(protocol) = self.halves.protocol() {
                signal.transport.get_or_insert(Transport::To(protocol));
            }
            Ok(kind(Box::new(signal)))
        };
        (fill(), self.unknown)
    }

    fn delete(self) -> (Result<Request, Refused>, Unknown) {
        let Some(call_id) = non_empty(self.call_id) else {
            return (Err(Refused::NoCallId), self.unknown);
        };
        let delete = Delete {
            call_id,
            from_tag: non_empty(self.from_tag),
            to_tag: non_empty(self.to_tag).filter(|_| self.delete.to_tag),
            via_branch: non_empty(self.via_branch),
            delete_delay: self.options.delete_delay,
            fatal: self.delete.fatal,
            fast: self.delete.fast,
        };
        (Ok(Request::Delete(delete)), self.unknown)
    }

    fn query(self) -> (Result<Request, Refused>, Unknown) {
        let Some(call_id) = non_empty(self.call_id) else {
            return (Err(Refused::NoCallId), self.unknown);
        };
        let (from_tag, to_tag) = (non_empty(self.from_tag), non_empty(self.to_tag));
        (Ok(Request::Query(Query { call_id, from_tag, to_tag })), self.unknown)
    }

    /// One key, from the dictionary or as `name=value` among flags.
    fn key(&mut self, key: Key, name: &Bytes, value: &Value) {
        let taken = match key {
            Key::Ignore | Key::Flags | Key::RtppFlags => Taken::Yes,
            Key::Unsupported => Taken::Unsupported,
            Key::Command => first(&mut self.command, value),
            Key::CallId => first(&mut self.call_id, value),
            Key::FromTag => first(&mut self.from_tag, value),
            Key::ToTag => first(&mut self.to_tag, value),
            Key::ViaBranch => first(&mut self.via_branch, value),
            Key::Sdp => first(&mut self.sdp, value),
            Key::Limit => last(&mut self.limit, value.int()),
            Key::Label => last(&mut self.options.label, value.bytes().cloned()),
            Key::Tos => last(&mut self.options.tos, tos(value)),
            Key::DeleteDelay => last(&mut self.options.delete_delay, delete_delay(value)),
            Key::Direction => self.interfaces.add(value),
            Key::FromInterface => last(&mut self.interfaces.from, value.bytes().cloned()),
            Key::ToInterface => last(&mut self.interfaces.to, value.bytes().cloned()),
            _ => self.signal_key(key, value),
        };
        self.report(name, taken);
    }

    /// Keys that take one of a few words, or a list of them.
    fn signal_key(&mut self, key: Key, value: &Value) -> Taken {
        let options = &mut self.options;
        match key {
            Key::Replace => each(value, |word| options.replace.element(word)),
            Key::RtcpMux => each(value, |word| options.rtcp_mux.element(word)),
            Key::Sdes => each(value, |word| options.sdes.element(word)),
            Key::Ice => each(value, |word| option::ice(&mut options.ice, word)),
            Key::Dtls => each(value, |word| match word {
                b"off" | b"no" | b"disable" | b"disabled" => {
                    options.flags.dtls_off = true;
                    Taken::Yes
                }
                b"passive" | b"active" => Taken::Unsupported,
                _ => Taken::No,
            }),
            Key::Supports => each(value, |word| {
                options.supports_load_limit |= word == b"load limit";
                Taken::Yes
            }),
            Key::ReceivedFrom => {
                // [family, address] or the address alone.
                let address = value.items().last().and_then(Value::bytes);
                last(&mut options.received_from, address.and_then(|word| option::address(word)))
            }
            Key::MediaAddress => {
                let address = value.items().last().and_then(Value::bytes);
                last(&mut options.media_address, address.and_then(|word| option::address(word)))
            }
            Key::AddressFamily => last(
                &mut options.address_family,
                value.bytes().and_then(|word| option::address_family(word)),
            ),
            Key::EndpointLearning => last(
                &mut options.endpoint_learning,
                value.bytes().and_then(|word| option::endpoint_learning(word)),
            ),
            Key::TransportProtocol => {
                last(&mut options.transport, value.bytes().and_then(|word| transport_value(word)))
            }
            Key::SipMessageType => last(
                &mut options.sip_request,
                value.bytes().and_then(|word| match &word[..] {
                    b"sip_request" => Some(true),
                    b"sip_reply" => Some(false),
                    _ => None,
                }),
            ),
            _ => Taken::No,
        }
    }

    fn flags(&mut self, value: &Value) {
        for flag in value.items().iter().take(MAX_FLAGS) {
            if let Some(flag) = flag.bytes() {
                self.word(word(flag));
            }
        }
    }

    /// One flag, or a key written as `name=value`.
    fn word(&mut self, word: Word) {
        let Some(value) = &word.value else { return self.flag(&word.name) };
        match Key::of(&word.name).or_else(|| short_key(&word.name)) {
            // These come as keys of their own or not at all.
            Some(Key::Command | Key::CallId | Key::Sdp | Key::Flags | Key::RtppFlags) => {
                self.unknown.push(&word.whole, Reason::UnknownFlag);
            }
            Some(key) => self.key(key, &word.name, value),
            None => self.unknown.push(&word.whole, Reason::UnknownFlag),
        }
    }

    fn flag(&mut self, name: &Bytes) {
        let options = &mut self.options;
        let taken = match Flag::of(name) {
            Some(Flag::Set(set)) => {
                set(&mut options.flags);
                Taken::Yes
            }
            Some(Flag::Element(List::Replace, word)) => options.replace.element(word),
            Some(Flag::Element(List::RtcpMux, word)) => options.rtcp_mux.element(word),
            Some(Flag::Element(List::Sdes, word)) => options.sdes.element(word),
            Some(Flag::Transport(transport)) => last(&mut options.transport, Some(transport)),
            Some(Flag::Half(half)) => self.halves.add(half),
            Some(Flag::Interface) => self.interfaces.add(&Value::Bytes(name.clone())),
            Some(Flag::Delete(flag)) => self.delete.add(flag),
            Some(Flag::WebRtc) => self.web_rtc(),
            Some(Flag::Ignore) => Taken::Yes,
            Some(Flag::Unsupported) => Taken::Unsupported,
            None => return self.unknown.push(name, Reason::UnknownFlag),
        };
        self.report(name, taken);
    }

    /// The bundle of options that `WebRTC` stands for.
    fn web_rtc(&mut self) -> Taken {
        let options = &mut self.options;
        options.transport = Some(Transport::To(Protocol::UdpTlsRtpSavpf));
        options.ice = Some(Ice::Keep);
        options.rtcp_mux.offer = true;
        options.rtcp_mux.require = true;
        options.flags.no_rtcp_attribute = true;
        options.flags.generate_mid = true;
        options.sdes.off = true;
        Taken::Yes
    }

    fn report(&mut self, name: &Bytes, taken: Taken) {
        match taken {
            Taken::Yes => {}
            Taken::Unsupported => self.unknown.push(name, Reason::Unsupported),
            Taken::No => self.unknown.push(name, Reason::BadValue),
        }
    }
}

/// Whether a request must name the answering party.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ToTag {
    Required,
    Optional,
}

impl Halves {
    fn add(&mut self, half: Half) -> Taken {
        self.any = true;
        match half {
            Half::Rtp => self.secure = false,
            Half::Srtp => self.secure = true,
            Half::Avp => self.feedback = false,
            Half::Avpf => self.feedback = true,
            Half::Dtls => self.dtls = true,
        }
        Taken::Yes
    }

    fn protocol(&self) -> Option<Protocol> {
        self.any.then_some(match (self.dtls, self.secure, self.feedback) {
            (true, _, false) => Protocol::UdpTlsRtpSavp,
            (true, _, true) => Protocol::UdpTlsRtpSavpf,
            (false, true, false) => Protocol::RtpSavp,
            (false, true, true) => Protocol::RtpSavpf,
            (false, false, false) => Protocol::RtpAvp,
            (false, false, true) => Protocol::RtpAvpf,
        })
    }
}

impl Interfaces {
    /// A list of both, or one after the other.
    fn add(&mut self, value: &Value) -> Taken {
        each_bytes(value, |name| {
            let free = if self.from.is_none() { &mut self.from } else { &mut self.to };
            if free.is_some() {
                return Taken::No;
            }
            *free = Some(name.clone());
            Taken::Yes
        })
    }

    fn direction(&mut self) -> Option<(Bytes, Bytes)> {
        match (self.from.take(), self.to.take()) {
            (None, None) => None,
            (from, to) => Some((from.unwrap_or_default(), to.unwrap_or_default())),
        }
    }
}

impl DeleteFlags {
    fn add(&mut self, flag: DeleteFlag) -> Taken {
        match flag {
            DeleteFlag::Fatal => self.fatal = true,
            DeleteFlag::Fast => self.fast = true,
            DeleteFlag::ToTag => self.to_tag = true,
        }
        Taken::Yes
    }
}

/// Names that only flags use for a key.
fn short_key(name: &[u8]) -> Option<Key> {
    name.eq_ignore_ascii_case(b"transport").then_some(Key::TransportProtocol)
}

fn transport_value(word: &[u8]) -> Option<Transport> {
    if word.eq_ignore_ascii_case(b"accept") { Some(Transport::Accept) } else { transport(word) }
}

/// Keeps the first mention.
fn first(place: &mut Option<Bytes>, value: &Value) -> Taken {
    let Some(bytes) = value.bytes() else { return Taken::No };
    place.get_or_insert_with(|| bytes.clone());
    Taken::Yes
}

/// Keeps the last mention that makes sense.
fn last<T>(place: &mut Option<T>, value: Option<T>) -> Taken {
    if value.is_none() {
        return Taken::No;
    }
    *place = value;
    Taken::Yes
}

/// Each string of a list, or the single one; the worst answer counts.
fn each(value: &Value, mut element: impl FnMut(&[u8]) -> Taken) -> Taken {
    each_bytes(value, |bytes| element(bytes))
}

fn each_bytes(value: &Value, mut element: impl FnMut(&Bytes) -> Taken) -> Taken {
    let mut worst = Taken::Yes;
    for item in value.items() {
        match item.bytes().map_or(Taken::No, &mut element) {
            Taken::Yes => {}
            other => worst = other,
        }
    }
    worst
}

fn non_empty(bytes: Option<Bytes>) -> Option<Bytes> {
    bytes.filter(|bytes| !bytes.is_empty())
}

/// -1 keeps what the call has; more than a byte is no TOS.
fn tos(value: &Value) -> Option<i16> {
    let tos = value.int()?.max(-1);
    i16::try_from(tos).ok().filter(|tos| *tos <= 255)
}

/// Seconds; negative asks for the default, which is what absence does.
fn delete_delay(value: &Value) -> Option<Duration> {
    let seconds = u64::try_from(value.int()?).ok()?;
    Some(Duration::from_secs(seconds.min(MAX_DELETE_DELAY)))
}

/// Flags of one request that we look at. Kamailio's longest scripts have some twenty.
const MAX_FLAGS: usize = 256;

/// `list` names this many calls unless told otherwise.
const DEFAULT_LIMIT: usize = 32;

/// One day: beyond that a typing error would keep ports for ever.
const MAX_DELETE_DELAY: u64 = 86_400;
