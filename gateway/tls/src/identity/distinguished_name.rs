//! Names of people and machines as certificates have them (RFC 5280 section 4.1.2.4), compared as
//! bytes and shown as text (RFC 4514).
//!
//! What is shown came from a file or a peer: characters that would break a line of a log are
//! escaped.

use std::fmt;

use super::der::{BadDer, Reader, tag};

/// A name, as it was encoded.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct DistinguishedName(Vec<u8>);

impl DistinguishedName {
    /// All of the name's DER. It is looked at when it is shown.
    pub(crate) fn from_der(whole: &[u8]) -> Self {
        Self(whole.to_vec())
    }

    /// The DER.
    pub(crate) fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// The last common name in it: the most specific one.
    pub(crate) fn common_name(&self) -> Option<String> {
        let named = |(kind, text): (&[u8], String)| (kind == COMMON_NAME).then_some(text);
        self.attributes().ok()?.into_iter().filter_map(named).next_back()
    }

    fn attributes(&self) -> Result<Vec<(&[u8], String)>, BadDer> {
        let mut sets = Reader::new(Reader::only(&self.0, tag::SEQUENCE)?);
        let mut attributes = Vec::new();
        while !sets.is_empty() {
            let mut set = sets.within(tag::SET)?;
            while !set.is_empty() {
                let mut attribute = set.within(tag::SEQUENCE)?;
                let kind = attribute.contents(tag::OID)?;
                let value = attribute.value()?;
                attributes.push((kind, text(value.tag, value.contents)));
            }
        }
        Ok(attributes)
    }
}

/// In the order of the certificate, `C=…, O=…, CN=…`.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = self.attributes().unwrap_or_default();
        if attributes.is_empty() {
            return f.write_str("(no name)");
        }
        for (place, (kind, text)) in attributes.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            match SHORT_NAMES.iter().find(|(id, _)| id == kind) {
                Some((_, name)) => write!(f, "{separator}{name}=")?,
                None => write!(f, "{separator}{}=", Dotted(kind))?,
            }
            escaped(text, f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Strings are ASCII, UTF-8 or something older that is close to Latin-1; only BMPString is wider.
fn text(kind: u8, bytes: &[u8]) -> String {
    if kind == tag::BMP_STRING {
        let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        return char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect();
    }
    String::from_utf8_lossy(bytes).into_owned()
}

/// RFC 4514 section 2.4, and control characters besides.
fn escaped(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    for character in text.chars() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => write!(f, "\\{character}")?,
            _ if character.is_control() => write!(f, "\\{:02x}", u32::from(character))?,
            _ => f.write_char(character)?,
        }
    }
    Ok(())
}

/// An object identifier that has no short name here.
struct Dotted<'a>(&'a [u8]);

impl fmt::Display for Dotted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arc = 0u64;
        let mut first = true;
        for byte in self.0 {
            arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
            if byte & 0x80 != 0 {
                continue;
            }
            if first {
                let root = (arc / 40).min(2);
                write!(f, "{root}.{}", arc - root * 40)?;
            } else {
                write!(f, ".{arc}")?;
            }
            (first, arc) = (false, 0);
        }
        Ok(())
    }
}

const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// RFC 4514 section 3, and three more that certificates often have.
const SHORT_NAMES: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(attributes: &[(&[u8], u8, &[u8])]) -> DistinguishedName {
        let wrap = |tag: u8, contents: Vec<u8>| {
            let mut der = vec![tag, contents.len() as u8];
            der.extend(contents);
            der
        };
        let sets = attributes.iter().flat_map(|(kind, tag, value)| {
            let mut attribute = wrap(tag::OID, kind.to_vec());
            attribute.extend(wrap(*tag, value.to_vec()));
            wrap(tag::SET, wrap(tag::SEQUENCE, attribute))
        });
        DistinguishedName::from_der(&wrap(tag::SEQUENCE, sets.collect()))
    }

    const UTF8: u8 = 0x0c;

    #[test]
    fn a_name_is_shown_with_what_would_break_a_line_escaped() {
        let name = name(&[
            (&[0x55, 4, 10], UTF8, "Müller, Söhne\n".as_bytes()),
            (COMMON_NAME, tag::BMP_STRING, &[0, b'h', 0, b'i']),
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2], UTF8, b"x"),
        ]);
        assert_eq!(name.to_string(), r"O=Müller\, Söhne\0a, CN=hi, 1.2.840.113549.1.9.2=x");
    }

    #[test]
    fn the_last_common_name_is_the_most_specific() {
        let two = name(&[(COMMON_NAME, UTF8, b"users"), (COMMON_NAME, UTF8, b"alice")]);
        assert_eq!(two.common_name().as_deref(), Some("alice"));
        assert_eq!(name(&[]).common_name(), None);
        assert_eq!(name(&[]).to_string(), "(no name)");
        assert_eq!(DistinguishedName::from_der(b"nonsense").common_name(), None);
    }
}
