//! The elements of an RTP header extension (RFC 8285 sections 4.2 and 4.3).
//!
//! ```text
//! one-byte form, 0xBEDE:  | id 4 | len-1 4 | data 1 to 16 |  0 is padding, id 15 ends the list
//! two-byte form, 0x100x:  | id 8 | len   8 | data 0 to 255 | 0 is padding
//! ```
//!
//! Nothing an extension says is refused: what cannot be an element ends the list. Sender and
//! receiver read the same ids and lengths, so they end it at the same place.

use std::mem;

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    OneByte,
    TwoByte,
}

impl Form {
    /// The form that an extension's profile word announces, if it is one of RFC 8285's.
    pub(super) fn of(profile: u16) -> Option<Self> {
        match profile {
            ONE_BYTE => Some(Self::OneByte),
            // The last four bits are the application's.
            _ if profile & 0xfff0 == TWO_BYTE => Some(Self::TwoByte),
            _ => None,
        }
    }
}

/// An element of an extension.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) id: u8,
    /// Where its data begin in the extension, which begins behind profile word and length.
    pub(super) offset: usize,
    pub(super) data: &'a mut [u8],
}

/// The elements of an extension, in order.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    form: Form,
    rest: &'a mut [u8],
    offset: usize,
}

impl<'a> Elements<'a> {
    /// The elements of `extension`, without its profile word and length.
    pub(super) fn new(form: Form, extension: &'a mut [u8]) -> Self {
        Self { form, rest: extension, offset: 0 }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        // Not put back, whatever ends the list ends it for good.
        let rest = mem::take(&mut self.rest);
        let padding = rest.iter().position(|&byte| byte != 0)?;
        let rest = &mut rest[padding..];
        let (id, header_len, len) = match self.form {
            Form::OneByte => {
                let id = rest[0] >> 4;
                // Section 4.2: 15 ends the list, and so does 0 with a length.
                if id == 0 || id == 15 {
                    return None;
                }
                (id, 1, usize::from(rest[0] & 0x0f) + 1)
            }
            Form::TwoByte => (rest[0], 2, usize::from(*rest.get(1)?)),
        };
        let (element, rest) = rest.split_at_mut_checked(header_len + len)?;
        let offset = self.offset + padding + header_len;
        self.offset = offset + len;
        self.rest = rest;
        Some(Element { id, offset, data: &mut element[header_len..] })
    }
}

/// The profile word of the one-byte form.
pub(super) const ONE_BYTE: u16 = 0xbede;
/// That of the two-byte form, but for its last four bits.
pub(super) const TWO_BYTE: u16 = 0x1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(form: Form, extension: &[u8]) -> Vec<(u8, usize, Vec<u8>)> {
        let mut extension = extension.to_vec();
        Elements::new(form, &mut extension)
            .map(|element| (element.id, element.offset, element.data.to_vec()))
            .collect()
    }

    #[test]
    fn only_the_forms_of_rfc_8285_have_elements() {
        assert_eq!(Form::of(0xbede), Some(Form::OneByte));
        assert_eq!(Form::of(0x1000), Some(Form::TwoByte));
        assert_eq!(Form::of(0x100f), Some(Form::TwoByte));
        for other in [0x0000, 0x0100, 0x1010, 0xbedf, 0xc0de, 0xc2de] {
            assert_eq!(Form::of(other), None, "{other:#x}");
        }
    }

    #[test]
    fn one_byte_elements_end_at_15_at_a_long_0_and_at_one_cut_short() {
        let expected = vec![(1, 1, vec![7, 8]), (14, 5, vec![9])];
        for end in [&[][..], &[0], &[0xf0, 1], &[0x01, 1, 2], &[0x21, 1], &[0x20]] {
            let list = [&[0x11, 7, 8, 0, 0xe0, 9][..], end].concat();
            assert_eq!(read(Form::OneByte, &list), expected, "{end:?}");
        }
        assert_eq!(read(Form::OneByte, &[0x2f; 17]), [(2, 1, vec![0x2f; 16])]);
    }

    #[test]
    fn two_byte_elements_may_be_empty_and_end_at_one_cut_short() {
        let expected = vec![(15, 2, vec![7]), (255, 6, vec![]), (3, 8, vec![0, 1])];
        for end in [&[][..], &[0, 0], &[4], &[4, 2, 1]] {
            let list = [&[15, 1, 7, 0, 255, 0, 3, 2, 0, 1][..], end].concat();
            assert_eq!(read(Form::TwoByte, &list), expected, "{end:?}");
        }
    }

    proptest! {
        #[test]
        fn elements_of_any_bytes_lie_within_them_and_apart(bytes: Vec<u8>, one_byte: bool) {
            let form = if one_byte { Form::OneByte } else { Form::TwoByte };
            let mut end = 0;
            for (id, offset, data) in read(form, &bytes) {
                prop_assert!(id != 0);
                prop_assert!(offset > end);
                end = offset + data.len();
                prop_assert_eq!(&bytes[offset..end], data);
            }
        }
    }
}
