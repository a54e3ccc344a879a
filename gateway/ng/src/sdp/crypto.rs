//! `a=crypto` (RFC 4568): reading what peers write, which is laxer than the RFC, and writing ours.
//!
//! Every one of the `;`-separated keys is read: a peer may send under any of them, and says which
//! by its MKI. Lines that we can't use (unknown suite, a key of the wrong length, a bad lifetime
//! or MKI, several keys that could not be told apart) are as if they weren't there, as RFC 4568
//! section 5.1.2 wants. Key bytes pass only through buffers that are wiped.

use std::fmt;
use std::str;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, Bytes, BytesMut};
use srtp::{KeyParameters, Lifetimes, MAX_KEYS, MasterKey, Mki, Profile, SessionParameters};
use zeroize::Zeroizing;

use super::line::{fields, split_once};
use super::{CryptoAttribute, InlineKey, mki};

/// Base64 padding (`=`) of the keys we write: the incumbent leaves it out, some phones need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyPadding {
    /// Without.
    #[default]
    Omit,
    /// With.
    Write,
}

impl CryptoAttribute {
    /// The value of an `a=crypto:` line, or `None` when we can't use it.
    pub fn parse(value: &Bytes) -> Option<Self> {
        let mut fields = fields(value);
        let tag = parse_tag(fields.next()?)?;
        let profile = Profile::from_name(str::from_utf8(fields.next()?).ok()?)?;
        let (key, further) = parse_keys(profile, fields.next()?)?;
        let (mut session, mut parameters) = (SessionParameters::default(), Vec::new());
        for field in fields {
            match session_flag(&mut session, field) {
                Some(flag) => *flag = true,
                None => parameters.push(value.slice_ref(field)),
            }
        }
        Some(Self { tag, key, further, session, parameters })
    }

    /// Appends the line `a=crypto:…` without a line end.
    pub fn print(&self, padding: KeyPadding, out: &mut BytesMut) {
        use fmt::Write as _;
        // Writing to a BytesMut can't fail: it grows.
        let _ = write!(out, "a=crypto:{} {} ", self.tag, self.profile().name());
        for (place, key) in self.keys().enumerate() {
            if place > 0 {
                out.put_u8(b';');
            }
            key.print(padding, out);
        }
        let session = self.session;
        let left_out =
            [session.unencrypted_rtp, session.unencrypted_rtcp, session.unauthenticated_rtp];
        let names = SESSION_NAMES.iter().zip(left_out).filter(|(_, left_out)| *left_out);
        let others = self.parameters.iter().map(|parameter| &parameter[..]);
        for parameter in names.map(|(name, _)| name.as_bytes()).chain(others) {
            out.put_u8(b' ');
            out.put_slice(parameter);
        }
    }

    /// The suite.
    pub fn profile(&self) -> Profile {
        self.key.master.profile()
    }

    /// Every key, the first one first.
    pub fn keys(&self) -> impl Iterator<Item = &InlineKey> {
        std::iter::once(&self.key).chain(&self.further)
    }

    /// The same line for a second owner.
    pub fn dangerous_duplicate(&self) -> Self {
        Self {
            tag: self.tag,
            key: self.key.dangerous_duplicate(),
            further: self.further.iter().map(InlineKey::dangerous_duplicate).collect(),
            session: self.session,
            parameters: self.parameters.clone(),
        }
    }
}

impl InlineKey {
    /// As one direction of a session uses it.
    pub fn parameters(&self) -> KeyParameters<'_> {
        let lifetimes = self.lifetimes.unwrap_or_default();
        KeyParameters { master: &self.master, mki: self.mki.clone(), lifetimes }
    }

    /// The same key for a second owner.
    pub fn dangerous_duplicate(&self) -> Self {
        let master = self.master.dangerous_duplicate();
        Self { master, lifetimes: self.lifetimes, mki: self.mki.clone() }
    }

    /// Reads `inline:<base64>[|lifetime][|mki:len]`; some phones write an empty part between two
    /// bars.
    fn parse(profile: Profile, text: &[u8]) -> Option<Self> {
        let (method, info) = split_once(text, b':')?;
        method.eq_ignore_ascii_case(b"inline").then_some(())?;
        let mut parts = info.split(|byte| *byte == b'|');
        let master = parse_inline(profile, parts.next()?)?;
        let (mut lifetimes, mut mki) = (None, Mki::none());
        for part in parts.filter(|part| !part.is_empty()) {
            if part.contains(&b':') && mki.is_empty() {
                mki = mki::parse(part)?;
            } else if lifetimes.is_none() && mki.is_empty() {
                lifetimes = Some(parse_lifetime(part)?);
            } else {
                return None;
            }
        }
        Some(Self { master, lifetimes, mki })
    }

    fn print(&self, padding: KeyPadding, out: &mut BytesMut) {
        use fmt::Write as _;
        out.put_slice(b"inline:");
        print_key(&self.master, padding, out);
        if let Some(lifetimes) = self.lifetimes {
            let packets = lifetimes.rtp();
            let _ = match packets.is_power_of_two() {
                true => write!(out, "|2^{}", packets.trailing_zeros()),
                false => write!(out, "|{packets}"),
            };
        }
        if !self.mki.is_empty() {
            out.put_u8(b'|');
            mki::print(&self.mki, out);
        }
    }
}

impl From<MasterKey> for InlineKey {
    /// Without MKI and lifetime.
    fn from(master: MasterKey) -> Self {
        Self { master, lifetimes: None, mki: Mki::none() }
    }
}

/// Shows no values of session parameters: `FEC_KEY` carries a key.
impl fmt::Debug for CryptoAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |parameter| split_once(parameter, b'=').map_or(parameter, |(name, _)| name);
        let parameters: Vec<_> = self.parameters.iter().map(|p| name(p).escape_ascii()).collect();
        f.debug_struct("CryptoAttribute")
            .field("tag", &self.tag)
            .field("key", &self.key)
            .field("further", &self.further)
            .field("session", &self.session)
            .field("parameters", &parameters)
            .finish()
    }
}

/// `1*9DIGIT`.
fn parse_tag(text: &[u8]) -> Option<u32> {
    (text.len() <= 9).then_some(())?;
    u32::try_from(parse_decimal(text)?).ok()
}

/// The `;`-separated keys. Packets must tell which of several they are under: RFC 4568 section
/// 6.1 wants an MKI for each and one length for all.
fn parse_keys(profile: Profile, text: &[u8]) -> Option<(InlineKey, Vec<InlineKey>)> {
    let mut texts = text.split(|byte| *byte == b';');
    let first = InlineKey::parse(profile, texts.next()?)?;
    let mut further: Vec<InlineKey> = Vec::new();
    for text in texts {
        let key = InlineKey::parse(profile, text)?;
        let fits = !key.mki.is_empty() && key.mki.len() == first.mki.len();
        let is_new = std::iter::once(&first).chain(&further).all(|known| known.mki != key.mki);
        (fits && is_new && further.len() + 1 < MAX_KEYS).then_some(())?;
        further.push(key);
    }
    Some((first, further))
}

/// The parameter of this name (RFC 4568 sections 6.3.2 and 6.3.3).
fn session_flag<'s>(session: &'s mut SessionParameters, name: &[u8]) -> Option<&'s mut bool> {
    let [rtp, rtcp, unauthenticated] = SESSION_NAMES;
    if name.eq_ignore_ascii_case(rtp.as_bytes()) {
        Some(&mut session.unencrypted_rtp)
    } else if name.eq_ignore_ascii_case(rtcp.as_bytes()) {
        Some(&mut session.unencrypted_rtcp)
    } else if name.eq_ignore_ascii_case(unauthenticated.as_bytes()) {
        Some(&mut session.unauthenticated_rtp)
    } else {
        None
    }
}

/// `2^n` or decimal. RFC 4568 section 6.1: zero, or beyond the suite's limit, is invalid.
fn parse_lifetime(text: &[u8]) -> Option<Lifetimes> {
    let packets = match text.strip_prefix(b"2^") {
        Some(exponent) => 1_u64.checked_shl(parse_decimal(exponent)?.try_into().ok()?)?,
        None => parse_decimal(text)?,
    };
    Lifetimes::from_sdes(packets).ok()
}

/// Digits only: `str::parse` would also take a sign.
fn parse_decimal(text: &[u8]) -> Option<u64> {
    text.iter().all(u8::is_ascii_digit).then_some(())?;
    str::from_utf8(text).ok()?.parse().ok()
}

/// Base64 of key and salt, with or without padding.
fn parse_inline(profile: Profile, text: &[u8]) -> Option<MasterKey> {
    (text.len() <= BASE64_MAX).then_some(())?;
    let mut bytes = Zeroizing::new([0; BASE64_MAX]);
    let len = BASE64_LENIENT.decode_slice(text, bytes.as_mut()).ok()?;
    MasterKey::from_concatenated(profile, &bytes[..len]).ok()
}

fn print_key(key: &MasterKey, padding: KeyPadding, out: &mut BytesMut) {
    let (key, salt) = (key.key().dangerous_bytes(), key.salt().dangerous_bytes());
    let mut bytes = Zeroizing::new([0; BASE64_MAX]);
    let len = key.len() + salt.len();
    bytes[..key.len()].copy_from_slice(key);
    bytes[key.len()..len].copy_from_slice(salt);
    let engine = match padding {
        KeyPadding::Omit => &BASE64_LENIENT,
        KeyPadding::Write => &BASE64_PADDED,
    };
    let mut text = Zeroizing::new([0; BASE64_MAX]);
    // The longest key and salt (46 bytes, AES-256 counter mode) is 64 characters: it fits.
    let written = engine.encode_slice(&bytes[..len], text.as_mut()).unwrap_or(0);
    out.put_slice(&text[..written]);
}

/// Characters of the longest `inline:` key of any suite of RFC 4568, 6188 and 7714, padded.
const BASE64_MAX: usize = 64;

/// What a line may leave out, in the order in which it is written.
const SESSION_NAMES: [&str; 3] = ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP"];

const BASE64_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const BASE64_PADDED: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_encode_padding(true));
