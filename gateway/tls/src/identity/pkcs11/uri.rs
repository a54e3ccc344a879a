//! Which key in which token: RFC 7512 URIs, as far as they name private keys.
//!
//! What is not understood is refused rather than ignored, since a wrong key would be the
//! consequence; and so is `pin-value`, as a PIN has no place in a configuration. Nothing is opened
//! here.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A private key in a token, and how to get at it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenUri {
    /// `token`: the token's label.
    pub(crate) token: Option<String>,
    /// `serial`: the token's serial number.
    pub(crate) serial: Option<String>,
    /// `manufacturer`: the token's.
    pub(crate) manufacturer: Option<String>,
    /// `model`: the token's.
    pub(crate) model: Option<String>,
    /// `object`: the key's label.
    pub(crate) object: Option<String>,
    /// `id`: the key's `CKA_ID`.
    pub(crate) id: Option<Vec<u8>>,
    /// `module-path`: the library that knows the token.
    pub(crate) module: PathBuf,
    /// `pin-source`: the file that the PIN is in.
    pub(crate) pin: Option<PathBuf>,
}

/// Why a URI names no key. The URI itself is left out: there may be a PIN in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    /// Another kind of URI.
    #[error("a key in a token is `pkcs11:` and what RFC 7512 says")]
    Scheme,
    /// Something without a value, or with a broken `%` in it.
    #[error(
        "the attribute {0:?} has no value that can be read (RFC 7512: `name=value`, `%` and two digits)"
    )]
    Value(String),
    /// Something that would be ignored otherwise.
    #[error("the attribute {0:?} is not known here; leave it out")]
    Unknown(String),
    /// Which one counts?
    #[error("the attribute {0:?} is there twice")]
    Twice(String),
    /// A PIN in the configuration.
    #[error(
        "`pin-value` shows the PIN to whoever sees the configuration; write `pin-source=file:` and a file with the PIN in it"
    )]
    PinValue,
    /// A PIN from elsewhere than a file.
    #[error("`pin-source` must be `file:` and a path")]
    PinSource,
    /// Another kind of object.
    #[error("`type` must be `private`, or left out")]
    Type,
    /// Which library?
    #[error("`module-path` is missing: the path of the token's PKCS#11 library")]
    NoModule,
    /// Which key?
    #[error("neither `object` nor `id` says which key it is")]
    NoObject,
}

impl FromStr for TokenUri {
    type Err = BadUri;

    fn from_str(uri: &str) -> Result<Self, BadUri> {
        let rest = uri.strip_prefix(SCHEME).ok_or(BadUri::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = Parts::default();
        for attribute in path.split(';').filter(|attribute| !attribute.is_empty()) {
            parts.take_path(attribute)?;
        }
        for attribute in query.split('&').filter(|attribute| !attribute.is_empty()) {
            parts.take_query(attribute)?;
        }
        if parts.object.is_none() && parts.id.is_none() {
            return Err(BadUri::NoObject);
        }
        Ok(Self {
            token: parts.token,
            serial: parts.serial,
            manufacturer: parts.manufacturer,
            model: parts.model,
            object: parts.object,
            id: parts.id,
            module: parts.module.ok_or(BadUri::NoModule)?.into(),
            pin: parts.pin.map(PathBuf::from),
        })
    }
}

/// The key and its token, without the way to the PIN.
impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        f.write_str(SCHEME)?;
        for (name, value) in [
            ("token", &self.token),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("object", &self.object),
        ] {
            if let Some(value) = value {
                write!(f, "{separator}{name}=")?;
                encoded(value.as_bytes(), f)?;
                separator = ";";
            }
        }
        if let Some(id) = &self.id {
            write!(f, "{separator}id=")?;
            id.iter().try_for_each(|byte| write!(f, "%{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was read so far.
#[derive(Default)]
struct Parts {
    token: Option<String>,
    serial: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: Option<String>,
    pin: Option<String>,
}

impl Parts {
    /// RFC 7512 section 2.3, `pk11-pattr`.
    fn take_path(&mut self, attribute: &str) -> Result<(), BadUri> {
        let (name, value) = split(attribute)?;
        let place = match name {
            "token" => &mut self.token,
            "serial" => &mut self.serial,
            "manufacturer" => &mut self.manufacturer,
            "model" => &mut self.model,
            "object" => &mut self.object,
            "id" => return once(name, &mut self.id, value),
            "type" if value == b"private" => return Ok(()),
            "type" => return Err(BadUri::Type),
            _ => return Err(BadUri::Unknown(name.to_owned())),
        };
        once(name, place, text(name, value)?)
    }

    /// RFC 7512 section 2.3, `pk11-qattr`.
    fn take_query(&mut self, attribute: &str) -> Result<(), BadUri> {
        if attribute.starts_with("pin-value") {
            return Err(BadUri::PinValue);
        }
        let (name, value) = split(attribute)?;
        match name {
            "module-path" => once(name, &mut self.module, text(name, value)?),
            "pin-source" => {
                let value = text(name, value)?;
                let path = value.strip_prefix("file:").unwrap_or(&value);
                // `file:///etc/pin` and `file:/etc/pin` are the same (RFC 8089).
                let path =
                    path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
                let is_command = value.starts_with('|');
                if is_command || path.is_empty() || path.starts_with("//") {
                    return Err(BadUri::PinSource);
                }
                once(name, &mut self.pin, path.to_owned())
            }
            _ => Err(BadUri::Unknown(name.to_owned())),
        }
    }
}

fn once<T>(name: &str, place: &mut Option<T>, value: T) -> Result<(), BadUri> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadUri::Twice(name.to_owned())),
    }
}

fn split(attribute: &str) -> Result<(&str, Vec<u8>), BadUri> {
    let (name, value) =
        attribute.split_once('=').ok_or_else(|| BadUri::Value(attribute.to_owned()))?;
    let value = decoded(value).ok_or_else(|| BadUri::Value(name.to_owned()))?;
    Ok((name, value))
}

fn text(name: &str, value: Vec<u8>) -> Result<String, BadUri> {
    match String::from_utf8(value) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(BadUri::Value(name.to_owned())),
    }
}

/// RFC 3986 section 2.1.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        });
    }
    Some(decoded)
}

/// What stands for itself in any attribute; the rest in `%` and two digits.
fn encoded(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,".contains(byte) {
            write!(f, "{}", char::from(*byte))?;
        } else {
            write!(f, "%{byte:02x}")?;
        }
    }
    Ok(())
}

const SCHEME: &str = "pkcs11:";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(uri: &str) -> Result<TokenUri, BadUri> {
        uri.parse()
    }

    #[test]
    fn a_uri_says_where_the_key_the_library_and_the_pin_are() {
        let uri = parsed(
            "pkcs11:token=My%20token;object=sip;id=%01%ff;type=private\
             ?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin",
        )
        .unwrap();
        assert_eq!(uri.token.as_deref(), Some("My token"));
        assert_eq!(uri.object.as_deref(), Some("sip"));
        assert_eq!(uri.id.as_deref(), Some(&[1, 0xff][..]));
        assert_eq!(uri.module, PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"));
        assert_eq!(uri.pin, Some(PathBuf::from("/run/pin")));
        assert_eq!(format!("{uri} {uri:?}"), format!("{uri} {uri}"));
        assert_eq!(uri.to_string(), "pkcs11:token=My%20token;object=sip;id=%01%ff");
        for source in ["file:///run/pin", "/run/pin"] {
            let uri = format!("pkcs11:object=a?module-path=m&pin-source={source}");
            assert_eq!(parsed(&uri).unwrap().pin, Some(PathBuf::from("/run/pin")), "{source}");
        }
        let credential = parsed("pkcs11:object=a?module-path=m&pin-source=file:pin").unwrap();
        assert_eq!(credential.pin, Some(PathBuf::from("pin")));
    }

    #[test]
    fn a_pin_in_the_uri_is_refused_and_not_repeated() {
        let error = parsed("pkcs11:object=a?module-path=m&pin-value=4711").unwrap_err();
        assert_eq!(error, BadUri::PinValue);
        assert!(!format!("{error} {error:?}").contains("4711"));
        for source in ["|cat%20pin", "file:", "file://host/pin"] {
            let uri = format!("pkcs11:object=a?module-path=m&pin-source={source}");
            assert_eq!(parsed(&uri), Err(BadUri::PinSource), "{source}");
        }
    }

    #[test]
    fn what_names_no_key_says_what_is_missing() {
        for (uri, fault) in [
            ("sip.key", BadUri::Scheme),
            ("pkcs11:token=a?module-path=m", BadUri::NoObject),
            ("pkcs11:object=a", BadUri::NoModule),
            ("pkcs11:object=a;slot-id=3?module-path=m", BadUri::Unknown("slot-id".to_owned())),
            ("pkcs11:object=a?module-name=m", BadUri::Unknown("module-name".to_owned())),
            ("pkcs11:object=a;object=b?module-path=m", BadUri::Twice("object".to_owned())),
            ("pkcs11:object=%4?module-path=m", BadUri::Value("object".to_owned())),
            ("pkcs11:object=%ff?module-path=m", BadUri::Value("object".to_owned())),
            ("pkcs11:object?module-path=m", BadUri::Value("object".to_owned())),
            ("pkcs11:object=a;type=public?module-path=m", BadUri::Type),
        ] {
            assert_eq!(parsed(uri), Err(fault), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn a_label_comes_back_whatever_is_in_it(label in "\\PC{1,20}", id in proptest::collection::vec(any::<u8>(), 1..8)) {
            let uri = TokenUri {
                token: Some(label.clone()),
                serial: None,
                manufacturer: None,
                model: None,
                object: Some(label),
                id: Some(id),
                module: PathBuf::from("m"),
                pin: None,
            };
            prop_assert_eq!(parsed(&format!("{uri}?module-path=m")), Ok(uri));
        }

        #[test]
        fn nothing_that_is_written_panics(uri in "pkcs11:\\PC{0,60}") {
            let _any = parsed(&uri);
        }
    }
}
