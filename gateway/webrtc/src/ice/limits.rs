//! How long things take and how many there may be. What a party can make grow is bounded here.

use std::time::Duration;

/// Ta: at most one new check in this time (RFC 8445 section 14.2).
pub(super) const PACE: Duration = Duration::from_millis(50);

/// The least RTO of a check (RFC 8445 section 14.3).
pub(super) const LEAST_RTO: Duration = Duration::from_millis(500);

/// The most: 40 checks at a time have it, and more must not make a dead pair last for minutes.
pub(super) const MOST_RTO: Duration = Duration::from_secs(2);

/// Rc: how often a check is sent (RFC 8489 section 6.2.1).
pub(super) const REQUESTS: u8 = 7;

/// Rm: how many RTOs the last one waits (RFC 8489 section 6.2.1).
pub(super) const LAST_WAIT: u32 = 16;

/// How long a controlling agent that has a valid pair waits for a better one.
pub(super) const NOMINATION_DELAY: Duration = Duration::from_millis(200);

/// No failure earlier, since the party may still be about to check us (RFC 8863 section 4).
pub(super) const PATIENCE: Duration = Duration::from_millis(39_500);

/// The same while the party may still name candidates.
pub(super) const PATIENCE_TRICKLE: Duration = Duration::from_secs(79);

/// Between consent checks, times 0.8 to 1.2 (RFC 7675 section 5.1).
pub(super) const CONSENT_INTERVAL: Duration = Duration::from_secs(5);

/// Consent lasts so long after the last answer (RFC 7675 section 5.1).
pub(super) const CONSENT_LIFE: Duration = Duration::from_secs(30);

/// A nomination this much older than the newest no longer counts: the party, nominating
/// aggressively (RFC 5245 section 8.1.1.2), has moved on.
pub(super) const STALE_NOMINATION: Duration = Duration::from_secs(10);

/// After a restart concluded, what is still under way on the old path is taken for so long.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Remote candidates that signalling may name, for both components together.
pub const MAX_REMOTE_CANDIDATES: usize = 32;

/// Peer-reflexive ones beside them.
pub(super) const MAX_PEER_REFLEXIVE: usize = 16;

/// Pairs (RFC 8445 section 6.1.2.5).
pub(super) const MAX_PAIRS: usize = 100;

/// Checks remembered from before the party's credentials are known.
pub(super) const MAX_EARLY: usize = 16;

/// Datagrams that wait to be polled; further ones are lost, as on a network.
pub(super) const MAX_WAITING: usize = 128;

/// Most remote addresses in one [`Valid`](super::Output::Valid).
pub const MAX_VALID_SOURCES: usize = 4;

/// A longer datagram is no STUN message of ours.
pub(super) const MAX_MESSAGE: usize = 1500;
