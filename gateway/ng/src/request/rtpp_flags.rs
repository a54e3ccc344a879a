//! The grammar of `rtpp-flags`: the string from an SBC's script that newer Kamailio passes on
//! unread.
//!
//! Words are separated by blanks; a word is `name`, `name=value` or `name=[word word …]`, and
//! brackets nest. Brackets without an end close at the end of the string.

use bytes::Bytes;

use crate::wire::{Dict, Value};

/// One word of the string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// What is before `=`, or the whole word.
    pub(super) name: Bytes,
    /// What is after `=`: a string, or for brackets a list.
    pub(super) value: Option<Value>,
    /// The word as written.
    pub(super) whole: Bytes,
}

/// The words of a string, in order.
pub(super) fn words(text: &Bytes) -> Words<'_> {
    Words { text, at: 0, depth: 0 }
}

/// One flag of a list: `name` or `name=value`, where the name may have blanks.
pub(super) fn word(flag: &Bytes) -> Word {
    let Some(equals) = flag.iter().position(|&byte| byte == b'=') else {
        return Word { name: flag.clone(), value: None, whole: flag.clone() };
    };
    let value = Words { text: flag, at: equals + 1, depth: 0 }.value();
    Word { name: flag.slice(..equals), value: Some(value), whole: flag.clone() }
}

pub(super) struct Words<'a> {
    text: &'a Bytes,
    at: usize,
    depth: usize,
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        self.skip(|byte| byte.is_ascii_whitespace());
        let start = self.at;
        match self.text.get(start)? {
            // The end of the bracket this is the inside of.
            b']' if self.depth > 0 => return None,
            b']' => {
                // A stray one: skip it rather than stop.
                self.at += 1;
                return self.next_after_stray();
            }
            _ => {}
        }
        self.skip(|byte| !byte.is_ascii_whitespace() && byte != b'=' && byte != b']');
        let name = self.text.slice(start..self.at);
        let value = match self.text.get(self.at) {
            Some(b'=') => {
                self.at += 1;
                Some(self.value())
            }
            _ => None,
        };
        Some(Word { name, value, whole: self.text.slice(start..self.at) })
    }
}

impl Words<'_> {
    fn next_after_stray(&mut self) -> Option<Word> {
        self.skip(|byte| byte == b']' || byte.is_ascii_whitespace());
        self.next()
    }

    fn value(&mut self) -> Value {
        if self.text.get(self.at) == Some(&b'[') && self.depth < MAX_NESTING {
            self.at += 1;
            return Value::List(self.inside());
        }
        let start = self.at;
        let nested = self.depth > 0;
        self.skip(|byte| !(byte.is_ascii_whitespace() || nested && byte == b']'));
        Value::Bytes(self.text.slice(start..self.at))
    }

    /// The words up to the closing bracket; one with a value becomes a dictionary of one.
    fn inside(&mut self) -> Vec<Value> {
        self.depth += 1;
        let mut items = Vec::new();
        for word in self.by_ref() {
            items.push(match word.value {
                None => Value::Bytes(word.name),
                Some(value) => Value::Dict(Dict(vec![(word.name, value)])),
            });
        }
        self.depth -= 1;
        // Over the bracket itself, where there is one.
        self.at = self.text.len().min(self.at + 1);
        items
    }

    fn skip(&mut self, matches: impl Fn(u8) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().take_while(|&&byte| matches(byte)).count();
    }
}

/// Brackets within brackets; the incumbent's deepest use is three.
const MAX_NESTING: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `name`, `name=value` and `name=[…]` printed unambiguously.
    fn show(text: &str) -> String {
        let text = Bytes::copy_from_slice(text.as_bytes());
        let shown: Vec<String> = words(&text)
            .map(|word| {
                let name = word.name.escape_ascii();
                word.value
                    .map_or(format!("{name}"), |value| format!("{name}={}", show_value(&value)))
            })
            .collect();
        shown.join(" | ")
    }

    fn show_value(value: &Value) -> String {
        match value {
            Value::Bytes(bytes) => bytes.escape_ascii().to_string(),
            Value::Int(int) => int.to_string(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(show_value).collect::<Vec<_>>().join(","))
            }
            Value::Dict(dict) => {
                let (name, value) = &dict.0[0];
                format!("{}:{}", name.escape_ascii(), show_value(value))
            }
        }
    }

    #[test]
    fn splits_as_the_grammar_says() {
        for (text, expected) in [
            ("", ""),
            ("  ", ""),
            ("RTP/AVP", "RTP/AVP"),
            (" a  b\tc ", "a | b | c"),
            ("delete-delay=30 fast", "delete-delay=30 | fast"),
            ("direction=pub direction=priv", "direction=pub | direction=priv"),
            ("direction=[pub priv]", "direction=[pub,priv]"),
            ("label=a=b", "label=a=b"),
            ("key=", "key="),
            ("=x", "=x"),
            ("key=[]", "key=[]"),
            ("key=[ a ] b", "key=[a] | b"),
            ("codec=[strip=[PCMU PCMA] mask=[all]] x", "codec=[strip:[PCMU,PCMA],mask:[all]] | x"),
            ("key=[a b c=[d]] e", "key=[a,b,c:[d]] | e"),
            ("key=[a b c=d] e", "key=[a,b,c:d] | e"),
            ("key=[a [b] c] e", "key=[a,[b] | c | e"),
            ("open=[a b", "open=[a,b]"),
            ("open=[a b=[c", "open=[a,b:[c]]"),
            ("a ] b", "a | b"),
            ("sdes=[order:A;B; pad]", "sdes=[order:A;B;,pad]"),
        ] {
            assert_eq!(show(text), expected, "{text:?}");
        }
    }

    #[test]
    fn whole_words_keep_their_spelling() {
        let text = Bytes::from_static(b"x=[a b] TOS=184");
        let whole: Vec<Bytes> = words(&text).map(|word| word.whole).collect();
        assert_eq!(whole, ["x=[a b]", "TOS=184"]);
    }

    #[test]
    fn flags_of_a_list_may_have_blanks() {
        let flag = word(&Bytes::from_static(b"strict source"));
        assert_eq!((&flag.name[..], flag.value), (&b"strict source"[..], None));
        let flag = word(&Bytes::from_static(b"delete delay=30"));
        assert_eq!((&flag.name[..], flag.value), (&b"delete delay"[..], Some("30".into())));
    }

    #[test]
    fn hostile_nesting_is_bounded() {
        let text = Bytes::from("a=[".repeat(20_000));
        assert!(words(&text).count() <= 2);
        assert!(words(&Bytes::from("]".repeat(60_000))).next().is_none());
        assert!(words(&Bytes::from("] ".repeat(30_000))).next().is_none());
    }

    proptest! {
        #[test]
        fn never_panics_and_ends(text in "[a-c=\\[\\] ]{0,60}") {
            let text = Bytes::from(text);
            prop_assert!(words(&text).count() <= text.len());
        }
    }
}
