//! `a=crypto` (RFC 4568): reading what peers write, which is laxer than the RFC, and writing ours.
//!
//! Of several `;`-separated keys the first is taken: a peer that sends under another one says so
//! by its MKI, which such lines must carry, and gets counted as unknown MKI. Lines that we can't
//! use (unknown suite, key of the wrong length, bad lifetime or MKI) are as if they weren't
//! there, as RFC 4568 wants. Key bytes pass only through buffers that are wiped.

use std::fmt;
use std::str;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, Bytes, BytesMut};
use srtp::{MasterKey, Profile};
use zeroize::Zeroizing;

use super::line::{fields, split_once};
use super::{CryptoAttribute, Mki};

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
        let profile = Profile::from_name(str::from_utf8(fields.next()?).ok()?)
            .filter(|suite| Profile::COMMON.contains(suite))?;
        let first_key = fields.next()?.split(|byte| *byte == b';').next()?;
        let (key, lifetime, mki) = parse_key(profile, first_key)?;
        let parameters = fields.map(|field| value.slice_ref(field)).collect();
        Some(Self { tag, key, lifetime, mki, parameters })
    }

    /// Appends the line `a=crypto:…` without a line end.
    pub fn print(&self, padding: KeyPadding, out: &mut BytesMut) {
        use fmt::Write as _;
        // Writing to a BytesMut can't fail: it grows.
        let _ = write!(out, "a=crypto:{} {} inline:", self.tag, self.key.profile().name());
        print_key(&self.key, padding, out);
        if let Some(lifetime) = self.lifetime {
            let _ = match lifetime.is_power_of_two() {
                true => write!(out, "|2^{}", lifetime.trailing_zeros()),
                false => write!(out, "|{lifetime}"),
            };
        }
        if let Some(mki) = self.mki {
            let _ = write!(out, "|{}:{}", mki.value, mki.len);
        }
        for parameter in &self.parameters {
            out.put_u8(b' ');
            out.put_slice(parameter);
        }
    }

    /// The same line for a second owner.
    pub fn dangerous_duplicate(&self) -> Self {
        Self {
            tag: self.tag,
            key: self.key.dangerous_duplicate(),
            lifetime: self.lifetime,
            mki: self.mki,
            parameters: self.parameters.clone(),
        }
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
            .field("lifetime", &self.lifetime)
            .field("mki", &self.mki)
            .field("parameters", &parameters)
            .finish()
    }
}

impl Mki {
    /// As it stands in each packet: big-endian, `len` bytes.
    pub fn to_packet_bytes(self) -> Vec<u8> {
        let value = self.value.to_be_bytes();
        let len = usize::from(self.len);
        let mut bytes = vec![0; len.saturating_sub(value.len())];
        bytes.extend_from_slice(&value[value.len().saturating_sub(len)..]);
        bytes
    }

    /// `value:len`. A value beyond 128 bits is refused: none was ever seen.
    fn parse(text: &[u8]) -> Option<Self> {
        let (value, len) = split_once(text, b':')?;
        let (value, len) = (parse_decimal(value)?, parse_decimal(len)?);
        let len = u8::try_from(len).ok().filter(|len| (1..=MKI_MAX).contains(len))?;
        let bits = 128 - value.leading_zeros();
        (bits <= u32::from(len) * 8).then_some(Self { value, len })
    }
}

/// `1*9DIGIT`.
fn parse_tag(text: &[u8]) -> Option<u32> {
    (text.len() <= 9).then_some(())?;
    u32::try_from(parse_decimal(text)?).ok()
}

/// `inline:<base64>[|lifetime][|mki:len]`; some phones write an empty part between two bars.
fn parse_key(profile: Profile, text: &[u8]) -> Option<(MasterKey, Option<u64>, Option<Mki>)> {
    let (method, info) = split_once(text, b':')?;
    method.eq_ignore_ascii_case(b"inline").then_some(())?;
    let mut parts = info.split(|byte| *byte == b'|');
    let key = parse_inline(profile, parts.next()?)?;
    let (mut lifetime, mut mki) = (None, None);
    for part in parts.filter(|part| !part.is_empty()) {
        if part.contains(&b':') && mki.is_none() {
            mki = Some(Mki::parse(part)?);
        } else if lifetime.is_none() && mki.is_none() {
            lifetime = Some(parse_lifetime(part)?);
        } else {
            return None;
        }
    }
    Some((key, lifetime, mki))
}

/// `2^n` or decimal. Beyond the suite's limit (2^48 for all of ours) the attribute is invalid.
fn parse_lifetime(text: &[u8]) -> Option<u64> {
    let lifetime = match text.strip_prefix(b"2^") {
        Some(exponent) => {
            let exponent = u32::try_from(parse_decimal(exponent)?).ok()?;
            1u64.checked_shl(exponent)?
        }
        None => u64::try_from(parse_decimal(text)?).ok()?,
    };
    (1..=LIFETIME_MAX).contains(&lifetime).then_some(lifetime)
}

/// Digits only: `str::parse` would also take a sign.
fn parse_decimal(text: &[u8]) -> Option<u128> {
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

/// RFC 4568 section 9.2: `mki-length = 1*3DIGIT ; range 1..128`.
const MKI_MAX: u8 = 128;

/// Packets under one key, RFC 3711 section 9.2.
const LIFETIME_MAX: u64 = 1 << 48;

const BASE64_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const BASE64_PADDED: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_encode_padding(true));
