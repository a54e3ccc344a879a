//! What the signalling agents report: one line of sipp's log each, written by the scenarios.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};

/// Something that happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The callee was offered this.
    Offered { call: u16, media: Described },
    /// The caller was answered this.
    Answered { call: u16, media: Described },
    /// This step comes in half a second: who must not send then should stop now.
    Quiet { call: u16, before: Step },
    /// The callee has the ACK: the step is agreed all along the path.
    Agreed { call: u16, step: Step },
    /// The callee has the BYE.
    Ended { call: u16 },
}

/// What the relay's SDP says to a party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// Where to send RTP; RTCP goes one port above.
    pub(crate) address: SocketAddr,
    /// The media line's profile.
    pub(crate) profile: String,
    /// `sendrecv` and its kin.
    pub(crate) direction: String,
    /// The relay's inline key of the wanted suite; empty without one.
    pub(crate) key: String,
}

/// The steps of a call, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Established,
    Hold,
    Resumed,
    Restarted,
    Bye,
}

/// A log that grows while it is read.
pub(crate) struct EventLog {
    path: PathBuf,
    file: Option<File>,
    unfinished: String,
}

impl Event {
    /// The call that it happened to.
    pub(crate) fn call(&self) -> u16 {
        match self {
            Self::Offered { call, .. }
            | Self::Answered { call, .. }
            | Self::Quiet { call, .. }
            | Self::Agreed { call, .. }
            | Self::Ended { call } => *call,
        }
    }

    /// Reads one line of the log.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let fields: HashMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
        let field =
            |name: &str| fields.get(name).copied().ok_or_else(|| anyhow!("`{line}` lacks {name}="));
        let call = field("call")?.parse().with_context(|| line.to_owned())?;
        Ok(match kind {
            "offer" => Self::Offered { call, media: Described::from_fields(field)? },
            "answer" => Self::Answered { call, media: Described::from_fields(field)? },
            "quiet" => Self::Quiet { call, before: Step::from_word(field("step")?)? },
            "agreed" => Self::Agreed { call, step: Step::from_word(field("step")?)? },
            "ended" => Self::Ended { call },
            _ => bail!("`{line}` is no event of the scenarios"),
        })
    }
}

impl Described {
    fn from_fields<'a>(field: impl Fn(&str) -> Result<&'a str>) -> Result<Self> {
        let address: Ipv4Addr = field("addr")?.parse().context("c= of the relay's SDP")?;
        let port: u16 = field("port")?.parse().context("m= of the relay's SDP")?;
        Ok(Self {
            address: (address, port).into(),
            profile: field("profile")?.to_owned(),
            direction: field("direction")?.to_owned(),
            key: field("key")?.to_owned(),
        })
    }
}

impl Step {
    /// What must have been agreed before this step.
    pub(crate) fn previous(self) -> Option<Self> {
        match self {
            Self::Established => None,
            Self::Hold => Some(Self::Established),
            Self::Resumed => Some(Self::Hold),
            Self::Restarted => Some(Self::Resumed),
            Self::Bye => Some(Self::Restarted),
        }
    }

    fn from_word(word: &str) -> Result<Self> {
        Ok(match word {
            "established" => Self::Established,
            "hold" => Self::Hold,
            "resumed" => Self::Resumed,
            "restarted" => Self::Restarted,
            "bye" => Self::Bye,
            _ => bail!("`{word}` is no step of the scenarios"),
        })
    }
}

impl EventLog {
    /// The log at `path`, which need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, unfinished: String::new() }
    }

    /// The events written since the last call.
    pub(crate) fn poll(&mut self) -> Result<Vec<Event>> {
        let file = match &mut self.file {
            Some(file) => file,
            slot => match File::open(&self.path) {
                Ok(file) => slot.insert(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error).context(self.path.display().to_string()),
            },
        };
        file.read_to_string(&mut self.unfinished)?;
        let whole = self.unfinished.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.unfinished.drain(..whole).collect();
        lines.lines().filter(|line| !line.trim().is_empty()).map(Event::parse).collect()
    }
}

#[test]
fn reads_what_the_scenarios_write() {
    let line =
        "offer call=7 addr=127.0.0.1 port=30000 profile=RTP/SAVP direction=sendonly key=QUI=";
    let Ok(Event::Offered { call: 7, media }) = Event::parse(line) else {
        panic!("not an offer of call 7: {:?}", Event::parse(line));
    };
    assert_eq!(media.address, SocketAddr::from(([127, 0, 0, 1], 30000)));
    assert_eq!((media.direction.as_str(), media.key.as_str()), ("sendonly", "QUI="));
    let quiet = Event::parse("quiet call=3 step=bye").expect("an event");
    assert_eq!(quiet, Event::Quiet { call: 3, before: Step::Bye });
    assert!(Event::parse("agreed call=3 step=later").is_err());
}
