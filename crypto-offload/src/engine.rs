//! The trait of IPsec engines, and how engines fail.
//!
//! An inline engine has no per-packet call: it is told about keys, and asked about counters. Every
//! call blocks until the engine has answered (microseconds for the kernel), none waits for
//! packets. A call that fails leaves nothing of itself behind.

use std::{fmt, os::fd::BorrowedFd, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Aead, Capabilities, Direction, Effective, KeyFingerprint, Placement, PolicyDirection,
    PolicySpec, Reqid, SaId, SaSpec, Selector, UdpEncapsulation,
};

/// Something that does ESP for us: the kernel with or without a device, or our own code.
pub trait IpsecEngine: Send {
    /// What it is called in logs: `xfrm`, `user-space`.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Finds out again what it can do, devices that came and went included.
    ///
    /// # Errors
    /// When even asking fails.
    fn probe(&mut self) -> Result<(), EngineError>;

    /// Reserves the SPI `id.spi` for an inbound SA from `source`, so that nothing else in this
    /// namespace takes it. The reservation ends with [`install`](Self::install) of that SA, with
    /// [`remove`](Self::remove), or after the kernel's `xfrm_acq_expires` (30 s).
    ///
    /// # Errors
    /// [`ErrorClass::Conflict`] when it is in use.
    fn reserve(
        &mut self,
        id: SaId,
        source: std::net::IpAddr,
        reqid: Reqid,
    ) -> Result<(), EngineError>;

    /// Installs one SA in one place and reads back where it is. The effective placement may be
    /// lesser than `placement`, with the reason: whether that will do is the caller's to say.
    ///
    /// # Errors
    /// Then nothing of the SA is left.
    fn install(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError>;

    /// Takes over an SA that an earlier process installed and [`list`](Self::list) still has. What
    /// had ended with that process begins again: the reception of ESP in UDP, where the kernel's
    /// SAs outlive it and its sockets do not.
    ///
    /// # Errors
    /// Then the SA is there, and may receive nothing.
    fn adopt(
        &mut self,
        id: SaId,
        direction: Direction,
        encapsulation: Option<UdpEncapsulation>,
    ) -> Result<(), EngineError> {
        let _ = (id, direction, encapsulation);
        Ok(())
    }

    /// Takes an SA away. Gone already is a success.
    ///
    /// # Errors
    /// When it could not be removed, so that it may still be there.
    fn remove(&mut self, id: SaId) -> Result<(), EngineError>;

    /// Whether its policies look at every packet of the namespace. If not, they see what is routed
    /// into a device of its own, and nothing that comes in by another.
    fn sees_all_traffic(&self) -> bool {
        true
    }

    /// Whether the packets that it opens get past `policy` of an engine that sees all traffic:
    /// those of the kernel's own SAs do.
    ///
    /// # Errors
    /// Why they do not.
    fn gets_past(&self, policy: &PolicySpec) -> Result<(), String> {
        let _ = policy;
        Ok(())
    }

    /// Sets a policy, or changes it in one step. From then on traffic that fits it goes through
    /// its SAs, or nowhere.
    ///
    /// # Errors
    /// Then the policy is as it was.
    fn set_policy(&mut self, policy: &PolicySpec, placement: Placement) -> Result<(), EngineError>;

    /// Takes a policy away. Gone already is a success.
    ///
    /// # Errors
    /// When it could not be removed.
    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError>;

    /// Every SA that the engine has, ours or not, with its counters.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError>;

    /// Every policy that packets meet where this engine works, ours or not. None where only our
    /// own are.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    fn policies(&mut self) -> Result<Vec<InstalledPolicy>, EngineError> {
        Ok(Vec::new())
    }

    /// One SA's counters.
    ///
    /// # Errors
    /// [`ErrorClass::Gone`] when there is no such SA.
    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError>;

    /// What happened since it was last asked, in order. Does not wait.
    ///
    /// # Errors
    /// When the source of events failed; they go on after the next successful call, beginning
    /// with [`EngineEvent::Resync`].
    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError>;

    /// Readable when [`events`](Self::events) has something.
    fn event_source(&self) -> Option<BorrowedFd<'_>>;

    /// Packets that the engine dropped, by its own names, for nobody's SA in particular:
    /// `/proc/net/xfrm_stat` or our own counters.
    ///
    /// # Errors
    /// When they cannot be read.
    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError>;
}

/// An SA as an engine lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledSa {
    /// Destination and SPI.
    pub id: SaId,
    /// The outer source address.
    pub source: std::net::IpAddr,
    /// 0 in the kernel for none.
    pub reqid: u32,
    /// Where it is processed, as read back.
    pub placement: Placement,
    /// The device, where one processes it.
    pub device: Option<String>,
    /// The algorithm, where it is one that we know.
    pub aead: Option<Aead>,
    /// Of its key, where the engine shows it and the algorithm is known.
    #[serde(skip)]
    pub fingerprint: Option<KeyFingerprint>,
    /// The engine's name for what it is, for people: `rfc4106(gcm(aes))`.
    pub algorithm: String,
    /// Its counters.
    pub usage: SaUsage,
}

/// A policy as an engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledPolicy {
    /// Where it looks.
    pub direction: PolicyDirection,
    /// Which packets. Where an engine can say less or more, all that it may be about.
    pub selector: Selector,
    /// Of the SAs that it wants; `None`: it wants none, and lets pass or blocks.
    pub reqid: Option<u32>,
    /// Which one a packet meets that fits this and one of ours.
    pub precedence: Precedence,
    /// What else the engine knows of it, for people: `priority 375423`.
    pub detail: String,
}

/// Of a policy, against ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// It is looked at first, or perhaps.
    OverOurs,
    /// Ours is.
    UnderOurs,
}

/// How much an SA has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaUsage {
    /// Packets sealed or opened.
    pub packets: u64,
    /// Their bytes, as the engine counts them.
    pub bytes: u64,
    /// The highest sequence number sent or accepted.
    pub sequence: u64,
    /// Packets refused as replays.
    pub replayed: u64,
    /// Packets older than the replay window.
    pub late: u64,
    /// Packets whose integrity check failed.
    pub forged: u64,
    /// Time since it was installed.
    pub age: Duration,
    /// Time since the first packet, if there was one.
    pub in_use: Option<Duration>,
}

/// What an engine has to tell by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// A soft limit was passed: time for a successor.
    SoftLimit(SaId),
    /// A hard limit was reached; the SA is gone or refuses packets.
    HardLimit(SaId),
    /// The SA is gone, and we did not remove it.
    Removed(SaId),
    /// Somebody else installed one.
    Foreign(SaId),
    /// A device's engine stopped: its SAs are gone from it.
    DeviceDown(String),
    /// A device may take SAs (again).
    DeviceUp(String),
    /// Events were lost: compare with [`IpsecEngine::list`].
    Resync,
}

/// What kind of failure, which says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// It cannot do that: try the next placement.
    Unsupported,
    /// Not now: try again, a little later each time.
    Busy,
    /// It is full: spill to the next placement, and tell somebody.
    Exhausted,
    /// Something else has that SPI, selector or name.
    Conflict,
    /// The SA, the policy or the device is not there (any more).
    Gone,
    /// We may not, or it is broken: only an operator can mend it.
    Fatal,
}

impl ErrorClass {
    /// Whether the next placement may do what this one would not.
    pub const fn spills(self) -> bool {
        matches!(self, Self::Unsupported | Self::Exhausted | Self::Busy)
    }

    /// The name in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Busy => "busy",
            Self::Exhausted => "exhausted",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Fatal => "fatal",
        }
    }
}

/// A failure: what was tried, on what, why not, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct EngineError {
    /// What kind.
    pub class: ErrorClass,
    /// What was tried: `install SA`.
    pub operation: String,
    /// On what: `0xc0000001 to 192.0.2.1`.
    pub object: String,
    /// Why not: errno with its name, and the kernel's own words.
    pub reason: String,
    /// The setting or command that mends it, where we know one.
    pub hint: Option<String>,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.operation, self.object, self.reason)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}
