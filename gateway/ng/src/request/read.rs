//! Reading values as loosely as peers write them: each answers whether there was something to
//! take.

use std::time::Duration;

use bytes::Bytes;

use super::Transport;
use crate::sdp::Protocol;
use crate::wire::Value;

/// Whether a value, or an element of one, was of use; the worst is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Taken {
    Yes,
    /// Known, but not done here.
    Unsupported,
    No,
}

/// Keeps the first mention.
pub(super) fn first(place: &mut Option<Bytes>, value: &Value) -> Taken {
    let Some(bytes) = value.bytes() else { return Taken::No };
    place.get_or_insert_with(|| bytes.clone());
    Taken::Yes
}

/// Keeps the last mention that makes sense.
pub(super) fn last<T>(place: &mut Option<T>, value: Option<T>) -> Taken {
    if value.is_none() {
        return Taken::No;
    }
    *place = value;
    Taken::Yes
}

/// Each string of a list, or the single one; the worst answer counts.
pub(super) fn each_bytes(value: &Value, mut element: impl FnMut(&Bytes) -> Taken) -> Taken {
    let mut worst = Taken::Yes;
    for item in value.items() {
        worst = worst.max(item.bytes().map_or(Taken::No, &mut element));
    }
    worst
}

/// The profile of a `transport-protocol` value or flag.
pub(super) fn transport(name: &Bytes) -> Option<Transport> {
    Some(Protocol::from_name(name)).filter(Protocol::is_rtp).map(Transport::To)
}

/// -1 keeps what the call has; more than a byte is no TOS.
pub(super) fn tos(value: &Value) -> Option<i16> {
    let tos = value.int()?.max(-1);
    i16::try_from(tos).ok().filter(|tos| *tos <= 255)
}

/// Seconds; negative asks for the default, which is what absence does.
pub(super) fn delete_delay(value: &Value) -> Option<Duration> {
    let seconds = u64::try_from(value.int()?).ok()?;
    Some(Duration::from_secs(seconds.min(MAX_DELETE_DELAY)))
}

/// One day: beyond that a typing error would keep ports for ever.
const MAX_DELETE_DELAY: u64 = 86_400;
