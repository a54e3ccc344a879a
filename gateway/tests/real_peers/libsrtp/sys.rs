//! libsrtp 2's ABI: the structs and functions that one session needs, as srtp2/srtp.h declares
//! them. The layout has not changed since 2.0; the size assertion guards the copy made here.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::ptr;

/// srtp_err_status_t; 0 is success.
pub(super) type Status = c_int;

/// srtp_profile_t, as the IANA registry of SRTP protection profiles numbers them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) enum ProfileId {
    Aes128CmSha1_80 = 1,
    Aes128CmSha1_32 = 2,
    AeadAes128Gcm = 7,
    AeadAes256Gcm = 8,
}

/// srtp_ssrc_type_t: which streams a policy serves.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) enum Streams {
    AnyInbound = 2,
    AnyOutbound = 3,
}

/// An srtp_t: not shared between threads, freed on drop.
pub(super) struct Context(*mut c_void);

// SAFETY: a session is plain memory of its own without thread-local state; libsrtp only forbids
// two threads at one time, and every use takes `&mut self`.
unsafe impl Send for Context {}

/// srtp_ssrc_t
#[repr(C)]
struct Ssrc {
    streams: Streams,
    value: c_uint,
}

/// srtp_crypto_policy_t
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CryptoPolicy {
    cipher_type: u32,
    cipher_key_len: c_int,
    auth_type: u32,
    auth_key_len: c_int,
    auth_tag_len: c_int,
    sec_serv: c_uint,
}

/// srtp_policy_t
#[repr(C)]
struct Policy {
    ssrc: Ssrc,
    rtp: CryptoPolicy,
    rtcp: CryptoPolicy,
    key: *const u8,
    keys: *mut *mut c_void,
    num_master_keys: c_ulong,
    deprecated_ekt: *mut c_void,
    window_size: c_ulong,
    allow_repeat_tx: c_int,
    enc_xtn_hdr: *mut c_int,
    enc_xtn_hdr_count: c_int,
    next: *mut Policy,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Policy>() == 8 + 24 + 24 + 8 * 9);

#[link(name = "srtp2")]
unsafe extern "C" {
    fn srtp_init() -> Status;
    fn srtp_crypto_policy_set_from_profile_for_rtp(
        policy: *mut CryptoPolicy,
        profile: ProfileId,
    ) -> Status;
    fn srtp_crypto_policy_set_from_profile_for_rtcp(
        policy: *mut CryptoPolicy,
        profile: ProfileId,
    ) -> Status;
    fn srtp_create(session: *mut *mut c_void, policy: *const Policy) -> Status;
    fn srtp_dealloc(session: *mut c_void) -> Status;
    fn srtp_protect(session: *mut c_void, packet: *mut c_void, len: *mut c_int) -> Status;
    fn srtp_unprotect(session: *mut c_void, packet: *mut c_void, len: *mut c_int) -> Status;
    fn srtp_protect_rtcp(session: *mut c_void, packet: *mut c_void, len: *mut c_int) -> Status;
    fn srtp_unprotect_rtcp(session: *mut c_void, packet: *mut c_void, len: *mut c_int) -> Status;
}

/// What is done to a packet.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Protect,
    Unprotect,
    ProtectRtcp,
    UnprotectRtcp,
}

/// Sets the library up; call once, before any other function.
pub(super) fn init() -> Status {
    // SAFETY: takes nothing; its one requirement, not to race with itself or another function of
    // the library, is met by the `OnceLock` around the only call.
    unsafe { srtp_init() }
}

impl Context {
    /// A session under one master key; `key` is the key and its salt, as long as the profile says.
    pub(super) fn new(profile: ProfileId, streams: Streams, key: &[u8]) -> Result<Self, Status> {
        let policy = Policy {
            ssrc: Ssrc { streams, value: 0 },
            rtp: policy_for_rtp(profile)?,
            rtcp: policy_for_rtcp(profile)?,
            key: key.as_ptr(),
            keys: ptr::null_mut(),
            num_master_keys: 0,
            deprecated_ekt: ptr::null_mut(),
            window_size: 1024,
            allow_repeat_tx: 0,
            enc_xtn_hdr: ptr::null_mut(),
            enc_xtn_hdr_count: 0,
            next: ptr::null_mut(),
        };
        let mut session = ptr::null_mut();
        // SAFETY: `session` is writable and `policy` readable for the call; `policy.key` points
        // to the profile's key and salt length, which `libsrtp::Session::new` has checked, and
        // the library copies it; `next` is null, which ends the list.
        let status = unsafe { srtp_create(&raw mut session, &raw const policy) };
        if status == 0 { Ok(Self(session)) } else { Err(status) }
    }

    /// Works on the first `len` bytes of `buffer` in place; returns how many there are then.
    /// The buffer must have [`TRAILER`] bytes beyond `len`.
    pub(super) fn run(
        &mut self,
        operation: Operation,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<usize, Status> {
        assert!(len + TRAILER <= buffer.len(), "libsrtp writes up to {TRAILER} bytes past {len}");
        let mut length = c_int::try_from(len).map_err(|_| STATUS_BAD_PARAM)?;
        let function = match operation {
            Operation::Protect => srtp_protect,
            Operation::Unprotect => srtp_unprotect,
            Operation::ProtectRtcp => srtp_protect_rtcp,
            Operation::UnprotectRtcp => srtp_unprotect_rtcp,
        };
        // SAFETY: `self.0` came from srtp_create and is freed only on drop; `&mut self` keeps
        // other uses away. The packet is `len` readable bytes with `TRAILER` writable ones after
        // them (asserted above). libsrtp asks for 32-bit alignment, which `Aligned` buffers of
        // the caller have; x86 and Arm64 would also do without.
        let status = unsafe { function(self.0, buffer.as_mut_ptr().cast(), &raw mut length) };
        if status != 0 {
            return Err(status);
        }
        usize::try_from(length).map_err(|_| STATUS_BAD_PARAM)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from srtp_create, is freed nowhere else and not used after.
        unsafe { srtp_dealloc(self.0) };
    }
}

fn policy_for_rtp(profile: ProfileId) -> Result<CryptoPolicy, Status> {
    let mut policy = CryptoPolicy::default();
    // SAFETY: `policy` is writable for the call, which only fills it in.
    let status = unsafe { srtp_crypto_policy_set_from_profile_for_rtp(&raw mut policy, profile) };
    if status == 0 { Ok(policy) } else { Err(status) }
}

fn policy_for_rtcp(profile: ProfileId) -> Result<CryptoPolicy, Status> {
    let mut policy = CryptoPolicy::default();
    // SAFETY: `policy` is writable for the call, which only fills it in.
    let status = unsafe { srtp_crypto_policy_set_from_profile_for_rtcp(&raw mut policy, profile) };
    if status == 0 { Ok(policy) } else { Err(status) }
}

/// SRTP_MAX_TRAILER_LEN (tag 16, MKI 128) and the 4 bytes of SRTCP's index.
pub(super) const TRAILER: usize = 16 + 128 + 4;

/// srtp_err_status_bad_param
const STATUS_BAD_PARAM: Status = 2;
