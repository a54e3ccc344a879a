//! The admin API's types: what `gateway` answers and `keymgr` and `loadgen` ask. No I/O.
//!
//! JSON over HTTP on a Unix socket. Every response carries [`VERSION_HEADER`]; a request that
//! carries it with another number is refused, so that neither side misreads the other.
#![forbid(unsafe_code)]

mod call;
mod error;
mod event;
mod status;

pub use call::{CallDetail, CallList, CallSummary, Flow, ResidenceSummary, StreamDetail};
pub use error::{ApiError, ErrorCode};
pub use event::{Event, EventKind, EventList};
pub use status::{InterfaceStatus, Lifecycle, Status, WorkerStatus};

/// Checked by both sides; raised when a change would break the other one.
pub const API_VERSION: u32 = 1;

/// The HTTP header that carries [`API_VERSION`].
pub const VERSION_HEADER: &str = "postern-api-version";

/// Where things are.
pub mod path {
    /// [`Status`](crate::Status).
    pub const STATUS: &str = "/v1/status";
    /// [`CallList`](crate::CallList); `?limit=N`.
    pub const CALLS: &str = "/v1/calls";
    /// [`CallDetail`](crate::CallDetail): this, a slash and the percent-encoded call-id.
    pub const CALL: &str = "/v1/calls/{id}";
    /// [`EventList`](crate::EventList); `?after=SEQ` leaves out what is known, and
    /// `&wait=SECONDS` (at most 60) waits for something new where there is nothing yet.
    pub const EVENTS: &str = "/v1/events";
}
