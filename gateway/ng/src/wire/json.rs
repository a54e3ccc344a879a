//! JSON dictionaries, decoded straight into [`Value`] so that depth and count stay bounded.
//!
//! JSON has types that ng has not: `true` and `false` become 1 and 0, `null` an empty string, a
//! number with a fraction its text.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Dict, MAX_DEPTH, MAX_VALUES, Value};

/// Reads the object that `input` is; `None` where it is not exactly one, or too deep or large.
pub(super) fn decode(input: &Bytes) -> Option<Dict> {
    let mut deserializer = serde_json::Deserializer::from_slice(input);
    let mut values = 0;
    let seed = Seed { input, depth: 0, values: &mut values };
    let value = seed.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Value::Dict(dict) => Some(dict),
        _ => None,
    }
}

/// Appends the dictionary as an object.
pub(super) fn encode(dict: &Dict, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in dict.0.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        encode_string(key, out);
        out.push(b':');
        encode_value(value, out);
    }
    out.push(b'}');
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(int) => out.extend_from_slice(int.to_string().as_bytes()),
        Value::Bytes(bytes) => encode_string(bytes, out),
        Value::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                encode_value(item, out);
            }
            out.push(b']');
        }
        Value::Dict(dict) => encode(dict, out),
    }
}

/// Bytes that are no UTF-8 become U+FFFD: JSON cannot carry them.
fn encode_string(bytes: &[u8], out: &mut Vec<u8>) {
    // Serializing a string into a Vec does not fail.
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(bytes));
}

/// Reads one value, counting all of them.
struct Seed<'a> {
    input: &'a Bytes,
    depth: usize,
    values: &'a mut usize,
}

impl Seed<'_> {
    fn inner(&mut self) -> Seed<'_> {
        Seed { input: self.input, depth: self.depth + 1, values: self.values }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.values += 1;
        if self.depth > MAX_DEPTH || *self.values > MAX_VALUES {
            return Err(D::Error::custom("too deep or too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Int).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::from(""))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Value, E> {
        // Lent from the datagram where the string has no escapes; the lifetime cannot say so.
        Ok(Value::Bytes(slice_or_copy(self.input, text.as_bytes())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::copy_from_slice(text.as_bytes())))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.inner())? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut dict = Dict::default();
        while let Some(key) = map.next_key_seed(self.inner())? {
            let Value::Bytes(key) = key else {
                return Err(A::Error::custom("a key that is no string"));
            };
            let value = map.next_value_seed(self.inner())?;
            dict.0.push((key, value));
        }
        Ok(Value::Dict(dict))
    }
}

/// A slice of `input` where `part` lies within it, else a copy.
fn slice_or_copy(input: &Bytes, part: &[u8]) -> Bytes {
    let within = input.as_ptr_range();
    let part_range = part.as_ptr_range();
    if within.start <= part_range.start && part_range.end <= within.end {
        input.slice_ref(part)
    } else {
        Bytes::copy_from_slice(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_str(text: &str) -> Option<Dict> {
        decode(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn reads_escapes_and_nested_values() {
        let dict = decode_str(r#"{"sdp":"v=0\r\n","flags":["fast"],"x":{"y":-3}}"#).unwrap();
        assert_eq!(dict.bytes("sdp").unwrap(), "v=0\r\n");
        assert_eq!(dict.value("flags").unwrap().items(), [Value::from("fast")]);
        assert_eq!(dict.dict("x").unwrap().int("y"), Some(-3));
    }

    #[test]
    fn types_that_ng_lacks_become_the_nearest() {
        let dict = decode_str(r#"{"a":true,"b":null,"c":1.5}"#).unwrap();
        assert_eq!(dict.int("a"), Some(1));
        assert_eq!(dict.bytes("b").unwrap(), "");
        assert_eq!(dict.bytes("c").unwrap(), "1.5");
    }

    #[test]
    fn refuses_nesting_without_end() {
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(decode_str(&deep).is_none());
    }

    #[test]
    fn refuses_values_without_end() {
        let many = format!(r#"{{"x":[0{}]}}"#, ",0".repeat(MAX_VALUES));
        assert!(decode_str(&many).is_none());
    }

    #[test]
    fn writes_bytes_that_are_no_text_as_replacement_characters() {
        let mut out = Vec::new();
        encode(&Dict::default().with("k", Bytes::from_static(b"a\xff")), &mut out);
        assert_eq!(out, "{\"k\":\"a\u{fffd}\"}".as_bytes());
    }
}
