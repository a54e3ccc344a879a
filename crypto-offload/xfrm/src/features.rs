//! A device's ethtool features, of which one matters: `esp-hw-offload`.
//!
//! It says that a driver knows crypto offload at all; nothing about packet offload, algorithms or
//! how many SAs there may be. Only probing tells those.

use std::{io, os::fd::BorrowedFd};

use crate::{sys, wire::netlink::text_of};

/// What a device says about `esp-hw-offload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EspOffload {
    On,
    Off,
}

/// Asks the device of that name, in the namespace of `socket`.
pub(crate) fn esp_offload(socket: BorrowedFd<'_>, device: &str) -> io::Result<EspOffload> {
    let count = sys::feature_count(socket, device)?;
    let names = sys::feature_names(socket, device, count)?;
    let active = sys::active_features(socket, device, count)?;
    Ok(read(&names, &active))
}

fn read(names: &[u8], active: &[u32]) -> EspOffload {
    let mut names = names.chunks_exact(sys::FEATURE_NAME_LEN);
    let on = names
        .position(|name| text_of(name) == "esp-hw-offload")
        .is_some_and(|at| active.get(at / 32).is_some_and(|block| block & 1 << (at % 32) != 0));
    if on { EspOffload::On } else { EspOffload::Off }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_found_by_its_name() {
        let mut names = vec![0; sys::FEATURE_NAME_LEN * 40];
        names[sys::FEATURE_NAME_LEN * 33..][..14].copy_from_slice(b"esp-hw-offload");
        assert_eq!(read(&names, &[0, 2]), EspOffload::On);
        assert_eq!(read(&names, &[u32::MAX, 1]), EspOffload::Off);
        assert_eq!(read(&names, &[]), EspOffload::Off);
        assert_eq!(read(&[], &[u32::MAX]), EspOffload::Off);
    }

    #[test]
    fn the_loopback_device_ciphers_nothing() {
        use std::os::fd::AsFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        // veth and lo have the bit nowhere; a device that is not there is an error.
        assert_eq!(esp_offload(socket.as_fd(), "lo").expect("ethtool answers"), EspOffload::Off);
        assert!(esp_offload(socket.as_fd(), "no such device").is_err());
    }
}
