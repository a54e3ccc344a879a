//! AWS-LC's libssl, raw: what DTLS-SRTP needs of it and nothing else. Owned pointers that free
//! themselves, one thin function a call, and the callbacks that libssl makes into
//! [`Hooks`]. Nothing here decides anything.
//!
//! Every call of a [`Session`] takes `&mut self` and callbacks are made during such calls alone, on
//! the same thread; so the `&mut Hooks` of a callback is the only reference there is. libssl's error
//! queue and the clock are the thread's: each call sets both before it does anything.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_sys as ffi;

use super::hooks::{Hooks, Signature};

/// A private key (`EVP_PKEY`).
pub(crate) struct PrivateKey(NonNull<ffi::EVP_PKEY>);

// SAFETY: an EVP_PKEY that is no more changed may be used by several threads (evp.h, "EVP_PKEY").
unsafe impl Send for PrivateKey {}

impl PrivateKey {
    /// From DER: PKCS #8, or what RFC 5915 and RFC 8017 have.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let length = c_long::try_from(der.len()).ok()?;
        let mut at = der.as_ptr();
        // SAFETY: `at` points to `length` readable bytes of `der`, which outlives the call; a null
        // `out` is allowed and then only the result is an owner.
        let key = unsafe { ffi::d2i_AutoPrivateKey(ptr::null_mut(), &raw mut at, length) };
        clear_errors();
        NonNull::new(key).map(Self)
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        // SAFETY: the pointer is an owned reference, given back here once.
        unsafe { ffi::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

/// One certificate's DER (`CRYPTO_BUFFER`).
struct Buffer(NonNull<ffi::CRYPTO_BUFFER>);

impl Buffer {
    fn new(bytes: &[u8]) -> Option<Self> {
        // SAFETY: the bytes are readable for their length and copied; a null pool is allowed.
        let buffer =
            unsafe { ffi::CRYPTO_BUFFER_new(bytes.as_ptr(), bytes.len(), ptr::null_mut()) };
        NonNull::new(buffer).map(Self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the pointer is an owned reference, given back here once.
        unsafe { ffi::CRYPTO_BUFFER_free(self.0.as_ptr()) }
    }
}

/// What associations of one identity have in common (`SSL_CTX`): configured once, then shared.
pub(crate) struct Context(NonNull<ffi::SSL_CTX>);

// SAFETY: an SSL_CTX counts its references atomically and may be used by several threads once it is
// no more configured (ssl.h, "SSL contexts"); what configures takes `&mut self`.
unsafe impl Send for Context {}
// SAFETY: as above; `&Context` allows SSL_new alone, which ssl.h allows to several threads.
unsafe impl Sync for Context {}

/// How a context is set up; what libssl knows by name is in its words.
pub(crate) struct Configuration<'c> {
    pub(crate) ciphers: &'c CStr,
    pub(crate) groups: &'c CStr,
    /// What a peer may sign with, as TLS numbers it.
    pub(crate) verify: &'c [u16],
    /// What we sign with.
    pub(crate) sign: &'c [u16],
    /// Bytes of a peer's certificate message; libssl takes 16 KiB whatever this says.
    pub(crate) max_certificates: usize,
}

impl Context {
    /// DTLS 1.2 without sessions to resume and without X.509: a fingerprint is all that is checked.
    pub(crate) fn new(configuration: &Configuration<'_>) -> Option<Self> {
        // SAFETY: has no requirement; the method is static.
        let method = unsafe { ffi::DTLS_with_buffers_method() };
        // SAFETY: `method` is libssl's own.
        let context = unsafe { ffi::SSL_CTX_new(method) };
        let mut context = Self(NonNull::new(context)?);
        context.restrict(configuration)?;
        context.install_callbacks();
        Some(context)
    }

    fn restrict(&mut self, configuration: &Configuration<'_>) -> Option<()> {
        let ctx = self.0.as_ptr();
        let version = ffi::DTLS1_2_VERSION as u16;
        // SAFETY: `ctx` is live and not shared yet, here and in the calls below.
        let least = unsafe { ffi::SSL_CTX_set_min_proto_version(ctx, version) };
        // SAFETY: as above.
        let most = unsafe { ffi::SSL_CTX_set_max_proto_version(ctx, version) };
        let options = (ffi::SSL_OP_NO_QUERY_MTU | ffi::SSL_OP_NO_TICKET) as u32;
        // SAFETY: as above.
        unsafe { ffi::SSL_CTX_set_options(ctx, options) };
        // SAFETY: as above.
        unsafe { ffi::SSL_CTX_set_session_cache_mode(ctx, ffi::SSL_SESS_CACHE_OFF) };
        // SAFETY: as above.
        unsafe { ffi::SSL_CTX_set_max_cert_list(ctx, configuration.max_certificates) };
        // SAFETY: as above; the list ends with NUL and is only read during the call.
        let ciphers =
            unsafe { ffi::SSL_CTX_set_strict_cipher_list(ctx, configuration.ciphers.as_ptr()) };
        // SAFETY: as above; the list ends with NUL and is only read during the call.
        let groups = unsafe { ffi::SSL_CTX_set1_groups_list(ctx, configuration.groups.as_ptr()) };
        let verify = configuration.verify;
        // SAFETY: as above; pointer and length are of one slice, copied by the call.
        let verify =
            unsafe { ffi::SSL_CTX_set_verify_algorithm_prefs(ctx, verify.as_ptr(), verify.len()) };
        let sign = configuration.sign;
        // SAFETY: as above; pointer and length are of one slice, copied by the call.
        let sign =
            unsafe { ffi::SSL_CTX_set_signing_algorithm_prefs(ctx, sign.as_ptr(), sign.len()) };
        clear_errors();
        [least, most, ciphers, groups, verify, sign].into_iter().all(|done| done == 1).then_some(())
    }

    fn install_callbacks(&mut self) {
        let ctx = self.0.as_ptr();
        let mode = ffi::SSL_VERIFY_PEER | ffi::SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
        // SAFETY: `ctx` is live and not shared yet; the callback is made for SSLs of this context,
        // and each of those is a `Session`'s, as `verify` wants.
        unsafe { ffi::SSL_CTX_set_custom_verify(ctx, mode, Some(verify)) };
        // SAFETY: as above, for `select`.
        unsafe { ffi::SSL_CTX_set_select_certificate_cb(ctx, Some(select)) };
        // SAFETY: as above; `current_time` wants only a place for its result.
        unsafe { ffi::SSL_CTX_set_current_time_cb(ctx, Some(current_time)) };
    }

    /// The chain, leaf first, and its key; without one, each signature is asked of
    /// [`Hooks::sign`]. `None` where libssl cannot use the leaf's kind of key, or they do not belong
    /// together.
    pub(crate) fn certify(&mut self, chain: &[&[u8]], key: Option<&PrivateKey>) -> Option<()> {
        let buffers: Option<Vec<_>> = chain.iter().map(|der| Buffer::new(der)).collect();
        let buffers = buffers?;
        let pointers: Vec<_> = buffers.iter().map(|buffer| buffer.0.as_ptr()).collect();
        let key_pointer = key.map_or(ptr::null_mut(), |key| key.0.as_ptr());
        let method = if key.is_some() { ptr::null() } else { &raw const OUTSIDE_KEY };
        // SAFETY: the context is live and not shared yet; `pointers` are live buffers, of which the
        // call takes references of its own, as of the key; exactly one of key and method is null,
        // and the method is static.
        let done = unsafe {
            ffi::SSL_CTX_set_chain_and_key(
                self.0.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                key_pointer,
                method,
            )
        };
        clear_errors();
        (done == 1).then_some(())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer is an owned reference, given back here once.
        unsafe { ffi::SSL_CTX_free(self.0.as_ptr()) }
    }
}

/// What a call of libssl came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is done.
    Done,
    /// It needs the next datagram.
    WantDatagram,
    /// It needs the signature that [`Hooks::sign`] was asked for.
    WantSignature,
    /// The peer sent close_notify.
    Closed,
    /// It failed, and so has the session.
    Failed(LibraryError),
}

/// An error of libssl's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LibraryError(u32);

/// The errors that have a meaning of their own to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The peer sent this fatal alert.
    Alert(u8),
    /// A handshake message longer than allowed.
    MessageTooLong,
    /// The peer has no certificate.
    NoCertificate,
    /// Retransmitted too often.
    TooManyTimeouts,
    /// The private key method failed.
    NotSigned,
    Other,
}

impl LibraryError {
    pub(crate) fn kind(self) -> ErrorKind {
        // Packed as library, reserved, reason (err.h, ERR_GET_LIB and ERR_GET_REASON).
        let library = (self.0 >> 24) & 0xff;
        if library != ffi::ERR_LIB_SSL as u32 {
            return ErrorKind::Other;
        }
        match (self.0 & 0xfff) as i32 {
            ffi::SSL_R_EXCESSIVE_MESSAGE_SIZE => ErrorKind::MessageTooLong,
            ffi::SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE => ErrorKind::NoCertificate,
            ffi::SSL_R_READ_TIMEOUT_EXPIRED => ErrorKind::TooManyTimeouts,
            ffi::SSL_R_PRIVATE_KEY_OPERATION_FAILED => ErrorKind::NotSigned,
            reason => match u8::try_from(reason - ffi::SSL_AD_REASON_OFFSET) {
                Ok(alert) => ErrorKind::Alert(alert),
                Err(_) => ErrorKind::Other,
            },
        }
    }

    /// In libssl's words.
    pub(crate) fn name(self) -> &'static str {
        // SAFETY: takes any number.
        let name = unsafe { ffi::ERR_reason_error_string(self.0) };
        if name.is_null() {
            return "unknown error";
        }
        // SAFETY: not null, and then a NUL-terminated string in static tables (err.h).
        let name = unsafe { CStr::from_ptr(name) };
        name.to_str().unwrap_or("unknown error")
    }
}

/// Who sends the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// One association (`SSL`) and what it reads from and writes to.
pub(crate) struct Session {
    ssl: NonNull<ffi::SSL>,
    /// From `Box::into_raw`: libssl's BIO points to it too.
    hooks: NonNull<Hooks>,
}

// SAFETY: an SSL has no ties to a thread (ssl.h, "SSL connections"), and `Hooks` is `Send`.
unsafe impl Send for Session {}
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Hooks>();
};

impl Session {
    /// A fresh association. `profiles` are named as libssl names them, with colons between.
    pub(crate) fn new(
        context: &Context,
        end: End,
        profiles: &CStr,
        mtu: u32,
        retransmit_ms: u32,
        hooks: Box<Hooks>,
    ) -> Option<Self> {
        // SAFETY: the context is live; SSL_new takes a reference of its own.
        let ssl = NonNull::new(unsafe { ffi::SSL_new(context.0.as_ptr()) })?;
        let hooks = NonNull::from(Box::leak(hooks));
        let session = Self { ssl, hooks };
        session.connect_hooks()?;
        let ssl = session.ssl.as_ptr();
        match end {
            // SAFETY: `ssl` is live, here and in the calls below.
            End::Client => unsafe { ffi::SSL_set_connect_state(ssl) },
            // SAFETY: as above.
            End::Server => unsafe { ffi::SSL_set_accept_state(ssl) },
        }
        // SAFETY: as above; the list ends with NUL and is only read during the call.
        let profiled = unsafe { ffi::SSL_set_srtp_profiles(ssl, profiles.as_ptr()) };
        // SAFETY: as above.
        let sized = unsafe { ffi::SSL_set_mtu(ssl, mtu) };
        // SAFETY: as above.
        unsafe { ffi::DTLSv1_set_initial_timeout_duration(ssl, retransmit_ms) };
        // SAFETY: as above.
        unsafe { ffi::SSL_set_shed_handshake_config(ssl, 1) };
        (profiled == 1 && sized == 1).then_some(session)
    }

    fn connect_hooks(&self) -> Option<()> {
        // SAFETY: the method is complete and never freed.
        let bio = NonNull::new(unsafe { ffi::BIO_new(bio_method()?) })?.as_ptr();
        // SAFETY: `bio` is live; its data is only read by the callbacks of this file.
        unsafe { ffi::BIO_set_data(bio, self.hooks.as_ptr().cast()) };
        // SAFETY: `bio` is live.
        unsafe { ffi::BIO_set_init(bio, 1) };
        // SAFETY: both are live; the one reference to `bio` passes to `ssl`, as ssl.h has it where
        // both BIOs are the same.
        unsafe { ffi::SSL_set_bio(self.ssl.as_ptr(), bio, bio) };
        Some(())
    }

    /// What it reads from and writes to.
    pub(crate) fn hooks(&mut self) -> &mut Hooks {
        // SAFETY: from a Box that `drop` alone takes back; `&mut self` says that no call of libssl,
        // and so no callback, is under way.
        unsafe { self.hooks.as_mut() }
    }

    /// Goes on with the handshake.
    pub(crate) fn handshake(&mut self, clock: Duration) -> Step {
        self.begin(clock);
        // SAFETY: `ssl` is live.
        let result = unsafe { ffi::SSL_do_handshake(self.ssl.as_ptr()) };
        self.step(result)
    }

    /// Reads application data into `room`; `Done`: there was some.
    pub(crate) fn read(&mut self, clock: Duration, room: &mut [u8]) -> Step {
        self.begin(clock);
        let length = c_int::try_from(room.len()).unwrap_or(c_int::MAX);
        // SAFETY: `ssl` is live and `room` writable for `length` bytes.
        let result = unsafe { ffi::SSL_read(self.ssl.as_ptr(), room.as_mut_ptr().cast(), length) };
        self.step(result)
    }

    /// Sends close_notify.
    pub(crate) fn shut_down(&mut self, clock: Duration) {
        self.begin(clock);
        // SAFETY: `ssl` is live.
        unsafe { ffi::SSL_shutdown(self.ssl.as_ptr()) };
        clear_errors();
    }

    /// Sends a fatal alert.
    pub(crate) fn send_alert(&mut self, clock: Duration, alert: u8) {
        self.begin(clock);
        // SAFETY: `ssl` is live.
        unsafe { ffi::SSL_send_fatal_alert(self.ssl.as_ptr(), alert) };
        clear_errors();
    }

    /// How long until [`Self::handle_timeout`] should be called.
    pub(crate) fn timeout_in(&mut self, clock: Duration) -> Option<Duration> {
        self.begin(clock);
        let mut left = ffi::timeval { tv_sec: 0, tv_usec: 0 };
        // SAFETY: `ssl` is live and `left` a place for the result.
        let timed = unsafe { ffi::DTLSv1_get_timeout(self.ssl.as_ptr(), &raw mut left) };
        let seconds = u64::try_from(left.tv_sec).unwrap_or(0);
        let micros = u64::try_from(left.tv_usec).unwrap_or(0);
        (timed == 1).then(|| Duration::from_secs(seconds) + Duration::from_micros(micros))
    }

    /// Retransmits, where the timer has run out; `Failed` once that was done often enough.
    pub(crate) fn handle_timeout(&mut self, clock: Duration) -> Step {
        self.begin(clock);
        // SAFETY: `ssl` is live.
        let result = unsafe { ffi::DTLSv1_handle_timeout(self.ssl.as_ptr()) };
        if result < 0 { Step::Failed(take_error()) } else { Step::Done }
    }

    /// The protection profile agreed, as IANA numbers it.
    pub(crate) fn protection_profile(&mut self) -> Option<u16> {
        // SAFETY: `ssl` is live.
        let profile = unsafe { ffi::SSL_get_selected_srtp_profile(self.ssl.as_ptr()) };
        let profile = NonNull::new(profile.cast_mut())?;
        // SAFETY: not null, and then one of libssl's static table.
        let profile = unsafe { profile.as_ref() };
        u16::try_from(profile.id).ok()
    }

    /// Keying material under `label` without a context (RFC 5705), of a finished handshake.
    pub(crate) fn export(&mut self, label: &[u8], out: &mut [u8]) -> Option<()> {
        // SAFETY: `ssl` is live; `out` and `label` are writable and readable for their lengths; no
        // context is used, so it may be null.
        let done = unsafe {
            ffi::SSL_export_keying_material(
                self.ssl.as_ptr(),
                out.as_mut_ptr(),
                out.len(),
                label.as_ptr().cast(),
                label.len(),
                ptr::null(),
                0,
                0,
            )
        };
        clear_errors();
        (done == 1).then_some(())
    }

    /// Other sessions of this thread had their own time and errors.
    fn begin(&mut self, clock: Duration) {
        CLOCK.set(clock);
        clear_errors();
    }

    fn step(&mut self, result: c_int) -> Step {
        // SAFETY: `ssl` is live, and `result` what its last call on this thread gave.
        let kind = unsafe { ffi::SSL_get_error(self.ssl.as_ptr(), result) };
        match kind {
            ffi::SSL_ERROR_NONE => Step::Done,
            ffi::SSL_ERROR_WANT_READ | ffi::SSL_ERROR_WANT_WRITE => Step::WantDatagram,
            ffi::SSL_ERROR_WANT_PRIVATE_KEY_OPERATION => Step::WantSignature,
            ffi::SSL_ERROR_ZERO_RETURN => Step::Closed,
            _ => Step::Failed(take_error()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the pointer is owned and given back here once; with it goes the BIO, the only
        // other pointer to the hooks.
        unsafe { ffi::SSL_free(self.ssl.as_ptr()) };
        // SAFETY: from `Box::leak`, and nothing points to it any more.
        drop(unsafe { Box::from_raw(self.hooks.as_ptr()) });
    }
}

thread_local! {
    /// The time of the call under way: libssl's callback is told nothing of the session.
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn clear_errors() {
    // SAFETY: has no requirement.
    unsafe { ffi::ERR_clear_error() }
}

/// The first error of the thread's queue, which it empties.
fn take_error() -> LibraryError {
    // SAFETY: has no requirement.
    let error = unsafe { ffi::ERR_peek_error() };
    clear_errors();
    LibraryError(error)
}

/// The vtable of our BIOs: made once, never freed.
fn bio_method() -> Option<*const ffi::BIO_METHOD> {
    struct Method(*const ffi::BIO_METHOD);
    // SAFETY: complete before it is shared, and then only read.
    unsafe impl Send for Method {}
    // SAFETY: as above.
    unsafe impl Sync for Method {}
    static METHOD: OnceLock<Option<Method>> = OnceLock::new();

    let make = || {
        // SAFETY: the name ends with NUL and is static.
        let method = unsafe { ffi::BIO_meth_new(ffi::BIO_TYPE_SOURCE_SINK, c"datagrams".as_ptr()) };
        let method = NonNull::new(method)?.as_ptr();
        // SAFETY: `method` is live and not shared yet, here and below; `bio_write` is called with
        // BIOs of this method alone, as it wants.
        let write = unsafe { ffi::BIO_meth_set_write(method, Some(bio_write)) };
        // SAFETY: as above, for `bio_read`.
        let read = unsafe { ffi::BIO_meth_set_read(method, Some(bio_read)) };
        // SAFETY: as above; `bio_ctrl` wants nothing.
        let ctrl = unsafe { ffi::BIO_meth_set_ctrl(method, Some(bio_ctrl)) };
        [write, read, ctrl].into_iter().all(|done| done == 1).then_some(Method(method))
    };
    METHOD.get_or_init(make).as_ref().map(|method| method.0)
}

/// # Safety
/// `bio` is a session's, during a call of that session.
unsafe fn hooks_of<'h>(bio: *mut ffi::BIO) -> &'h mut Hooks {
    // SAFETY: the caller vouches that `bio` is live.
    let data = unsafe { ffi::BIO_get_data(bio) };
    // SAFETY: `Session::connect_hooks` put the session's own Hooks there; the session's call under
    // way borrows the session mutably and makes no reference to them itself, and callbacks do not
    // call libssl so that they would nest.
    unsafe { &mut *data.cast::<Hooks>() }
}

/// # Safety
/// `ssl` is a session's, during a call of that session.
unsafe fn hooks_of_ssl<'h>(ssl: *const ffi::SSL) -> &'h mut Hooks {
    // SAFETY: the caller vouches that `ssl` is live.
    let bio = unsafe { ffi::SSL_get_rbio(ssl) };
    // SAFETY: `Session::connect_hooks` gave `ssl` that BIO; the rest is the caller's.
    unsafe { hooks_of(bio) }
}

/// Bytes that libssl lends for a call.
///
/// # Safety
/// `data` is readable for `length` bytes while the result is used, or `length` is 0.
unsafe fn lent<'b>(data: *const u8, length: usize) -> &'b [u8] {
    if length == 0 || data.is_null() {
        return &[];
    }
    // SAFETY: the caller vouches for pointer and length; null is excluded above.
    unsafe { std::slice::from_raw_parts(data, length) }
}

unsafe extern "C" fn bio_write(bio: *mut ffi::BIO, data: *const c_char, length: c_int) -> c_int {
    // SAFETY: libssl calls this for a session's BIO during that session's call.
    let hooks = unsafe { hooks_of(bio) };
    // SAFETY: BIO_write's contract: `data` is readable for `length` bytes.
    let datagram = unsafe { lent(data.cast(), usize::try_from(length).unwrap_or(0)) };
    hooks.write(datagram);
    length
}

unsafe extern "C" fn bio_read(bio: *mut ffi::BIO, out: *mut c_char, room: c_int) -> c_int {
    // SAFETY: libssl calls this for a session's BIO during that session's call.
    let hooks = unsafe { hooks_of(bio) };
    let datagram = hooks.read();
    let length = c_int::try_from(datagram.len()).unwrap_or(c_int::MAX);
    if length == 0 || length > room {
        // SAFETY: `bio` is live.
        unsafe { ffi::BIO_set_retry_read(bio) };
        return -1;
    }
    // SAFETY: `out` is writable for `room` bytes (BIO_read's contract), which is no less than the
    // datagram's length; it is libssl's buffer and does not overlap ours.
    unsafe { ptr::copy_nonoverlapping(datagram.as_ptr(), out.cast(), datagram.len()) };
    length
}

unsafe extern "C" fn bio_ctrl(
    _: *mut ffi::BIO,
    command: c_int,
    _: c_long,
    _: *mut c_void,
) -> c_long {
    // A flush has nothing to do and succeeds; all else is unknown here.
    c_long::from(command == ffi::BIO_CTRL_FLUSH)
}

unsafe extern "C" fn current_time(_: *const ffi::SSL, out: *mut ffi::timeval) {
    let clock = CLOCK.get();
    let time = ffi::timeval {
        tv_sec: clock.as_secs().try_into().unwrap_or(ffi::__time_t::MAX),
        tv_usec: clock.subsec_micros().into(),
    };
    // SAFETY: libssl gives a place for the result.
    unsafe { out.write(time) };
}

/// Is the peer's certificate the one that signalling named, and is there a profile?
unsafe extern "C" fn verify(ssl: *mut ffi::SSL, alert: *mut u8) -> ffi::ssl_verify_result_t {
    // SAFETY: libssl calls this for a session's SSL during that session's call.
    let hooks = unsafe { hooks_of_ssl(ssl) };
    // SAFETY: as above.
    let profile = unsafe { ffi::SSL_get_selected_srtp_profile(ssl) };
    // SAFETY: as above; the stack is null or lives as long as the handshake.
    let chain = unsafe { ffi::SSL_get0_peer_certificates(ssl) };
    // SAFETY: takes null, and is the untyped form of every stack; gives null beyond the end.
    let leaf = unsafe { ffi::OPENSSL_sk_value(chain.cast(), 0) };
    let leaf: *const ffi::CRYPTO_BUFFER = leaf.cast();
    let certificate = if leaf.is_null() {
        &[]
    } else {
        // SAFETY: a stack of CRYPTO_BUFFER holds live ones.
        let data = unsafe { ffi::CRYPTO_BUFFER_data(leaf) };
        // SAFETY: as above.
        let length = unsafe { ffi::CRYPTO_BUFFER_len(leaf) };
        // SAFETY: the buffer is `length` bytes at `data` and lives beyond this callback.
        unsafe { lent(data, length) }
    };
    match hooks.verify(certificate, (!profile.is_null()).then_some(())) {
        Ok(()) => ffi::ssl_verify_result_t_ssl_verify_ok,
        Err(refusal) => {
            // SAFETY: libssl gives a place for the alert.
            unsafe { alert.write(refusal) };
            ffi::ssl_verify_result_t_ssl_verify_invalid
        }
    }
}

/// Has the ClientHello a profile of ours? Asked before anything is signed for it.
unsafe extern "C" fn select(hello: *const ffi::SSL_CLIENT_HELLO) -> ffi::ssl_select_cert_result_t {
    // SAFETY: libssl gives a live, initialized SSL_CLIENT_HELLO.
    let ssl = unsafe { (*hello).ssl };
    // SAFETY: libssl calls this for a session's SSL during that session's call.
    let hooks = unsafe { hooks_of_ssl(ssl) };
    let (mut data, mut length) = (ptr::null(), 0);
    let kind = ffi::TLSEXT_TYPE_srtp as u16;
    // SAFETY: `hello` is live, and the others are places for results.
    let found = unsafe {
        ffi::SSL_early_callback_ctx_extension_get(hello, kind, &raw mut data, &raw mut length)
    };
    // SAFETY: found, these are `length` bytes of the ClientHello, which outlives the callback.
    let extension = (found == 1).then(|| unsafe { lent(data, length) });
    match hooks.select(extension) {
        Ok(()) => ffi::ssl_select_cert_result_t_ssl_select_cert_success,
        Err(()) => ffi::ssl_select_cert_result_t_ssl_select_cert_error,
    }
}

/// For a key that is not here: whoever drives the association brings the signature.
static OUTSIDE_KEY: ffi::SSL_PRIVATE_KEY_METHOD = ffi::SSL_PRIVATE_KEY_METHOD {
    sign: Some(sign),
    // RSA key exchange, which is not among the ciphers.
    decrypt: None,
    complete: Some(complete),
};

unsafe extern "C" fn sign(
    ssl: *mut ffi::SSL,
    _out: *mut u8,
    _out_length: *mut usize,
    _room: usize,
    algorithm: u16,
    message: *const u8,
    length: usize,
) -> ffi::ssl_private_key_result_t {
    // SAFETY: libssl calls this for a session's SSL during that session's call.
    let hooks = unsafe { hooks_of_ssl(ssl) };
    // SAFETY: libssl's contract: `message` is readable for `length` bytes.
    let message = unsafe { lent(message, length) };
    hooks.sign(algorithm, message);
    ffi::ssl_private_key_result_t_ssl_private_key_retry
}

unsafe extern "C" fn complete(
    ssl: *mut ffi::SSL,
    out: *mut u8,
    out_length: *mut usize,
    room: usize,
) -> ffi::ssl_private_key_result_t {
    // SAFETY: libssl calls this for a session's SSL during that session's call.
    let hooks = unsafe { hooks_of_ssl(ssl) };
    match hooks.signature() {
        Signature::Awaited => ffi::ssl_private_key_result_t_ssl_private_key_retry,
        Signature::Made(bytes) if bytes.len() <= room => {
            // SAFETY: `out` is writable for `room` bytes, and is libssl's.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), out, bytes.len()) };
            // SAFETY: libssl gives a place for the length.
            unsafe { out_length.write(bytes.len()) };
            ffi::ssl_private_key_result_t_ssl_private_key_success
        }
        Signature::Made(_) | Signature::Refused => {
            ffi::ssl_private_key_result_t_ssl_private_key_failure
        }
    }
}
