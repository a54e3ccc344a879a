//! `replace`: what a party is shown of the session's origin, kept the same from body to body.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use bytes::Bytes;
use ng::request::{Replace, Signal};
use ng::sdp::{Line, MediaRewrite, Sdp, SessionRewrite};
use ring::rand::{SecureRandom, SystemRandom};

/// What one party was shown first, and what last.
#[derive(Debug)]
pub(super) struct Origin {
    username: Box<[u8]>,
    session_id: Option<u64>,
    session_name: Option<Box<[u8]>>,
    version: u64,
    /// Of the whole body shown last.
    digest: u64,
}

impl Origin {
    fn of(sdp: &Sdp) -> Self {
        let mut fields = sdp.session.origin.split(|byte| *byte == b' ');
        let username = fields.next().unwrap_or_default().into();
        let mut number =
            || fields.next().and_then(|field| std::str::from_utf8(field).ok()?.parse().ok());
        let session_id = number();
        let version = number().unwrap_or(0);
        let session_name = sdp
            .session
            .lines
            .iter()
            .find_map(|line| line.text().strip_prefix(b"s="))
            .map(Into::into);
        Self { username, session_id, session_name, version, digest: 0 }
    }
}

/// Writes the body for a party, under the control of `replace`.
pub(super) fn write(
    origin: &mut Option<Box<Origin>>,
    sdp: &Sdp,
    mut session: SessionRewrite,
    media: &[MediaRewrite],
    replace: Replace,
) -> Bytes {
    if !remembers(replace) {
        return sdp.rewrite(&session, media);
    }
    let first = origin.is_none();
    let origin = origin.get_or_insert_with(|| Box::new(Origin::of(sdp)));
    if replace.username || replace.origin_full {
        session.origin_username = Some(Bytes::copy_from_slice(&origin.username));
    }
    if replace.origin_full {
        session.origin_session_id = origin.session_id;
    }
    if replace.session_name {
        session.session_name = origin.session_name.as_deref().map(Bytes::copy_from_slice);
    }
    if !counts(replace) {
        return sdp.rewrite(&session, media);
    }
    session.origin_version = Some(origin.version);
    let mut body = sdp.rewrite(&session, media);
    let changed = !first && digest(&body) != origin.digest;
    if changed || (!first && replace.force_increment_sdp_version) {
        origin.version = origin.version.wrapping_add(1);
        session.origin_version = Some(origin.version);
        body = sdp.rewrite(&session, media);
    }
    origin.digest = digest(&body);
    body
}

/// The part of the instructions that needs no memory.
pub(super) fn session(signal: &Signal, ours: Option<IpAddr>, instance: &str) -> SessionRewrite {
    let replaces = signal.replace.origin || signal.replace.origin_full;
    SessionRewrite {
        origin_address: ours.filter(|_| replaces),
        loop_protect: signal
            .flags
            .loop_protect
            .then(|| Bytes::copy_from_slice(instance.as_bytes())),
        // What passes through is not ours to check: a peer shown candidates would go past us.
        remove_ice: true,
        ..SessionRewrite::default()
    }
}

/// Our name in the loop protection mark (`a=rtpengine:<name>`): another gateway that the call
/// passes must not take our mark for its own. Should there be no random numbers, no call comes as
/// far as being marked.
pub(super) fn instance(random: &SystemRandom) -> Box<str> {
    let mut bytes = [0; 8];
    let _ = random.fill(&mut bytes);
    format!("{:016x}", u64::from_ne_bytes(bytes)).into()
}

/// Whether the body carries our own loop protection mark, among those of others that it passed.
pub(super) fn has_looped(sdp: &Sdp, signal: &Signal, instance: &str) -> bool {
    let is_ours =
        |line: &Line| line.text().strip_prefix(b"a=rtpengine:") == Some(instance.as_bytes());
    signal.flags.loop_protect && sdp.session.lines.iter().any(is_ours)
}

fn remembers(replace: Replace) -> bool {
    replace.username || replace.session_name || counts(replace)
}

fn counts(replace: Replace) -> bool {
    replace.sdp_version || replace.origin_full || replace.force_increment_sdp_version
}

fn digest(body: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}
