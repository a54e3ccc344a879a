//! Netlink and XFRM messages as bytes: what the kernel's headers lay down, and nothing else.
//!
//! Encoding is field by field in the order of the kernel's structs, padding included, and each
//! struct's length is asserted in the tests beside it. Decoding is total: any bytes at all give a
//! value or `None`, never a panic, for a kernel newer than these lines may send more or less.

pub(crate) mod link;
pub(crate) mod netlink;
pub(crate) mod numbers;
pub(crate) mod policy;
pub(crate) mod request;
pub(crate) mod sa;
pub(crate) mod selector;
pub(crate) mod state;

/// Reads `datagram` in every way that this crate reads one: the body of the fuzz target.
pub(crate) fn read_in_every_way(datagram: &[u8]) -> usize {
    let read = |message: netlink::Message<'_>| {
        [
            message.outcome().is_err(),
            state::State::decode(message.payload).is_some(),
            state::State::decode_expiry(message.payload).is_some(),
            state::Identity::decode(message.payload).is_some(),
            policy::Policy::decode(message.payload).is_some(),
            link::Link::decode(message.payload).is_some(),
        ]
    };
    let read_as_message = netlink::messages(datagram).map(read);
    // A bare payload reaches the decoders of structs without a header that fits.
    let bare = netlink::Message { kind: 0, flags: 0, sequence: 0, port: 0, payload: datagram };
    read_as_message.chain([read(bare)]).flatten().filter(|read| *read).count()
}
