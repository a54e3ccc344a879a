//! The elements of an RTP header extension, in the one-byte and the two-byte form of RFC 8285
//! section 4. A view that ends where lengths do not add up, and judges no value.

/// Goes through a header extension's elements: number and value.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a> {
    form: Form,
    rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OneByte,
    TwoByte,
}

impl<'a> Elements<'a> {
    /// Of an extension with this profile word and data; none of another form than these two.
    pub(crate) fn new(profile: u16, data: &'a [u8]) -> Self {
        match profile {
            0xbede => Self { form: Form::OneByte, rest: data },
            // The last four bits are the application's.
            0x1000..=0x100f => Self { form: Form::TwoByte, rest: data },
            _ => Self { form: Form::OneByte, rest: &[] },
        }
    }

    /// Number, length and what follows them.
    fn head(&self) -> Option<(u8, usize, &'a [u8])> {
        match (self.form, self.rest) {
            // Number 15 ends it, whatever follows; so does 0 with a length (section 4.2).
            (Form::OneByte, [first, after @ ..]) if matches!(first >> 4, 1..=14) => {
                Some((first >> 4, usize::from(first & 0x0f) + 1, after))
            }
            (Form::TwoByte, [id, length, after @ ..]) => Some((*id, usize::from(*length), after)),
            _ => None,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // A byte of zero is padding, in either form.
        while let [0, after @ ..] = self.rest {
            self.rest = after;
        }
        let (id, length, after) = self.head()?;
        let (value, rest) = after.split_at_checked(length)?;
        self.rest = rest;
        Some((id, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn elements(profile: u16, data: &[u8]) -> Vec<(u8, &[u8])> {
        Elements::new(profile, data).collect()
    }

    /// The example of RFC 8285 section 4.2, and its end by number 15.
    #[test]
    fn one_byte_elements_are_read_between_padding_up_to_number_fifteen() {
        let data = [0x10, 0xaa, 0x21, 0xb0, 0xb1, 0, 0, 0x33, 1, 2, 3, 4, 0xf0, 0x10, 5];
        let expected: [(u8, &[u8]); 3] = [(1, &[0xaa]), (2, &[0xb0, 0xb1]), (3, &[1, 2, 3, 4])];
        assert_eq!(elements(0xbede, &data), expected);
        assert_eq!(elements(0xbede, &[0x02, 0x10, 0xaa]), []);
    }

    /// The example of section 4.3, with any application bits.
    #[test]
    fn two_byte_elements_may_be_empty_and_have_any_number() {
        let data = [1, 0, 2, 1, 0xbb, 0, 200, 4, 1, 2, 3, 4];
        let expected: [(u8, &[u8]); 3] = [(1, &[]), (2, &[0xbb]), (200, &[1, 2, 3, 4])];
        for profile in [0x1000, 0x100f] {
            assert_eq!(elements(profile, &data), expected);
        }
        assert_eq!(elements(0x1010, &data), []);
    }

    #[test]
    fn an_element_past_the_end_is_none() {
        assert_eq!(elements(0xbede, &[0x13, 1, 2, 3]), []);
        assert_eq!(elements(0x1000, &[1, 3, 1, 2]), []);
        assert_eq!(elements(0x1000, &[1]), []);
    }

    proptest! {
        #[test]
        fn any_bytes_end(profile in prop_oneof![Just(0xbede_u16), Just(0x1000_u16)], data: Vec<u8>) {
            let total: usize = Elements::new(profile, &data).map(|(_, value)| value.len() + 1).sum();
            prop_assert!(total <= data.len());
        }
    }
}
