//! The C ABI of libsrtp 2.x: <https://github.com/cisco/libsrtp/blob/v2.5.0/include/srtp.h>.
//!
//! Only what an interop test needs: create, protect, unprotect, the ROC, dispose of. The test
//! links the installed library (Debian: `libsrtp2-dev`).
#![allow(unsafe_code)]
#![allow(dead_code, reason = "two tests are compiled with this file, and neither uses all of it")]

use std::{
    ffi::{c_int, c_uchar, c_uint, c_ulong, c_void},
    ptr::{self, NonNull},
    sync::OnceLock,
};

use srtp::SessionParameters;

/// A libsrtp session for one direction.
pub(crate) struct Session {
    context: NonNull<Context>,
    use_mki: c_uint,
    /// The number of the master key that protects.
    key: c_uint,
}

/// Which packets a session is for: `srtp_ssrc_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Incoming ones of any SSRC.
    Inbound,
    /// Outgoing ones of any SSRC.
    Outbound,
    /// Those of one SSRC, whose ROC can be set before the first.
    Of(u32),
}

/// What libsrtp can do to packets, each by a function of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    AesCm128HmacSha1_80,
    AesCm128HmacSha1_32,
    AesCm192HmacSha1_80,
    AesCm192HmacSha1_32,
    AesCm256HmacSha1_80,
    AesCm256HmacSha1_32,
    AesGcm128,
    AesGcm256,
    NullHmacSha1_80,
    /// No function makes this one: the one above with a short tag.
    NullHmacSha1_32,
}

/// A master key with its salt behind it, and its MKI, if any.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) key: Vec<u8>,
    pub(crate) mki: Vec<u8>,
}

/// The status that a call returned instead of `srtp_err_status_ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(c_uint);

impl Status {
    pub(crate) const AUTH_FAIL: Self = Self(7);
    pub(crate) const REPLAY_FAIL: Self = Self(9);
    pub(crate) const REPLAY_OLD: Self = Self(10);
}

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
    /// A session under `keys`, at least one, each of the suite's length. They all have an MKI, or
    /// the only one has none.
    pub(crate) fn new(direction: Direction, suite: Suite, keys: &[Key]) -> Result<Self, Status> {
        Self::create(&[], direction, [suite.rtp(), suite.rtcp()], keys)
    }

    /// The same, in which the header extension elements with these ids are encrypted.
    pub(crate) fn encrypting(
        extensions: &[u8],
        direction: Direction,
        suite: Suite,
        keys: &[Key],
    ) -> Result<Self, Status> {
        Self::create(extensions, direction, [suite.rtp(), suite.rtcp()], keys)
    }

    /// The same without what `parameters` leave out.
    pub(crate) fn leaving_out(
        parameters: SessionParameters,
        direction: Direction,
        suite: Suite,
        keys: &[Key],
    ) -> Result<Self, Status> {
        let (mut rtp, mut rtcp) = (suite.rtp(), suite.rtcp());
        if parameters.unencrypted_rtp {
            rtp = rtp.unencrypted();
        }
        if parameters.unencrypted_rtcp {
            rtcp = rtcp.unencrypted();
        }
        if parameters.unauthenticated_rtp {
            rtp = rtp.unauthenticated();
        }
        Self::create(&[], direction, [rtp, rtcp], keys)
    }

    fn create(
        extensions: &[u8],
        direction: Direction,
        policies: [CryptoPolicy; 2],
        keys: &[Key],
    ) -> Result<Self, Status> {
        static INIT: OnceLock<Result<(), Status>> = OnceLock::new();
        // SAFETY: it has no arguments, and `OnceLock` has it run once, before any other call.
        (*INIT.get_or_init(|| ok(unsafe { srtp_init() })))?;

        let mut keys = keys.to_vec();
        let use_mki = c_uint::from(keys.iter().any(|key| !key.mki.is_empty()));
        let mut masters: Vec<_> = keys.iter_mut().map(MasterKey::new).collect();
        let mut masters: Vec<_> = masters.iter_mut().map(ptr::from_mut).collect();
        let mut extensions: Vec<_> = extensions.iter().copied().map(c_int::from).collect();
        let policy = Policy::new(direction, policies, &mut masters, &mut extensions);
        let mut context = ptr::null_mut();
        // SAFETY: `context` is a valid place for the result. `policy` and all it points to
        // (`masters`, what they point to, the bytes in `keys`, and `extensions`) live past the
        // call, and libsrtp copies keys, MKIs and ids: it keeps no pointer of ours.
        ok(unsafe { srtp_create(&mut context, &policy) })?;
        let context = NonNull::new(context).ok_or(Status(FAIL))?;
        Ok(Self { context, use_mki, key: 0 })
    }

    /// Protects under the key of this number from the next packet on.
    pub(crate) fn switch_to(&mut self, key: usize) {
        self.key = key as c_uint;
    }

    /// Sets the ROC of the next packet of `ssrc`, which the session must know.
    pub(crate) fn set_roc(&mut self, ssrc: u32, roc: u32) -> Result<(), Status> {
        // SAFETY: the context is this session's and live.
        ok(unsafe { srtp_set_stream_roc(self.context.as_ptr(), ssrc, roc) })
    }

    /// The ROC of `ssrc`, which the session must know.
    pub(crate) fn roc(&self, ssrc: u32) -> Result<u32, Status> {
        let mut roc = 0;
        // SAFETY: the context is this session's and live; `roc` is a valid place for the result.
        ok(unsafe { srtp_get_stream_roc(self.context.as_ptr(), ssrc, &mut roc) })?;
        Ok(roc)
    }

    /// Protects an RTP packet in place.
    pub(crate) fn protect_rtp(&mut self, packet: &mut Packet) -> Result<(), Status> {
        let (bytes, len) = (packet.bytes.as_mut_ptr().cast(), &raw mut packet.len);
        // SAFETY: the context is this session's and live; `bytes` is aligned and has `len` bytes
        // of packet with the tailroom behind them, as `Packet` guarantees; a number that no key
        // has is answered with a status.
        ok(unsafe { srtp_protect_mki(self.context.as_ptr(), bytes, len, self.use_mki, self.key) })
    }

    /// Protects an RTCP packet in place.
    pub(crate) fn protect_rtcp(&mut self, packet: &mut Packet) -> Result<(), Status> {
        let (bytes, len) = (packet.bytes.as_mut_ptr().cast(), &raw mut packet.len);
        let context = self.context.as_ptr();
        // SAFETY: as in `protect_rtp`.
        ok(unsafe { srtp_protect_rtcp_mki(context, bytes, len, self.use_mki, self.key) })
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

impl Suite {
    fn rtp(self) -> CryptoPolicy {
        match self {
            Self::AesCm128HmacSha1_32 => filled(srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32),
            Self::AesCm192HmacSha1_32 => filled(srtp_crypto_policy_set_aes_cm_192_hmac_sha1_32),
            Self::AesCm256HmacSha1_32 => filled(srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32),
            Self::NullHmacSha1_32 => CryptoPolicy { auth_tag_len: 4, ..self.rtcp() },
            _ => self.rtcp(),
        }
    }

    /// As for RTP but for the tag, which is long in every suite.
    fn rtcp(self) -> CryptoPolicy {
        filled(match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => {
                srtp_crypto_policy_set_rtcp_default
            }
            Self::AesCm192HmacSha1_80 | Self::AesCm192HmacSha1_32 => {
                srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80
            }
            Self::AesCm256HmacSha1_80 | Self::AesCm256HmacSha1_32 => {
                srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80
            }
            Self::AesGcm128 => srtp_crypto_policy_set_aes_gcm_128_16_auth,
            Self::AesGcm256 => srtp_crypto_policy_set_aes_gcm_256_16_auth,
            Self::NullHmacSha1_80 | Self::NullHmacSha1_32 => {
                srtp_crypto_policy_set_null_cipher_hmac_sha1_80
            }
        })
    }
}

/// The policy that `set` makes, one of the functions below that are only for that.
fn filled(set: PolicySetter) -> CryptoPolicy {
    let mut policy = CryptoPolicy::default();
    // SAFETY: every such function writes each field of the policy it is given, and no more; this
    // one is valid.
    unsafe { set(&mut policy) };
    policy
}

type PolicySetter = unsafe extern "C" fn(*mut CryptoPolicy);

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
        [rtp, rtcp]: [CryptoPolicy; 2],
        masters: &mut [*mut MasterKey],
        extensions: &mut [c_int],
    ) -> Self {
        let (ssrc_type, ssrc_value) = match direction {
            Direction::Of(ssrc) => (1, ssrc),
            Direction::Inbound => (2, 0),
            Direction::Outbound => (3, 0),
        };
        Self {
            ssrc_type,
            ssrc_value,
            rtp,
            rtcp,
            key: ptr::null_mut(),
            keys: masters.as_mut_ptr(),
            num_master_keys: masters.len() as c_ulong,
            deprecated_ekt: ptr::null_mut(),
            window_size: 1024,
            allow_repeat_tx: 0,
            enc_xtn_hdr: extensions.as_mut_ptr(),
            enc_xtn_hdr_count: extensions.len() as c_int,
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
    /// `srtp_sec_serv_t`, a set of bits.
    sec_serv: c_uint,
}

impl CryptoPolicy {
    fn unencrypted(self) -> Self {
        Self { sec_serv: self.sec_serv & !SEC_SERV_CONF, ..self }
    }

    /// The length of the tag matters besides the service: opening takes it off the packet anyway.
    fn unauthenticated(self) -> Self {
        let sec_serv = self.sec_serv & !SEC_SERV_AUTH;
        Self { auth_type: NULL_AUTH, auth_key_len: 0, auth_tag_len: 0, sec_serv, ..self }
    }
}

/// `srtp_master_key_t`.
#[repr(C)]
struct MasterKey {
    key: *mut c_uchar,
    mki_id: *mut c_uchar,
    mki_size: c_uint,
}

impl MasterKey {
    fn new(key: &mut Key) -> Self {
        let (mki_id, mki_size) = (key.mki.as_mut_ptr(), key.mki.len() as c_uint);
        Self { key: key.key.as_mut_ptr(), mki_id, mki_size }
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<CryptoPolicy>() == 24);
    assert!(size_of::<MasterKey>() == 24);
    assert!(size_of::<Policy>() == 128);
};

/// `sec_serv_conf`.
const SEC_SERV_CONF: c_uint = 1;
/// `sec_serv_auth`.
const SEC_SERV_AUTH: c_uint = 2;
/// `SRTP_NULL_AUTH`.
const NULL_AUTH: c_uint = 0;
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
    fn srtp_set_stream_roc(session: *mut Context, ssrc: u32, roc: u32) -> c_uint;
    fn srtp_get_stream_roc(session: *mut Context, ssrc: u32, roc: *mut u32) -> c_uint;
    fn srtp_crypto_policy_set_rtcp_default(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_192_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_128_16_auth(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_256_16_auth(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_null_cipher_hmac_sha1_80(policy: *mut CryptoPolicy);
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
