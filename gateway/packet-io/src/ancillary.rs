//! What the kernel says beside a packet: its receive time and the socket's losses.
//!
//! Control messages are read as bytes; a message cut short or of another kind is passed over,
//! never an error, because the packet itself is good.

const HEADER: usize = size_of::<libc::cmsghdr>();
const WORD: usize = size_of::<usize>();

/// Room for `SCM_TIMESTAMPNS` (a `timespec`) and `SO_RXQ_OVFL` (a `u32`).
pub(crate) const CONTROL_LENGTH: usize = space(size_of::<libc::timespec>()) + space(4);

const _: () = assert!(HEADER == aligned(HEADER), "payloads follow the header without a gap");
const _: () = assert!(size_of::<libc::timespec>() == 16, "two 64-bit words: seconds, nanoseconds");

/// The two facts that [`Received`](crate::Received) carries; zero where the kernel said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ancillary {
    /// See [`Received::timestamp_ns`](crate::Received::timestamp_ns).
    pub(crate) timestamp_ns: u64,
    /// See [`Received::kernel_drops`](crate::Received::kernel_drops).
    pub(crate) kernel_drops: u32,
}

impl Ancillary {
    /// Walks the control messages in `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        for message in messages(bytes).filter(|message| message.level == libc::SOL_SOCKET) {
            found.take(message.kind, message.data);
        }
        found
    }

    fn take(&mut self, kind: i32, data: &[u8]) {
        match (kind, data.len()) {
            (libc::SCM_TIMESTAMPNS, 16) => {
                let seconds = u64::from_ne_bytes(first(data));
                let nanoseconds = u64::from_ne_bytes(first(&data[8..]));
                self.timestamp_ns = seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds);
            }
            (libc::SO_RXQ_OVFL, 4) => self.kernel_drops = u32::from_ne_bytes(first(data)),
            _ => {}
        }
    }
}

/// One control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The protocol that says it, as in setsockopt(2).
    pub(crate) level: i32,
    /// What it says.
    pub(crate) kind: i32,
    /// How.
    pub(crate) data: &'a [u8],
}

/// The control messages in `bytes`, up to the first that is cut short.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let (length, level, kind) = header(bytes)?;
        let data = bytes.get(HEADER..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Message { level, kind, data })
    })
}

/// Appends a control message to what the first `used` bytes of `room` hold: how many count now.
/// The room is large enough: callers size it by [`space`].
pub(crate) fn append(room: &mut [u8], used: usize, level: i32, kind: i32, data: &[u8]) -> usize {
    let length = HEADER + data.len();
    let message = &mut room[used..used + aligned(length)];
    message[..WORD].copy_from_slice(&length.to_ne_bytes());
    message[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    message[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    message[HEADER..length].copy_from_slice(data);
    message[length..].fill(0);
    used + aligned(length)
}

/// Bytes that a control message with `data` bytes takes.
pub(crate) const fn space(data: usize) -> usize {
    HEADER + aligned(data)
}

/// Length (header included), level and type of the control message at the start of `bytes`.
fn header(bytes: &[u8]) -> Option<(usize, i32, i32)> {
    if bytes.len() < HEADER {
        return None;
    }
    let length = usize::from_ne_bytes(first(bytes));
    let level = i32::from_ne_bytes(first(&bytes[WORD..]));
    let kind = i32::from_ne_bytes(first(&bytes[WORD + 4..]));
    (length >= HEADER).then_some((length, level, kind))
}

/// The first `N` bytes; the callers have checked that they are there.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

const fn aligned(length: usize) -> usize {
    (length.saturating_add(WORD - 1)) & !(WORD - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, data: &[u8]) -> Vec<u8> {
        let mut out = (HEADER + data.len()).to_ne_bytes().to_vec();
        out.extend(libc::SOL_SOCKET.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(data);
        out.resize(aligned(out.len()), 0);
        out
    }

    fn timestamp() -> Vec<u8> {
        let mut data = 7_u64.to_ne_bytes().to_vec();
        data.extend(5_u64.to_ne_bytes());
        message(libc::SCM_TIMESTAMPNS, &data)
    }

    #[test]
    fn what_is_appended_is_read_again() {
        let mut room = [0xff; space(2) + space(4)];
        let used = append(&mut room, 0, 17, 103, &[1, 2]);
        let used = append(&mut room, used, 41, 67, &[3, 4, 5, 6]);
        assert_eq!(used, room.len());
        let read: Vec<_> = messages(&room).collect();
        assert_eq!(read[0], Message { level: 17, kind: 103, data: &[1, 2] });
        assert_eq!(read[1], Message { level: 41, kind: 67, data: &[3, 4, 5, 6] });
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn both_messages_fit_the_room_and_are_read_in_either_order() {
        let expected = Ancillary { timestamp_ns: 7_000_000_005, kernel_drops: 3 };
        let drops = message(libc::SO_RXQ_OVFL, &3_u32.to_ne_bytes());
        let forward = [timestamp(), drops.clone()].concat();
        assert_eq!(forward.len(), CONTROL_LENGTH);
        assert_eq!(Ancillary::parse(&forward), expected);
        assert_eq!(Ancillary::parse(&[drops, timestamp()].concat()), expected);
    }

    #[test]
    fn strange_messages_are_passed_over_and_cut_ones_end_the_walk() {
        let strange = [message(99, &[1; 5]), timestamp()].concat();
        assert_eq!(Ancillary::parse(&strange).timestamp_ns, 7_000_000_005);
        for cut in 0..timestamp().len() {
            assert_eq!(Ancillary::parse(&timestamp()[..cut]), Ancillary::default());
        }
        let mut endless = timestamp();
        endless[..WORD].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(Ancillary::parse(&endless), Ancillary::default());
        assert_eq!(Ancillary::parse(&[0; 64]), Ancillary::default());
    }
}
