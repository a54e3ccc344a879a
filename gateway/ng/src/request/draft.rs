//! A request while its keys come in: in any order, some twice, some within `rtpp-flags`.
//!
//! Of what identifies a call the first mention counts, of options the last. Keys are read first,
//! then `flags`, then `rtpp-flags`.

use bytes::Bytes;

use super::flag::Flag;
use super::key::Key;
use super::option;
use super::parts::{DeleteFlags, Halves, Interfaces};
use super::read::{Taken, delete_delay, first, last, tos, transport};
use super::rtpp_flags::{Word, word, words};
use super::unknown::{Reason, Unknown};
use super::{Command, Delete, IceMode, Query, Refused, Request, Signal, Transport};
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
            signal.call_id = name(self.call_id.take())?.ok_or(Refused::NoCallId)?;
            signal.from_tag = name(self.from_tag.take())?.ok_or(Refused::NoFromTag)?;
            signal.to_tag = name(self.to_tag.take())?;
            if signal.to_tag.is_none() && to_tag == ToTag::Required {
                return Err(Refused::NoToTag);
            }
            signal.via_branch = name(self.via_branch.take())?;
            signal.label = name(signal.label)?;
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
        if key == Key::Unsupported {
            return self.unknown.push(name, Reason::Unsupported);
        }
        if let Some(element) = element(key) {
            for item in value.items() {
                let taken = item.bytes().map_or(Taken::No, |word| element(&mut self.options, word));
                self.report(name, Some(item), taken, key);
            }
            return;
        }
        let taken = match key {
            Key::Ignore | Key::Flags | Key::RtppFlags => Taken::Yes,
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
        self.report(name, Some(value), taken, key);
    }

    /// Keys that take one of a few words.
    fn signal_key(&mut self, key: Key, value: &Value) -> Taken {
        let options = &mut self.options;
        match key {
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
            Key::TransportProtocol => last(
                &mut options.transport,
                value.bytes().and_then(|word| {
                    let accept = word.eq_ignore_ascii_case(b"accept");
                    if accept { Some(Transport::Accept) } else { transport(word) }
                }),
            ),
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
        if let Some(transport) = transport(name) {
            options.transport = Some(transport);
            return;
        }
        match Flag::of(name) {
            Some(Flag::Set(set)) => set(&mut options.flags),
            Some(Flag::Element(list, word)) => {
                let taken = element(list.key()).map(|element| element(options, word));
                self.report(name, None, taken.unwrap_or(Taken::No), list.key());
            }
            Some(Flag::Half(half)) => self.halves.add(half),
            Some(Flag::Interface) => {
                let taken = self.interfaces.add(&Value::Bytes(name.clone()));
                self.report(name, None, taken, Key::Direction);
            }
            Some(Flag::Delete(flag)) => self.delete.add(flag),
            Some(Flag::WebRtc) => self.web_rtc(),
            Some(Flag::Ignore) => {}
            Some(Flag::Unsupported) => self.unknown.push(name, Reason::Unsupported),
            None => self.unknown.push(name, Reason::UnknownFlag),
        }
    }

    /// The bundle of options that `WebRTC` stands for.
    fn web_rtc(&mut self) {
        let options = &mut self.options;
        options.transport = Some(Transport::To(Protocol::UdpTlsRtpSavpf));
        options.ice.mode = IceMode::Force;
        options.ice.trickle = true;
        options.rtcp_mux.offer = true;
        options.rtcp_mux.require = true;
        options.flags.no_rtcp_attribute = true;
        options.flags.generate_mid = true;
        options.sdes.off = true;
    }

    /// Collects what was not taken, by its value where that is a word or a number.
    fn report(&mut self, name: &Bytes, value: Option<&Value>, taken: Taken, key: Key) {
        let reason = match taken {
            Taken::Yes => return,
            Taken::Unsupported => Reason::Unsupported,
            Taken::No => Reason::BadValue { expected: key.expected() },
        };
        let word = value.and_then(|value| match value {
            Value::Bytes(word) => Some(word.clone()),
            Value::Int(number) => Some(number.to_string().into()),
            Value::List(_) | Value::Dict(_) => None,
        });
        self.unknown.push_value(name, word, reason);
    }
}

/// What each word of a list does, for keys that take lists of words.
fn element(key: Key) -> Option<fn(&mut Signal, &[u8]) -> Taken> {
    Some(match key {
        Key::Replace => |options, word| options.replace.element(word),
        Key::RtcpMux => |options, word| options.rtcp_mux.element(word),
        Key::Sdes => |options, word| options.sdes.element(word),
        Key::Ice => |options, word| options.ice.element(word),
        Key::IceLite => |options, word| options.ice.lite(word),
        Key::Dtls => |options, word| options.dtls.element(word),
        Key::DtlsFingerprint => |options, word| options.dtls.fingerprint(word),
        Key::Osrtp => |options, word| options.osrtp.element(word),
        Key::Supports => |options, word| {
            options.supports_load_limit |= word == b"load limit";
            Taken::Yes
        },
        _ => return None,
    })
}

/// Whether a request must name the answering party.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ToTag {
    Required,
    Optional,
}

/// Names that only flags use for a key.
fn short_key(name: &[u8]) -> Option<Key> {
    name.eq_ignore_ascii_case(b"transport").then_some(Key::TransportProtocol)
}

/// What a call is remembered by.
fn name(bytes: Option<Bytes>) -> Result<Option<Bytes>, Refused> {
    match bytes {
        Some(bytes) if bytes.len() > LONGEST_NAME => Err(Refused::NameTooLong),
        bytes => Ok(non_empty(bytes)),
    }
}

fn non_empty(bytes: Option<Bytes>) -> Option<Bytes> {
    bytes.filter(|bytes| !bytes.is_empty())
}

/// A call-id, tag, via-branch or label is in memory for as long as its call, and whoever sends SIP
/// chooses it: phones and proxies use some 30 to 150 bytes.
const LONGEST_NAME: usize = 1024;

/// Flags of one request that we look at. Kamailio's longest scripts have some twenty.
const MAX_FLAGS: usize = 256;

/// `list` names this many calls unless told otherwise.
const DEFAULT_LIMIT: usize = 32;
