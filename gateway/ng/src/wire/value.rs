//! Values of either encoding, and how loosely peers type them.

use bytes::Bytes;

/// A value of either encoding. Strings stay bytes: peers send what they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An integer (peers also send integers as strings).
    Int(i64),
    /// A string.
    Bytes(Bytes),
    /// A list.
    List(Vec<Value>),
    /// A dictionary.
    Dict(Dict),
}

impl Value {
    /// The integer, also when written as a string of decimal digits.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
            Self::List(_) | Self::Dict(_) => None,
        }
    }

    /// The string.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The string, where it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The elements of a list, or the value itself: peers write a list of one either way.
    pub fn items(&self) -> &[Value] {
        match self {
            Self::List(items) => items,
            single => std::slice::from_ref(single),
        }
    }

    /// The dictionary.
    pub fn dict(&self) -> Option<&Dict> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<u64> for Value {
    /// Counters beyond `i64` stay at its maximum: no peer reads more.
    fn from(int: u64) -> Self {
        Self::Int(i64::try_from(int).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(int: usize) -> Self {
        Self::Int(i64::try_from(int).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(int: u32) -> Self {
        Self::Int(int.into())
    }
}

impl From<u16> for Value {
    fn from(int: u16) -> Self {
        Self::Int(int.into())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl From<Dict> for Value {
    fn from(dict: Dict) -> Self {
        Self::Dict(dict)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items)
    }
}

/// A dictionary in the order it arrived or is to be sent: no peer sorts its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dict(pub Vec<(Bytes, Value)>);

impl Dict {
    /// The value of exactly this key; of a key given twice the first counts.
    pub fn value(&self, key: impl AsRef<[u8]>) -> Option<&Value> {
        let key = key.as_ref();
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The string under this key.
    pub fn bytes(&self, key: impl AsRef<[u8]>) -> Option<&Bytes> {
        self.value(key)?.bytes()
    }

    /// The integer under this key.
    pub fn int(&self, key: impl AsRef<[u8]>) -> Option<i64> {
        self.value(key)?.int()
    }

    /// The dictionary under this key.
    pub fn dict(&self, key: impl AsRef<[u8]>) -> Option<&Dict> {
        self.value(key)?.dict()
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, key: impl Into<Bytes>, value: impl Into<Value>) {
        self.0.push((key.into(), value.into()));
    }

    /// The same with an entry more.
    #[must_use]
    pub fn with(mut self, key: impl Into<Bytes>, value: impl Into<Value>) -> Self {
        self.push(key, value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_may_come_as_strings() {
        assert_eq!(Value::from("30").int(), Some(30));
        assert_eq!(Value::from("-1").int(), Some(-1));
        assert_eq!(Value::from("3x").int(), None);
        assert_eq!(Value::List(vec![]).int(), None);
    }

    #[test]
    fn a_single_string_reads_as_a_list_of_one() {
        assert_eq!(Value::from("force").items(), [Value::from("force")]);
        assert_eq!(Value::List(vec![Value::Int(1)]).items(), [Value::Int(1)]);
    }

    #[test]
    fn of_a_key_given_twice_the_first_counts() {
        let dict = Dict::default().with("command", "ping").with("command", "offer");
        assert_eq!(dict.bytes("command").unwrap(), "ping");
    }

    #[test]
    fn counters_beyond_i64_saturate() {
        assert_eq!(Value::from(u64::MAX), Value::Int(i64::MAX));
    }
}
