//! Reads DER (ITU-T X.690 section 10), as much as certificates, revocation lists and OCSP answers
//! need beyond what `rustls-webpki` tells of them.
//!
//! What is not DER is refused: indefinite and padded lengths, tags of several bytes, lengths beyond
//! the end. Nothing is copied and nothing is verified: whoever reads a field judges it.

/// The bytes are not the DER that was expected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its DER is broken")]
pub struct BadDer;

/// Tags of X.690 that are read here.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[number]` around other values.
    pub(crate) const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }

    /// `[number]` in place of a primitive value's own tag.
    pub(crate) const fn implicit(number: u8) -> u8 {
        0x80 | number
    }
}

/// One value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    /// What it is.
    pub(crate) tag: u8,
    /// What is in it.
    pub(crate) contents: &'a [u8],
    /// All of it, tag and length included.
    pub(crate) whole: &'a [u8],
}

/// Values one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Of a value that is alone: nothing may follow it.
    pub(crate) fn only(bytes: &'a [u8], tag: u8) -> Result<&'a [u8], BadDer> {
        let mut reader = Self(bytes);
        let contents = reader.contents(tag)?;
        if reader.is_empty() { Ok(contents) } else { Err(BadDer) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value, whatever it is.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, BadDer> {
        let &[tag, first, ref rest @ ..] = self.0 else { return Err(BadDer) };
        if tag & 0x1f == 0x1f {
            return Err(BadDer);
        }
        let (length, contents) = length(first, rest)?;
        let (contents, after) = contents.split_at_checked(length).ok_or(BadDer)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Ok(Value { tag, contents, whole })
    }

    /// What is in the next value, which has this tag.
    pub(crate) fn contents(&mut self, tag: u8) -> Result<&'a [u8], BadDer> {
        self.tagged(tag).map(|value| value.contents)
    }

    /// The next value, which has this tag.
    pub(crate) fn tagged(&mut self, tag: u8) -> Result<Value<'a>, BadDer> {
        let value = self.value()?;
        if value.tag == tag { Ok(value) } else { Err(BadDer) }
    }

    /// The values within the next one, which has this tag.
    pub(crate) fn within(&mut self, tag: u8) -> Result<Self, BadDer> {
        self.contents(tag).map(Self)
    }

    /// The next value if it has this tag; otherwise it stays.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, BadDer> {
        if self.0.first() == Some(&tag) { self.contents(tag).map(Some) } else { Ok(None) }
    }
}

/// X.690 section 10.1: the definite form, in as few bytes as it takes.
fn length(first: u8, rest: &[u8]) -> Result<(usize, &[u8]), BadDer> {
    if first < 0x80 {
        return Ok((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return Err(BadDer);
    }
    let (digits, rest) = rest.split_at_checked(count).ok_or(BadDer)?;
    let length = digits.iter().fold(0usize, |sum, digit| sum << 8 | usize::from(*digit));
    if digits[0] == 0 || length < 0x80 { Err(BadDer) } else { Ok((length, rest)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_that_are_not_der_are_refused() {
        for bytes in [
            &[0x30][..],                  // no length
            &[0x30, 0x80, 0, 0],          // indefinite
            &[0x30, 0x81, 0x01, 0],       // would fit one byte
            &[0x30, 0x82, 0x00, 0x80],    // leading zero
            &[0x30, 0x02, 0x00],          // beyond the end
            &[0x30, 0x85, 1, 1, 1, 1, 1], // more than a file can have
            &[0x1f, 0x81, 0x01, 0x00],    // a tag of several bytes
        ] {
            assert!(Reader::new(bytes).value().is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn what_follows_an_only_value_is_refused() {
        assert_eq!(Reader::only(&[0x04, 1, 7], tag::OCTET_STRING), Ok(&[7][..]));
        assert_eq!(Reader::only(&[0x04, 1, 7, 0], tag::OCTET_STRING), Err(BadDer));
        assert_eq!(Reader::only(&[0x04, 1, 7], tag::INTEGER), Err(BadDer));
    }

    proptest! {
        #[test]
        fn values_tile_what_was_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = Reader::new(&bytes);
            let mut read = 0;
            while let Ok(value) = reader.value() {
                prop_assert_eq!(value.whole, &bytes[read..read + value.whole.len()]);
                prop_assert!(value.whole.ends_with(value.contents));
                read += value.whole.len();
            }
        }

        #[test]
        fn what_was_written_is_read_back(length in 0usize..70_000) {
            let contents = vec![7; length];
            let mut der = vec![tag::OCTET_STRING];
            match contents.len() {
                short @ 0..=0x7f => der.push(short as u8),
                short @ 0x80..=0xff => der.extend([0x81, short as u8]),
                short @ 0x100..=0xffff => der.extend([0x82, (short >> 8) as u8, short as u8]),
                long => der.extend([0x83, (long >> 16) as u8, (long >> 8) as u8, long as u8]),
            }
            der.extend(&contents);
            prop_assert_eq!(Reader::only(&der, tag::OCTET_STRING), Ok(&contents[..]));
        }
    }
}
