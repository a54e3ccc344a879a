//! The admin API's types: what `gateway` answers and `keymgr` and `loadgen` ask. No I/O.
//!
//! JSON over HTTP, on a Unix socket or over mTLS. Every response carries [`VERSION_HEADER`]; a request that
//! carries it with another number is refused, so that neither side misreads the other.
#![forbid(unsafe_code)]

pub mod agent;
mod call;
mod error;
mod event;
mod exchange;
mod key;
mod rotation;
mod sa;
mod srtp;
mod status;
mod tls;

pub use call::{CallDetail, CallList, CallSummary, Flow, ResidenceSummary, StreamDetail};
pub use error::{ApiError, ErrorCode};
pub use event::{Event, EventKind, EventList};
pub use exchange::{
    AddSa, ExchangeFile, ExchangeIdentity, ExportRequest, ImportRequest, ManualKeys,
};
pub use key::{KeyOffer, KeyText};
pub use rotation::{
    Operation, OperationStarted, OperationState, PairProgress, PairRotationPlan, PairSelection,
    PairTerms, PeerAnswer, PeerOffer, PeerStep, PeerStepDone, PlannedStep, RotationLog,
    RotationPlan, RotationRecord, RotationRequest,
};
pub use sa::{
    EpochStatus, ForeignList, PairList, PairStatus, PlanRefusal, PlanReport, PlanStep, SaStatus,
};
pub use srtp::{
    SrtpAgentState, SrtpKeying, SrtpLeg, SrtpList, SrtpOwnKeys, SrtpPackets, SrtpRekeyReport,
    SrtpRekeyRequest, SrtpRekeyResult, SrtpRekeyed,
};
pub use status::{InterfaceStatus, Lifecycle, Status, WorkerStatus};
pub use tls::{
    TlsCertificate, TlsConnection, TlsKeyUpdateReport, TlsKeyUpdateRequest, TlsListenerState,
    TlsListenerStatus, TlsMode, TlsPlacementCount, TlsReloadReport, TlsReloadRequest,
    TlsReloadResult, TlsReloaded, TlsStatus, TlsTicketsReport, TlsTicketsRequest, TlsUpstream,
};

/// Checked by both sides; raised when a change would break the other one.
pub const API_VERSION: u32 = 2;

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
    /// GET: [`PairList`](crate::PairList), `?after=NAME&limit=N`. POST of an
    /// [`AddSa`](crate::AddSa) defines it, and with a peer or keys starts its first rotation.
    pub const SAS: &str = "/v1/sas";
    /// GET: [`PairStatus`](crate::PairStatus). DELETE removes it with its SAs.
    pub const SA: &str = "/v1/sas/{name}";
    /// [`ExchangeIdentity`](crate::ExchangeIdentity).
    pub const EXCHANGE: &str = "/v1/exchange";
    /// See [`ExportRequest`](crate::ExportRequest).
    pub const EXPORT: &str = "/v1/sas/{name}/export";
    /// See [`ImportRequest`](crate::ImportRequest).
    pub const IMPORT: &str = "/v1/sas/{name}/import";
    /// [`ForeignList`](crate::ForeignList).
    pub const FOREIGN_SAS: &str = "/v1/foreign-sas";
    /// GET: what the engines can do, as last found out. POST: asks them again.
    pub const CAPABILITIES: &str = "/v1/capabilities";
    /// POST of a [`SaPair`](crypto_offload::SaPair): [`PlanReport`](crate::PlanReport).
    pub const PLAN: &str = "/v1/plan";
    /// POST of a [`RotationRequest`](crate::RotationRequest); GET:
    /// [`RotationLog`](crate::RotationLog).
    pub const ROTATIONS: &str = "/v1/rotations";
    /// [`Operation`](crate::Operation); `?after=REVISION&wait=SECONDS` waits for a change.
    pub const OPERATION: &str = "/v1/operations/{id}";
    /// GET: [`TlsStatus`](crate::TlsStatus); `?connections=true` lists connections too, with
    /// `&listener=NAME`, `&after=ID` and `&limit=N` (1,000 at most).
    pub const TLS: &str = "/v1/tls";
    /// POST of a [`TlsReloadRequest`](crate::TlsReloadRequest):
    /// [`TlsReloadReport`](crate::TlsReloadReport).
    pub const TLS_RELOAD: &str = "/v1/tls/reload";
    /// POST of a [`TlsTicketsRequest`](crate::TlsTicketsRequest):
    /// [`TlsTicketsReport`](crate::TlsTicketsReport).
    pub const TLS_TICKETS: &str = "/v1/tls/tickets/rotate";
    /// POST of a [`TlsKeyUpdateRequest`](crate::TlsKeyUpdateRequest):
    /// [`TlsKeyUpdateReport`](crate::TlsKeyUpdateReport).
    pub const TLS_KEYUPDATE: &str = "/v1/tls/keyupdate";
    /// GET: [`SrtpList`](crate::SrtpList), `?call=CALL-ID` for one call's legs, `?after=` and
    /// `&limit=N` (50 calls at most) for all.
    pub const SRTP: &str = "/v1/srtp";
    /// POST of an [`SrtpRekeyRequest`](crate::SrtpRekeyRequest):
    /// [`SrtpRekeyReport`](crate::SrtpRekeyReport).
    pub const SRTP_REKEY: &str = "/v1/srtp/rekey";
    /// From gateway to gateway: `{step}` is `offer`, `switch`, `retire`, `renew` or `abort` (POST) or
    /// `status` (GET, [`PairStatus`](crate::PairStatus)).
    pub const PEER: &str = "/v1/peer/sas/{name}/epochs/{epoch}/{step}";
}
