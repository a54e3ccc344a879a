//! The kernel's numbers, under its own names: `linux/netlink.h`, `linux/xfrm.h`,
//! `linux/rtnetlink.h`, `linux/if_link.h` and `linux/udp.h` of
//! <https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/include/uapi/linux>.

/// Message types.
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;

pub(crate) const XFRM_MSG_NEWSA: u16 = 0x10;
pub(crate) const XFRM_MSG_DELSA: u16 = 0x11;
pub(crate) const XFRM_MSG_GETSA: u16 = 0x12;
pub(crate) const XFRM_MSG_NEWPOLICY: u16 = 0x13;
pub(crate) const XFRM_MSG_DELPOLICY: u16 = 0x14;
pub(crate) const XFRM_MSG_GETPOLICY: u16 = 0x15;
pub(crate) const XFRM_MSG_ALLOCSPI: u16 = 0x16;
pub(crate) const XFRM_MSG_EXPIRE: u16 = 0x18;
pub(crate) const XFRM_MSG_UPDPOLICY: u16 = 0x19;
pub(crate) const XFRM_MSG_UPDSA: u16 = 0x1a;
pub(crate) const XFRM_MSG_FLUSHSA: u16 = 0x1c;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;

/// Header flags.
pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_CAPPED: u16 = 0x100;
pub(crate) const NLM_F_ACK_TLVS: u16 = 0x200;

/// Attribute of an error: what the kernel says about it.
pub(crate) const NLMSGERR_ATTR_MSG: u16 = 1;
/// The two high bits of an attribute's type are flags.
pub(crate) const NLA_TYPE_MASK: u16 = 0x3fff;

pub(crate) const XFRMA_ALG_AUTH: u16 = 1;
pub(crate) const XFRMA_ALG_CRYPT: u16 = 2;
pub(crate) const XFRMA_ENCAP: u16 = 4;
pub(crate) const XFRMA_TMPL: u16 = 5;
pub(crate) const XFRMA_REPLAY_VAL: u16 = 10;
pub(crate) const XFRMA_ALG_AEAD: u16 = 18;
pub(crate) const XFRMA_ALG_AUTH_TRUNC: u16 = 20;
pub(crate) const XFRMA_REPLAY_ESN_VAL: u16 = 23;
pub(crate) const XFRMA_PROTO: u16 = 25;
pub(crate) const XFRMA_OFFLOAD_DEV: u16 = 28;
/// Since Linux 6.10; older kernels pass over it.
pub(crate) const XFRMA_SA_DIR: u16 = 33;

/// Multicast groups, as bits of `nl_groups`: XFRMNLGRP_EXPIRE (2) and XFRMNLGRP_SA (3).
pub(crate) const GROUPS_OF_SAS: u32 = 0b110;
/// RTNLGRP_LINK (1).
pub(crate) const GROUP_OF_LINKS: u32 = 0b1;

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const IPPROTO_ESP: u8 = 50;

pub(crate) const XFRM_MODE_TRANSPORT: u8 = 0;
pub(crate) const XFRM_MODE_TUNNEL: u8 = 1;
pub(crate) const XFRM_STATE_ESN: u8 = 128;
/// No limit of bytes or packets. Limits of time say the same with 0.
pub(crate) const XFRM_INF: u64 = u64::MAX;
pub(crate) const XFRM_SA_DIR_IN: u8 = 1;
pub(crate) const XFRM_SA_DIR_OUT: u8 = 2;
pub(crate) const XFRM_OFFLOAD_INBOUND: u8 = 2;
pub(crate) const XFRM_OFFLOAD_PACKET: u8 = 4;
/// Largest replay window in packets.
pub(crate) const XFRMA_REPLAY_ESN_MAX: u32 = 4096;

pub(crate) const XFRM_POLICY_IN: u8 = 0;
pub(crate) const XFRM_POLICY_OUT: u8 = 1;
pub(crate) const XFRM_POLICY_FWD: u8 = 2;
pub(crate) const XFRM_POLICY_ALLOW: u8 = 0;
pub(crate) const XFRM_POLICY_BLOCK: u8 = 1;

pub(crate) const UDP_ENCAP_ESPINUDP: u16 = 2;

pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFF_UP: u32 = 1;
