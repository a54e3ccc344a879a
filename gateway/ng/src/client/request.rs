//! Requests as a controller writes them.

use std::net::IpAddr;

use bytes::Bytes;

use crate::wire::{Dict, Value};

/// One request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRequest {
    /// `ping`.
    Ping,
    /// `offer`.
    Offer {
        /// Whose call.
        party: Party,
        /// The body.
        sdp: Bytes,
        /// Options.
        options: Options,
    },
    /// `answer`; `party` needs a `to_tag`.
    Answer {
        /// Whose call.
        party: Party,
        /// The body.
        sdp: Bytes,
        /// Options.
        options: Options,
    },
    /// `delete`.
    Delete {
        /// Whose call.
        party: Party,
        /// Options.
        options: Options,
    },
    /// `query`.
    Query {
        /// Whose call.
        party: Party,
    },
    /// `list`.
    List {
        /// The most calls to name.
        limit: usize,
    },
    /// `statistics`.
    Statistics,
}

/// The names of a call and its parties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// `call-id`.
    pub call_id: String,
    /// `from-tag`, left out where empty.
    pub from_tag: String,
    /// `to-tag`.
    pub to_tag: Option<String>,
    /// `via-branch`.
    pub via_branch: Option<String>,
}

/// Options; what is empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `transport-protocol`.
    pub transport: Option<String>,
    /// `flags`.
    pub flags: Vec<String>,
    /// `replace`.
    pub replace: Vec<String>,
    /// `SDES`.
    pub sdes: Vec<String>,
    /// `rtcp-mux`.
    pub rtcp_mux: Vec<String>,
    /// `ICE`.
    pub ice: Option<String>,
    /// `direction`: interfaces from and to.
    pub direction: Option<(String, String)>,
    /// `received-from`.
    pub received_from: Option<IpAddr>,
    /// `delete-delay` in seconds.
    pub delete_delay: Option<u32>,
    /// `rtpp-flags`, unread.
    pub rtpp_flags: Option<String>,
    /// Anything else.
    pub extra: Dict,
}

impl ClientRequest {
    /// The dictionary, in the order of Kamailio's.
    pub fn dict(&self) -> Dict {
        let mut dict = Dict::default();
        let command = match self {
            Self::Ping => "ping",
            Self::Statistics => "statistics",
            Self::List { limit } => {
                dict.push("limit", *limit);
                "list"
            }
            Self::Offer { party, sdp, options } => {
                signal(&mut dict, party, sdp, options);
                "offer"
            }
            Self::Answer { party, sdp, options } => {
                signal(&mut dict, party, sdp, options);
                "answer"
            }
            Self::Delete { party, options } => {
                options.write(&mut dict);
                party.write(&mut dict);
                "delete"
            }
            Self::Query { party } => {
                party.write(&mut dict);
                "query"
            }
        };
        dict.with("command", command)
    }
}

fn signal(dict: &mut Dict, party: &Party, sdp: &Bytes, options: &Options) {
    dict.push("supports", vec![Value::from("load limit")]);
    dict.push("sdp", sdp.clone());
    options.write(dict);
    party.write(dict);
}

impl Party {
    fn write(&self, dict: &mut Dict) {
        dict.push("call-id", self.call_id.clone());
        push_some(dict, "via-branch", &self.via_branch);
        if !self.from_tag.is_empty() {
            dict.push("from-tag", self.from_tag.clone());
        }
        push_some(dict, "to-tag", &self.to_tag);
    }
}

impl Options {
    fn write(&self, dict: &mut Dict) {
        push_some(dict, "ICE", &self.ice);
        if let Some((from, to)) = &self.direction {
            dict.push("direction", vec![Value::from(from.clone()), Value::from(to.clone())]);
        }
        push_list(dict, "replace", &self.replace);
        push_some(dict, "transport-protocol", &self.transport);
        push_list(dict, "rtcp-mux", &self.rtcp_mux);
        push_list(dict, "SDES", &self.sdes);
        if let Some(address) = self.received_from {
            let family = if address.is_ipv4() { "IP4" } else { "IP6" };
            let address = vec![Value::from(family), Value::from(address.to_string())];
            dict.push("received-from", address);
        }
        if let Some(seconds) = self.delete_delay {
            dict.push("delete-delay", seconds);
        }
        push_list(dict, "flags", &self.flags);
        push_some(dict, "rtpp-flags", &self.rtpp_flags);
        dict.0.extend(self.extra.0.iter().cloned());
    }
}

fn push_some(dict: &mut Dict, key: &'static str, value: &Option<String>) {
    if let Some(value) = value {
        dict.push(key, value.clone());
    }
}

fn push_list(dict: &mut Dict, key: &'static str, words: &[String]) {
    if !words.is_empty() {
        dict.push(key, words.iter().cloned().map(Value::from).collect::<Vec<_>>());
    }
}
