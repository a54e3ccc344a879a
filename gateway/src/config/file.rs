//! The TOML file: reading it, refusing what it does not know, and writing every default.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Accepted, Config, Interface};
use crate::weakness;

/// Why a file was refused. Each names the place; the caller names nothing more.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or a value has the wrong type or form.
    #[error("{place}: {}{message}", named(key))]
    Value {
        /// File and line.
        place: Place,
        /// The setting, as `section.key`; empty where the file is not TOML.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key \"{key}\"{}: {suggestion}", in_section(section))]
    UnknownKey {
        /// File and line.
        place: Place,
        /// The key.
        key: String,
        /// The section it is in; empty at the top.
        section: String,
        /// The key that was probably meant, or all that exist there.
        suggestion: String,
    },
}

/// A file and a line in it, from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file.display(), self.line)
    }
}

fn in_section(section: &str) -> String {
    if section.is_empty() { String::new() } else { format!(" in [{section}]") }
}

fn named(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

/// The nearest key that exists, or all of them.
fn suggestion(key: &str, known: &toml::Table) -> String {
    let nearest = known
        .keys()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, key)) => format!("did you mean \"{key}\"?"),
        None => {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("it knows {}", known.join(", "))
        }
    }
}

/// Reads `path`.
pub fn load(path: &Path) -> Result<Config, FileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    parse(&text, path)
}

/// Reads `text`; `origin` is for messages.
pub fn parse(text: &str, origin: &Path) -> Result<Config, FileError> {
    let source = Source { text, origin };
    let table = DeTable::parse(text).map_err(|error| source.value_error(&error, String::new()))?;
    source.check_keys(table.get_ref(), &known_keys(), "")?;
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        source.value_error(&error, key_at(table.get_ref(), offset, "").unwrap_or_default())
    })
}

/// Every setting as TOML that [`parse`] reads to the same value.
pub fn print(config: &Config) -> Result<String, toml::ser::Error> {
    toml::to_string(config)
}

/// Every key that exists, as the table a file with all of them would be.
fn known_keys() -> toml::Table {
    let mut config = Config::default();
    let address = config.ng.listen.ip();
    config.srtp.accept = weakness::ALL.map(Accepted).to_vec();
    config.relay.strict_source = Some(true);
    config.ipsec.gateway_id = Some("gw-a".to_owned());
    config.admin.tls = Some(super::AdminTls::example());
    config.ipsec.peer = vec![super::Peer::example()];
    config.ipsec.sa = vec![super::ipsec::Sa::example()];
    config.tls.listener = vec![super::tls::TlsListener::example()];
    config.webrtc.certificate = Some(super::WebRtcCertificate::example());
    config.interface = vec![Interface { advertised: Some(address), ..Interface::unnamed(address) }];
    toml::Table::try_from(&config).unwrap_or_default()
}

/// The setting whose value is at this place in the file.
fn key_at(table: &DeTable<'_>, offset: usize, section: &str) -> Option<String> {
    for (name, value) in table {
        let key = full_name(section, name.get_ref());
        if let Some(inner) = tables(value.get_ref()).find_map(|t| key_at(t, offset, &key)) {
            return Some(inner);
        }
        if value.span().contains(&offset) {
            return Some(key);
        }
    }
    None
}

/// The table that a value is, or those of a list.
fn tables<'a, 'i>(value: &'a DeValue<'i>) -> impl Iterator<Item = &'a DeTable<'i>> {
    let items = value.as_array().into_iter().flatten().map(Spanned::get_ref);
    std::iter::once(value).chain(items).filter_map(DeValue::as_table)
}

fn full_name(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// What a setting takes, where the type of its default says that this value is not it.
fn expected(key: &str, value: &DeValue<'_>, default: &toml::Value) -> Option<String> {
    use toml::Value::{Array, Boolean, Float, Integer, String, Table};
    Some(match (default, value) {
        (Integer(_), DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            let most = most(key);
            match number.is_ok_and(|number| (0..=most).contains(&number)) {
                true => return None,
                false if most == i64::MAX => "a whole number, 0 or more".to_owned(),
                false => format!("a whole number from 0 to {most}"),
            }
        }
        (Float(_), DeValue::Float(_) | DeValue::Integer(_)) => return None,
        (Float(_), _) => format!("a number without quotes, such as {default}"),
        (Table(_), DeValue::Table(_))
        | (Array(_), DeValue::Array(_))
        | (String(_), DeValue::String(_))
        | (Boolean(_), DeValue::Boolean(_)) => return None,
        (Table(_), _) => format!("a section, [{key}]"),
        (Array(items), _) if items.first().is_some_and(toml::Value::is_table) => {
            format!("sections, [[{key}]]")
        }
        (Array(items), _) => {
            format!("a list in brackets, such as [{}]", items.first().unwrap_or(default))
        }
        (String(_), _) => format!("text in quotes, such as {default}"),
        (Boolean(_), _) => "true or false, without quotes".to_owned(),
        _ => "a whole number, without quotes".to_owned(),
    })
}

/// The highest number that a setting's type holds.
fn most(key: &str) -> i64 {
    match key {
        "relay.tos"
        | "srtp.mki_keys"
        | "ipsec.sa.protocol"
        | "ipsec.sa.rotation.jitter_percent" => i64::from(u8::MAX),
        "ipsec.sa.local_port"
        | "ipsec.sa.remote_port"
        | "ipsec.sa.encapsulation.local_port"
        | "ipsec.sa.encapsulation.remote_port" => i64::from(u16::MAX),
        "ipsec.sa.replay_window" => i64::from(u32::MAX),
        _ => i64::MAX,
    }
}

/// A file's text, to turn byte offsets into lines.
struct Source<'a> {
    text: &'a str,
    origin: &'a Path,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Place { file: self.origin.to_owned(), line }
    }

    fn value_error(&self, error: &toml::de::Error, key: String) -> FileError {
        let offset = error.span().map_or(0, |span| span.start);
        FileError::Value { place: self.place(offset), key, message: error.message().to_owned() }
    }

    /// Holds a value against the type of its default, in the operator's words: the parser's own
    /// are those of the program's types.
    fn check_type(
        &self,
        key: String,
        value: &Spanned<DeValue<'_>>,
        default: &toml::Value,
    ) -> Result<(), FileError> {
        let Some(expected) = expected(&key, value.get_ref(), default) else { return Ok(()) };
        let found = self.text.get(value.span()).unwrap_or_default();
        let found: String = found.chars().take_while(|c| *c != '\n').take(LONGEST_SHOWN).collect();
        let place = self.place(value.span().start);
        Err(FileError::Value { place, key, message: format!("found {found}, expected {expected}") })
    }

    /// Walks the file beside the table of known keys, so that the message can name the nearest.
    fn check_keys(
        &self,
        table: &DeTable<'_>,
        known: &toml::Table,
        section: &str,
    ) -> Result<(), FileError> {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let Some(shape) = known.get(name) else {
                return Err(self.unknown_key(name, key.span().start, known, section));
            };
            let full_name = full_name(section, name);
            self.check_type(full_name.clone(), value, shape)?;
            match (value.get_ref(), shape) {
                (DeValue::Table(inner), toml::Value::Table(shape)) => {
                    self.check_keys(inner, shape, &full_name)?;
                }
                (DeValue::Array(items), toml::Value::Array(shapes)) => {
                    let Some(shape) = shapes.first() else { continue };
                    for item in items {
                        self.check_type(full_name.clone(), item, shape)?;
                        if let (DeValue::Table(inner), Some(shape)) =
                            (item.get_ref(), shape.as_table())
                        {
                            self.check_keys(inner, shape, &full_name)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn unknown_key(
        &self,
        key: &str,
        offset: usize,
        known: &toml::Table,
        section: &str,
    ) -> FileError {
        FileError::UnknownKey {
            place: self.place(offset),
            key: key.to_owned(),
            section: section.to_owned(),
            suggestion: suggestion(key, known),
        }
    }
}

/// Below this Jaro-Winkler similarity a suggestion confuses more than it helps.
const SIMILAR: f64 = 0.75;

/// Characters of a wrong value that tell which one it is.
const LONGEST_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        parse(text, Path::new("gateway.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_every_default() {
        assert_eq!(read(""), Ok(Config::default()));
    }

    #[test]
    fn every_default_prints_as_toml_that_reads_to_itself() {
        let config = Config::default();
        assert_eq!(read(&print(&config).unwrap()), Ok(config));
    }

    #[test]
    fn a_typo_names_the_line_and_the_nearest_key() {
        let error = read("[relay]\nworkers = 1\nprots = \"1-2\"\n").unwrap_err();
        assert_eq!(
            error,
            "gateway.toml line 3: unknown key \"prots\" in [relay]: did you mean \"ports\"?"
        );
        let error = read("[relays]\n").unwrap_err();
        assert!(error.ends_with("did you mean \"relay\"?"), "{error}");
        let error = read("[[interface]]\naddres = \"127.0.0.1\"\n").unwrap_err();
        assert!(
            error.contains("line 2") && error.ends_with("did you mean \"address\"?"),
            "{error}"
        );
    }

    #[test]
    fn settings_that_are_left_out_by_default_are_known() {
        let config = read("[relay]\nstrict_source = true\n[srtp]\naccept = [\"f8\"]\n").unwrap();
        assert_eq!(config.relay.strict_source, Some(true));
        assert_eq!(config.srtp.accept, [Accepted(srtp::Weakness::F8)]);
        let error = read("[srtp]\naccept = [\"null\"]\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("null-cipher"), "{error}");
    }

    #[test]
    fn webrtc_is_read_with_its_certificate_and_a_typo_in_it_is_answered() {
        let text = "[webrtc]\nice = \"lite\"\nhandshake_cpu = 0.5\n\
                    certificate = { chain = \"a.pem\", key = \"pkcs11:object=dtls\" }\n";
        let config = read(text).unwrap();
        assert_eq!(config.webrtc.certificate.as_ref().unwrap().key, "pkcs11:object=dtls");
        assert_eq!(read(&print(&config).unwrap()), Ok(config));
        let error = read("[webrtc]\ncertificate = { chian = \"a.pem\" }\n").unwrap_err();
        assert!(error.ends_with("did you mean \"chain\"?"), "{error}");
        let error = read("[webrtc]\nhandshake_cpu = 8\n").unwrap_err();
        assert!(error.contains("webrtc.handshake_cpu: 8 is no share"), "{error}");
    }

    #[test]
    fn a_key_like_no_other_lists_what_exists() {
        let error = read("[http]\nxyzzy = 1\n").unwrap_err();
        assert!(error.ends_with("it knows listen"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_line_and_the_form_expected() {
        let error = read("[relay]\n\ntimeout = \"60\"\n").unwrap_err();
        assert!(error.starts_with("gateway.toml line 3: "), "{error}");
        assert!(error.contains("\"30s\""), "{error}");
        let error = read("[relay]\nio = \"iouring\"\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("uring"), "{error}");
        assert!(read("[relay\n").unwrap_err().contains("line 1"));
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_key_what_was_found_and_what_is_expected() {
        for (text, expected) in [
            (
                "[relay]\ntos = 300",
                "line 2: relay.tos: found 300, expected a whole number from 0 to 255",
            ),
            (
                "relay.workers = -1",
                "line 1: relay.workers: found -1, expected a whole number, 0 or more",
            ),
            (
                "[relay]\nworkers = \"2\"",
                "line 2: relay.workers: found \"2\", expected a whole number, without quotes",
            ),
            ("relay = 1", "line 1: relay: found 1, expected a section, [relay]"),
            (
                "[relay]\ntimeout = 60",
                "line 2: relay.timeout: found 60, expected text in quotes, such as \"1m\"",
            ),
            (
                "[ng]\ntcp = \"yes\"",
                "line 2: ng.tcp: found \"yes\", expected true or false, without quotes",
            ),
            (
                "[ng]\nsuites = 1",
                "line 2: ng.suites: found 1, expected a list in brackets, such as [\"AEAD_AES_256_GCM\"]",
            ),
            (
                "[ng]\nsuites = [1]",
                "line 2: ng.suites: found 1, expected text in quotes, such as \"AEAD_AES_256_GCM\"",
            ),
            (
                "[webrtc]\nhandshake_cpu = \"80%\"",
                "line 2: webrtc.handshake_cpu: found \"80%\", expected a number without quotes, such as 0.8",
            ),
            ("interface = 1", "line 1: interface: found 1, expected sections, [[interface]]"),
            (
                "[[interface]]\naddress = 10",
                "line 2: interface.address: found 10, expected text in quotes, such as \"127.0.0.1\"",
            ),
        ] {
            assert_eq!(read(text), Err(format!("gateway.toml {expected}")), "{text}");
        }
    }

    #[test]
    fn every_way_of_writing_a_whole_number_is_taken() {
        for text in ["1_6", "+16", "0x10", "0o20", "0b1_0000"] {
            let config = read(&format!("[relay]\ntos = {text}\n")).unwrap();
            assert_eq!(config.relay.tos, 16, "{text}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_form_names_its_key() {
        for (text, key) in [
            ("[relay]\ntimeout = \"60\"", "relay.timeout: \"60\""),
            ("[ng]\nlisten = \"x\"", "ng.listen: "),
            ("[relay]\nio = \"iouring\"", "relay.io: "),
            ("[[interface]]\naddress = \"eth0\"", "interface.address: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(&format!("gateway.toml line 2: {key}")), "{error}");
        }
    }
}
