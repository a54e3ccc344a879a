//! Bytes from anyone, as what the kernel says: messages, errors, SAs, policies and devices are
//! read or not, without a panic and without a loop.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    crypto_offload_xfrm::read_any_datagram(datagram);
});
