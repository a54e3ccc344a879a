//! MKIs as SDES writes them: `value:length`, a decimal integer and how many bytes it takes in each
//! packet, big-endian (RFC 4568 section 6.1).

use bytes::{BufMut, BytesMut};
use srtp::Mki;

use super::line::split_once;

/// Reads `value:length`: 1 to [`Mki::MAX_LEN`] bytes, into which the value fits.
pub(super) fn parse(text: &[u8]) -> Option<Mki> {
    let (value, len) = split_once(text, b':')?;
    (!value.is_empty() && value.len() <= DIGITS_MAX && len.len() <= 3).then_some(())?;
    let len = std::str::from_utf8(len).ok().filter(|len| !len.starts_with('+'))?.parse().ok()?;
    let mut bytes = [0_u8; Mki::MAX_LEN];
    let bytes = bytes.get_mut(..len).filter(|bytes| !bytes.is_empty())?;
    for digit in value {
        times_ten_plus(bytes, digit.is_ascii_digit().then(|| digit - b'0')?)?;
    }
    Mki::new(bytes).ok()
}

/// Appends `value:length`.
pub(super) fn print(mki: &Mki, out: &mut BytesMut) {
    let mut value = mki.as_bytes().to_vec();
    let mut digits = Vec::with_capacity(DIGITS_MAX);
    loop {
        digits.push(b'0' + divide_by_ten(&mut value));
        if value.iter().all(|byte| *byte == 0) {
            break;
        }
    }
    digits.reverse();
    out.put_slice(&digits);
    out.put_slice(format!(":{}", mki.len()).as_bytes());
}

/// `None` where it does not fit.
fn times_ten_plus(value: &mut [u8], digit: u8) -> Option<()> {
    let mut carry = u16::from(digit);
    for byte in value.iter_mut().rev() {
        carry += u16::from(*byte) * 10;
        *byte = carry as u8;
        carry >>= 8;
    }
    (carry == 0).then_some(())
}

/// Returns the remainder.
fn divide_by_ten(value: &mut [u8]) -> u8 {
    let mut remainder = 0;
    for byte in value {
        let dividend = remainder << 8 | u16::from(*byte);
        *byte = (dividend / 10) as u8;
        remainder = dividend % 10;
    }
    remainder as u8
}

/// Digits of the largest value, 2^1024 - 1: more would only be zeros in front.
const DIGITS_MAX: usize = 309;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<u8>> {
        parse(text.as_bytes()).map(|mki| mki.as_bytes().to_vec())
    }

    #[test]
    fn a_value_stands_big_endian_in_as_many_bytes_as_it_says() {
        assert_eq!(read("1066:4"), Some(vec![0, 0, 4, 42]));
        assert_eq!(read("0:1"), Some(vec![0]));
        assert_eq!(read("255:1"), Some(vec![255]));
        assert_eq!(read("1:128"), Some([&[0; 127][..], &[1]].concat()));
    }

    #[test]
    fn the_largest_value_of_each_length_fits_and_one_more_does_not() {
        let mut largest = [255; Mki::MAX_LEN].to_vec();
        while !largest.is_empty() {
            let mki = Mki::new(&largest).unwrap();
            let mut text = BytesMut::new();
            print(&mki, &mut text);
            assert_eq!(parse(&text), Some(mki));
            largest.pop();
        }
        for too_large in ["256:1", "65536:2", "18446744073709551616:8"] {
            assert_eq!(read(too_large), None, "{too_large}");
        }
    }

    #[test]
    fn anything_else_is_no_mki() {
        let long = format!("{}:1", "0".repeat(310));
        for bad in ["", ":", "1:", ":1", "1:0", "1:129", "1:+1", "+1:1", "1:1:1", "a:1", &long] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
