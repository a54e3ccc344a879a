//! Cookies, bencode and JSON: one datagram to one dictionary and back.

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

/// A dictionary in the order it arrived or is to be sent: no peer sorts its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dict(pub Vec<(Bytes, Value)>);
