//! The TOML file: reading it, refusing what it does not know, and writing every default.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, Interface};

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
    #[error("{place}: {message}")]
    Value {
        /// File and line.
        place: Place,
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
    let table = DeTable::parse(text).map_err(|error| source.value_error(&error))?;
    source.check_keys(table.get_ref(), &known_keys(), "")?;
    toml::from_str(text).map_err(|error| source.value_error(&error))
}

/// Every setting as TOML that [`parse`] reads to the same value.
pub fn print(config: &Config) -> Result<String, toml::ser::Error> {
    toml::to_string(config)
}

/// Every key that exists, as the table a file with all of them would be.
fn known_keys() -> toml::Table {
    let mut config = Config::default();
    let address = config.ng.listen.ip();
    config.interface = vec![Interface { advertised: Some(address), ..Interface::unnamed(address) }];
    toml::Table::try_from(&config).unwrap_or_default()
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

    fn value_error(&self, error: &toml::de::Error) -> FileError {
        let offset = error.span().map_or(0, |span| span.start);
        FileError::Value { place: self.place(offset), message: error.message().to_owned() }
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
            match (value.get_ref(), shape) {
                (DeValue::Table(inner), toml::Value::Table(shape)) => {
                    self.check_keys(inner, shape, name)?;
                }
                (DeValue::Array(items), toml::Value::Array(shapes)) => {
                    let Some(toml::Value::Table(shape)) = shapes.first() else { continue };
                    for item in items {
                        if let DeValue::Table(inner) = item.get_ref() {
                            self.check_keys(inner, shape, name)?;
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
}
