//! Bencode as SBCs write it: keys in any order, strings of any bytes.
//!
//! A strict BEP 3 decoder refuses real traffic, so order and duplicates of keys are not checked.

use std::io::Write;

use bytes::Bytes;

use super::{Dict, MAX_DEPTH, MAX_VALUES, Value};

/// Reads the dictionary that `input` begins with; `None` where it is malformed, cut short, too
/// deep or has too many values.
pub(super) fn decode(input: &Bytes) -> Option<Dict> {
    let mut reader = Reader { input, at: 0, values: 0 };
    match reader.value(0)? {
        Value::Dict(dict) => Some(dict),
        _ => None,
    }
}

/// Appends the dictionary in the order it has.
pub(super) fn encode(dict: &Dict, out: &mut Vec<u8>) {
    out.push(b'd');
    for (key, value) in &dict.0 {
        encode_string(key, out);
        encode_value(value, out);
    }
    out.push(b'e');
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(int) => write_to(out, format_args!("i{int}e")),
        Value::Bytes(bytes) => encode_string(bytes, out),
        Value::List(items) => {
            out.push(b'l');
            items.iter().for_each(|item| encode_value(item, out));
            out.push(b'e');
        }
        Value::Dict(dict) => encode(dict, out),
    }
}

fn encode_string(bytes: &[u8], out: &mut Vec<u8>) {
    write_to(out, format_args!("{}:", bytes.len()));
    out.extend_from_slice(bytes);
}

fn write_to(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec does not fail.
    let _ = out.write_fmt(text);
}

struct Reader<'a> {
    input: &'a Bytes,
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return None;
        }
        match *self.input.get(self.at)? {
            b'i' => self.int().map(Value::Int),
            b'l' => self.list(depth).map(Value::List),
            b'd' => self.dict(depth).map(Value::Dict),
            _ => self.string().map(Value::Bytes),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Value>> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.end()? {
            items.push(self.value(depth + 1)?);
        }
        Some(items)
    }

    fn dict(&mut self, depth: usize) -> Option<Dict> {
        self.at += 1;
        // The usual request has 10 to 16 keys: one allocation, not five.
        let mut entries = Vec::with_capacity(if depth == 0 { 16 } else { 0 });
        while !self.end()? {
            let key = self.string()?;
            entries.push((key, self.value(depth + 1)?));
        }
        Some(Dict(entries))
    }

    /// Whether the list or dictionary ends here; steps over its `e` if so.
    fn end(&mut self) -> Option<bool> {
        let ends = *self.input.get(self.at)? == b'e';
        self.at += usize::from(ends);
        Some(ends)
    }

    fn int(&mut self) -> Option<i64> {
        let digits = self.until(self.at + 1, b'e', MAX_INT_DIGITS)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn string(&mut self) -> Option<Bytes> {
        let digits = self.until(self.at, b':', MAX_LENGTH_DIGITS)?;
        let length = string_length(digits)?;
        let end = self.at.checked_add(length)?;
        if end > self.input.len() {
            return None;
        }
        let string = self.input.slice(self.at..end);
        self.at = end;
        Some(string)
    }

    /// The bytes from `start` to the next `stop`, at most `limit` of them; steps over `stop`.
    fn until(&mut self, start: usize, stop: u8, limit: usize) -> Option<&[u8]> {
        let rest = self.input.get(start..)?;
        let length = rest.iter().take(limit + 1).position(|&byte| byte == stop)?;
        self.at = start + length + 1;
        Some(&rest[..length])
    }
}

/// The length before a string's colon: digits only.
pub(super) fn string_length(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0')))
}

/// A length of more digits cannot fit into a message; also keeps `string_length` from overflowing.
pub(super) const MAX_LENGTH_DIGITS: usize = 8;

/// Sign and digits of `i64::MIN`.
pub(super) const MAX_INT_DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_str(text: &'static str) -> Option<Dict> {
        decode(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn takes_keys_in_any_order() {
        let dict = decode_str("d7:command5:offer7:call-id1:xe").unwrap();
        assert_eq!(dict.bytes("call-id").unwrap(), "x");
    }

    #[test]
    fn refuses_what_is_cut_short() {
        let whole = "d5:flagsl4:fast5:fatale12:delete-delayi30e3:sdp4:v=0\ne";
        assert!(decode_str(whole).is_some());
        for end in 0..whole.len() {
            assert!(decode(&Bytes::from_static(&whole.as_bytes()[..end])).is_none(), "{end}");
        }
    }

    #[test]
    fn refuses_lengths_that_are_no_numbers() {
        for bad in ["d-1:ae", "d:ae", "d+1:ai1ee", "d99999999999:ae", "d1:ai--1ee", "d1:aiee"] {
            assert!(decode_str(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn refuses_nesting_without_end() {
        let deep = format!("d1:x{}{}e", "l".repeat(60_000), "e".repeat(60_000));
        assert!(decode(&Bytes::from(deep)).is_none());
    }

    #[test]
    fn refuses_values_without_end() {
        let many = format!("d1:xl{}ee", "0:".repeat(MAX_VALUES));
        assert!(decode(&Bytes::from(many)).is_none());
    }
}
