//! Network devices: asking for them, and being told of them (`linux/rtnetlink.h`).

use super::{
    netlink::{Fields, attribute, text_of},
    numbers::{IFF_UP, IFLA_IFNAME, NLM_F_ACK, NLM_F_DUMP, RTM_GETLINK},
    request::Request,
};

/// A network device, as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
}

impl Link {
    /// From RTM_NEWLINK or RTM_DELLINK.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        fields.take(4)?; // family, padding, type
        let index = fields.u32()?;
        let flags = fields.u32()?;
        fields.take(4)?; // which flags changed
        let name = text_of(attribute(fields.0, IFLA_IFNAME)?);
        Some(Self { index, name, up: flags & IFF_UP != 0 })
    }
}

/// Asks for every device.
pub(crate) fn all() -> Request {
    let mut request = Request::new(RTM_GETLINK, NLM_F_DUMP);
    request.zeros(INFO_LEN);
    request
}

/// Asks for the device of that name.
pub(crate) fn named(name: &str) -> Request {
    let mut request = Request::new(RTM_GETLINK, NLM_F_ACK);
    request.zeros(INFO_LEN).attribute(IFLA_IFNAME, |request| {
        request.bytes(name.as_bytes()).u8(0);
    });
    request
}

/// `struct ifinfomsg`.
const INFO_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_back_as_it_was_written() {
        let mut request = Request::new(16, 0);
        request.zeros(4).u32(7).u32(IFF_UP).u32(u32::MAX).attribute(IFLA_IFNAME, |request| {
            request.bytes(b"eth0\0");
        });
        let bytes = request.finish(0, 0);
        let link = Link::decode(&bytes[16..]);
        assert_eq!(link, Some(Link { index: 7, name: "eth0".to_owned(), up: true }));
        assert_eq!(Link::decode(&bytes[16..30]), None);
    }

    #[test]
    fn a_device_is_asked_for_by_name() {
        let bytes = named("eth0").finish(1, 0);
        assert_eq!(bytes.len(), 16 + INFO_LEN + 4 + 8);
        assert_eq!(&bytes[16 + INFO_LEN + 4..], b"eth0\0\0\0\0");
    }
}
