//! The C ABI of libsrtp 2.x: <https://github.com/cisco/libsrtp/blob/v2.5.0/include/srtp.h>.
//!
//! Create, protect, unprotect, dispose of: no more than the contest needs. `build.rs` links the
//! installed library (Debian: `libsrtp2-dev`).
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uchar, c_uint, c_ulong, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use crate::contest::packets::{HEADER_LEN, Packet, ROOM};

/// A libsrtp session for one direction and any SSRC.
pub(super) struct Session {
    context: NonNull<Context>,
}

/// Which packets a session is for; the values are `srtp_ssrc_type_t`'s for "any SSRC".
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Direction {
    Inbound = 2,
    Outbound = 3,
}

/// A cipher suite by libsrtp's function that describes it.
#[derive(Clone, Copy)]
pub(super) enum Suite {
    AesCm128Sha1_80,
    AesCm128Sha1_32,
    AesCm256Sha1_80,
    AesGcm128,
    AesGcm256,
}

/// The status that a call returned instead of `srtp_err_status_ok`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status(#[expect(dead_code, reason = "for Debug")] c_uint);

impl Session {
    /// A session under `key`: master key and salt, of the suite's length.
    pub(super) fn new(
        direction: Direction,
        suite: Suite,
        window: usize,
        key: &mut [u8],
    ) -> Result<Self, Status> {
        static INIT: OnceLock<c_uint> = OnceLock::new();
        // SAFETY: it has no arguments, and `OnceLock` has it run once, before any other call.
        ok(*INIT.get_or_init(|| unsafe { srtp_init() }))?;
        let policy = Policy::new(direction, suite, window, key);
        let key_len = policy.rtp.cipher_key_len as usize;
        assert_eq!(key.len(), key_len, "bytes of key and salt");
        let mut context = ptr::null_mut();
        // SAFETY: `context` is a valid place for the result; `policy` and the key that it points
        // to, of the length that it states, live past the call, and libsrtp copies the key.
        ok(unsafe { srtp_create(&mut context, &policy) })?;
        Ok(Self { context: NonNull::new(context).ok_or(Status(FAIL))? })
    }

    /// Protects an RTP packet in place.
    pub(super) fn protect(&mut self, packet: &mut Packet) -> Result<(), Status> {
        assert!((HEADER_LEN..=ROOM - MAX_TRAILER_LEN).contains(&packet.len));
        let mut len = packet.len as c_int;
        let bytes = packet.bytes.as_mut_ptr().cast();
        // SAFETY: the context is this session's and live; `bytes` is 64-byte aligned (`Packet`'s
        // first field) and has `len` bytes of packet with SRTP_MAX_TRAILER_LEN behind them.
        ok(unsafe { srtp_protect(self.context.as_ptr(), bytes, &mut len) })?;
        packet.len = len as usize;
        Ok(())
    }

    /// Opens an SRTP packet in place.
    pub(super) fn unprotect(&mut self, packet: &mut Packet) -> Result<(), Status> {
        assert!((HEADER_LEN..=ROOM).contains(&packet.len));
        let mut len = packet.len as c_int;
        let bytes = packet.bytes.as_mut_ptr().cast();
        // SAFETY: the context is this session's and live; `bytes` is aligned as above and has
        // `len` bytes of packet, which opening only shortens.
        ok(unsafe { srtp_unprotect(self.context.as_ptr(), bytes, &mut len) })?;
        packet.len = len as usize;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the context came from `srtp_create`, and nothing uses it after its owner.
        let _ = unsafe { srtp_dealloc(self.context.as_ptr()) };
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
    keys: *mut *mut c_void,
    num_master_keys: c_ulong,
    deprecated_ekt: *mut c_void,
    window_size: c_ulong,
    allow_repeat_tx: c_int,
    enc_xtn_hdr: *mut c_int,
    enc_xtn_hdr_count: c_int,
    next: *mut Policy,
}

impl Policy {
    fn new(direction: Direction, suite: Suite, window: usize, key: &mut [u8]) -> Self {
        Self {
            ssrc_type: direction as c_uint,
            ssrc_value: 0,
            rtp: CryptoPolicy::of(suite),
            rtcp: CryptoPolicy::of(suite),
            key: key.as_mut_ptr(),
            keys: ptr::null_mut(),
            num_master_keys: 0,
            deprecated_ekt: ptr::null_mut(),
            window_size: window as c_ulong,
            allow_repeat_tx: 0,
            enc_xtn_hdr: ptr::null_mut(),
            enc_xtn_hdr_count: 0,
            next: ptr::null_mut(),
        }
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

impl CryptoPolicy {
    fn of(suite: Suite) -> Self {
        let mut policy = Self::default();
        let describe: Describe = match suite {
            Suite::AesCm128Sha1_80 => srtp_crypto_policy_set_rtp_default,
            Suite::AesCm128Sha1_32 => srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32,
            Suite::AesCm256Sha1_80 => srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80,
            Suite::AesGcm128 => srtp_crypto_policy_set_aes_gcm_128_16_auth,
            Suite::AesGcm256 => srtp_crypto_policy_set_aes_gcm_256_16_auth,
        };
        // SAFETY: each of these functions fills the valid structure it is given.
        unsafe { describe(&mut policy) };
        policy
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<CryptoPolicy>() == 24);
    assert!(size_of::<Policy>() == 128);
};

/// `srtp_err_status_fail`.
const FAIL: c_uint = 1;
/// `SRTP_MAX_TRAILER_LEN`: a tag and an MKI.
const MAX_TRAILER_LEN: usize = 16 + 128;

type Describe = unsafe extern "C" fn(policy: *mut CryptoPolicy);

unsafe extern "C" {
    fn srtp_init() -> c_uint;
    fn srtp_create(session: *mut *mut Context, policy: *const Policy) -> c_uint;
    fn srtp_dealloc(session: *mut Context) -> c_uint;
    fn srtp_crypto_policy_set_rtp_default(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_128_16_auth(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_256_16_auth(policy: *mut CryptoPolicy);
    fn srtp_protect(session: *mut Context, packet: *mut c_void, len: *mut c_int) -> c_uint;
    fn srtp_unprotect(session: *mut Context, packet: *mut c_void, len: *mut c_int) -> c_uint;
}
