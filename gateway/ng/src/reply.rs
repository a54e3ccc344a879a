//! What goes back: results, errors and the bodies of `query`, `delete`, `list` and `statistics`.
//!
//! Everything returns a [`Dict`]; [`crate::wire::encode`] writes it in the request's encoding.

mod call;
mod leg;
mod relay;

use bytes::Bytes;

use crate::wire::{Dict, Value};

pub use call::{
    CallStatistics, Counters, MediaStatistics, Residence, SsrcStatistics, StreamStatistics,
    TagStatistics,
};
pub use leg::{DtlsState, DtlsStatistics, IceState, IceStatistics, Side};
pub use relay::{
    CommandCount, InterfaceStatistics, ProxyStatistics, RelayStatistics, Sessions, Traffic,
};

/// The answer to `ping`.
pub fn pong() -> Dict {
    result("pong")
}

/// Success without more to say.
pub fn ok() -> Dict {
    result("ok")
}

/// Success, though something was odd.
pub fn warning(text: impl Into<Value>) -> Dict {
    ok().with("warning", text)
}

/// Failure. Controllers match on some reasons word for word.
pub fn error(reason: impl Into<Value>) -> Dict {
    result("error").with("error-reason", reason)
}

/// "Elsewhere, please": only for requests whose `supports` names "load limit".
pub fn load_limit(message: impl Into<Value>) -> Dict {
    result("load limit").with("message", message)
}

/// Success of an offer or answer.
pub fn sdp(body: Bytes) -> Dict {
    ok().with("sdp", body)
}

/// The answer to `list`.
pub fn list(call_ids: impl IntoIterator<Item = Bytes>) -> Dict {
    ok().with("calls", call_ids.into_iter().map(Value::Bytes).collect::<Vec<_>>())
}

/// The `warning` of a `delete` that found nothing, and its error with the flag `fatal`.
pub const NOT_FOUND: &str = "Call-ID not found or tags didn't match";

fn result(word: &'static str) -> Dict {
    Dict::default().with("result", word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Encoding, encode};

    fn bencode(dict: &Dict) -> String {
        String::from_utf8(encode(b"c", Encoding::Bencode, dict).to_vec()).unwrap()
    }

    #[test]
    fn replies_read_as_the_incumbents_do() {
        assert_eq!(bencode(&pong()), "c d6:result4:ponge");
        assert_eq!(
            bencode(&error("Unknown call-id")),
            "c d6:result5:error12:error-reason15:Unknown call-ide"
        );
        assert_eq!(bencode(&sdp(Bytes::from("v=0"))), "c d6:result2:ok3:sdp3:v=0e");
        assert_eq!(
            bencode(&load_limit("Parallel session limit reached")),
            "c d6:result10:load limit7:message30:Parallel session limit reachede"
        );
        assert_eq!(bencode(&list(["a".into()])), "c d6:result2:ok5:callsl1:aee");
        assert_eq!(bencode(&warning("x")), "c d6:result2:ok7:warning1:xe");
    }
}
