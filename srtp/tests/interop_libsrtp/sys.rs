//! The C ABI of libsrtp 2.x: <https://github.com/cisco/libsrtp/blob/v2.5.0/include/srtp.h>.
//!
//! Only what an interop test needs: create, protect, unprotect, dispose of. The test links the
//! installed library (Debian: `libsrtp2-dev`).
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_uchar, c_uint, c_ulong, c_void},
    ptr::{self, NonNull},
    sync::OnceLock,
};

/// A libsrtp session for one direction.
pub(crate) struct Session {
    context: NonNull<Context>,
    use_mki: c_uint,
}

/// Which packets a session is for; the values are `srtp_ssrc_type_t`'s for "any SSRC".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Direction {
    Inbound = 2,
    Outbound = 3,
}

/// The status that a call returned instead of `srtp_err_status_ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(c_uint);

/// A packet with the alignment and the tailroom that libsrtp asks for.
#[repr(align(8))]
pub(crate) struct Packet {
    bytes: [u8; CAPACITY],
    len: c_int,
}

impl Packet {
    /// A copy of `bytes`, which must leave the tailroom.
    pub(crate) fn copy_from(bytes: &[u8]) -> Self {
        assert!(bytes.len() + MAX_TRAILER_LEN <= CAPACITY, "{} bytes of packet", bytes.len());
        let mut packet = Self { bytes: [0; CAPACITY], len: bytes.len() as c_int };
        packet.bytes[..bytes.len()].copy_from_slice(bytes);
        packet
    }

    /// The packet as it is now.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

impl Session {
    /// A session for any SSRC under `key` (key and salt) and profile number `profile`
    /// (RFC 5764 section 4.1.2, RFC 7714 section 14.2). The key's length must be the profile's.
    pub(crate) fn new(
        direction: Direction,
        profile: c_uint,
        key: &[u8],
        mki: &[u8],
    ) -> Result<Self, Status> {
        static INIT: OnceLock<Result<(), Status>> = OnceLock::new();
        // SAFETY: it has no arguments, and `OnceLock` has it run once, before any other call.
        (*INIT.get_or_init(|| ok(unsafe { srtp_init() })))?;

        let (mut key, mut mki) = (key.to_vec(), mki.to_vec());
        let use_mki = c_uint::from(!mki.is_empty());
        let mki_size = mki.len() as c_uint;
        let mut master = MasterKey { key: key.as_mut_ptr(), mki_id: mki.as_mut_ptr(), mki_size };
        let mut masters = [&raw mut master];
        let policy = Policy::new(direction, profile, &mut masters)?;
        let mut context = ptr::null_mut();
        // SAFETY: `context` is a valid place for the result. `policy` and all it points to
        // (`masters`, `master`, `key`, `mki`) live past the call, and libsrtp copies key and
        // MKI: it keeps no pointer of ours.
        ok(unsafe { srtp_create(&mut context, &policy) })?;
        let context = NonNull::new(context).ok_or(Status(FAIL))?;
        Ok(Self { context, use_mki })
    }

    /// Protects an RTP packet in place.
    pub(crate) fn protect_rtp(&mut self, packet: &mut Packet) -> Result<(), Status> {
        let (bytes, len) = (packet.bytes.as_mut_ptr().cast(), &raw mut packet.len);
        // SAFETY: the context is this session's and live; `bytes` is aligned and has `len` bytes
        // of packet with the tailroom behind them, as `Packet` guarantees; the one key is key 0.
        ok(unsafe { srtp_protect_mki(self.context.as_ptr(), bytes, len, self.use_mki, 0) })
    }

    /// Protects an RTCP packet in place.
    pub(crate) fn protect_rtcp(&mut self, packet: &mut Packet) -> Result<(), Status> {
        let (bytes, len) = (packet.bytes.as_mut_ptr().cast(), &raw mut packet.len);
        // SAFETY: as in `protect_rtp`.
        ok(unsafe { srtp_protect_rtcp_mki(self.context.as_ptr(), bytes, len, self.use_mki, 0) })
    }

    /// Opens an SRTP packet in place.
    pub(crate) fn unprotect_rtp(&mut self, packet: &mut Packet) -> Result<(), Status> {
        let (bytes, len) = (packet.bytes.as_mut_ptr().cast(), &raw mut packet.len);
        // SAFETY: the context is this session's and live; `bytes` is aligned and has `len` bytes
        // of packet, as `Packet` guarantees, and opening only shortens it.
        ok(unsafe { srtp_unprotect_mki(self.context.as_ptr(), bytes, len, self.use_mki) })
    }

    /// Opens an SRTCP packet in place.
    pub(crate) fn unprotect_rtcp(&mut self, packet: &mut Packet) -> Result<(), Status> {
        let (bytes, len) = (packet.bytes.as_mut_ptr().cast(), &raw mut packet.len);
        // SAFETY: as in `unprotect_rtp`.
        ok(unsafe { srtp_unprotect_rtcp_mki(self.context.as_ptr(), bytes, len, self.use_mki) })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the context came from `srtp_create`, and nothing uses it after its owner.
        let status = ok(unsafe { srtp_dealloc(self.context.as_ptr()) });
        debug_assert_eq!(status, Ok(()));
    }
}

fn ok(status: c_uint) -> Result<(), Status> {
    if status == 0 { Ok(()) } else { Err(Status(status)) }
}

/// `srtp_ctx_t`, opaque.
#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

/// `srtp_policy_t`.
#[repr(C)]
struct Policy {
    ssrc_type: c_uint,
    ssrc_value: c_uint,
    rtp: CryptoPolicy,
    rtcp: CryptoPolicy,
    key: *mut c_uchar,
    keys: *mut *mut MasterKey,
    num_master_keys: c_ulong,
    deprecated_ekt: *mut c_void,
    window_size: c_ulong,
    allow_repeat_tx: c_int,
    enc_xtn_hdr: *mut c_int,
    enc_xtn_hdr_count: c_int,
    next: *mut Policy,
}

impl Policy {
    fn new(
        direction: Direction,
        profile: c_uint,
        masters: &mut [*mut MasterKey],
    ) -> Result<Self, Status> {
        let mut policy = Self {
            ssrc_type: direction as c_uint,
            ssrc_value: 0,
            rtp: CryptoPolicy::default(),
            rtcp: CryptoPolicy::default(),
            key: ptr::null_mut(),
            keys: masters.as_mut_ptr(),
            num_master_keys: masters.len() as c_ulong,
            deprecated_ekt: ptr::null_mut(),
            window_size: 1024,
            allow_repeat_tx: 0,
            enc_xtn_hdr: ptr::null_mut(),
            enc_xtn_hdr_count: 0,
            next: ptr::null_mut(),
        };
        // SAFETY: the policy to fill is valid; an unknown profile is answered with a status.
        ok(unsafe { srtp_crypto_policy_set_from_profile_for_rtp(&mut policy.rtp, profile) })?;
        // SAFETY: as above.
        ok(unsafe { srtp_crypto_policy_set_from_profile_for_rtcp(&mut policy.rtcp, profile) })?;
        Ok(policy)
    }
}

/// `srtp_crypto_policy_t`.
#[repr(C)]
#[derive(Default)]
struct CryptoPolicy {
    cipher_type: c_uint,
    cipher_key_len: c_int,
    auth_type: c_uint,
    auth_key_len: c_int,
    auth_tag_len: c_int,
    sec_serv: c_uint,
}

/// `srtp_master_key_t`.
#[repr(C)]
struct MasterKey {
    key: *mut c_uchar,
    mki_id: *mut c_uchar,
    mki_size: c_uint,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<CryptoPolicy>() == 24);
    assert!(size_of::<MasterKey>() == 24);
    assert!(size_of::<Policy>() == 128);
};

/// `srtp_err_status_fail`.
const FAIL: c_uint = 1;
/// A tag, an MKI and SRTCP's word: `SRTP_MAX_SRTCP_TRAILER_LEN`.
const MAX_TRAILER_LEN: usize = 16 + 128 + 4;
const CAPACITY: usize = 2048;

#[link(name = "srtp2")]
unsafe extern "C" {
    fn srtp_init() -> c_uint;
    fn srtp_create(session: *mut *mut Context, policy: *const Policy) -> c_uint;
    fn srtp_dealloc(session: *mut Context) -> c_uint;
    fn srtp_crypto_policy_set_from_profile_for_rtp(
        policy: *mut CryptoPolicy,
        profile: c_uint,
    ) -> c_uint;
    fn srtp_crypto_policy_set_from_profile_for_rtcp(
        policy: *mut CryptoPolicy,
        profile: c_uint,
    ) -> c_uint;
    fn srtp_protect_mki(
        session: *mut Context,
        packet: *mut c_void,
        len: *mut c_int,
        use_mki: c_uint,
        mki_index: c_uint,
    ) -> c_uint;
    fn srtp_unprotect_mki(
        session: *mut Context,
        packet: *mut c_void,
        len: *mut c_int,
        use_mki: c_uint,
    ) -> c_uint;
    fn srtp_protect_rtcp_mki(
        session: *mut Context,
        packet: *mut c_void,
        len: *mut c_int,
        use_mki: c_uint,
        mki_index: c_uint,
    ) -> c_uint;
    fn srtp_unprotect_rtcp_mki(
        session: *mut Context,
        packet: *mut c_void,
        len: *mut c_int,
        use_mki: c_uint,
    ) -> c_uint;
}
