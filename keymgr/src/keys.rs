//! Keys that people have agreed on, from a file that only its owner can read, or standard input.
//!
//! The file is TOML (or JSON, which looks the same to this reader's eye):
//!
//! ```toml
//! [inbound]            # what we open with
//! spi = 0xc0000001
//! aead = "aes-256-gcm"
//! key = "0x…"          # key and salt: hexadecimal after 0x, else base64
//! [outbound]           # what we seal with
//! …
//! ```

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use crypto_offload::{Aead, ReservedSpi, SecretKey, Spi, WrongKeyLength};
use gateway_control::{KeyOffer, KeyText, ManualKeys};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// It cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may have read it.
    #[error("{}: others can read it (mode {mode:04o}): chmod 600 {}, and think of new keys", .path.display(), .path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to another user, who could change it.
    #[error("{}: it belongs to user {owner}, not to you or root", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Longer than any key file.
    #[error("it has more than {MAX_LEN} bytes")]
    TooLong,
    /// No TOML, or other fields. The parser's own words could quote a key.
    #[error(
        "line {line}: not a key file: expected [inbound] and [outbound], each with spi, aead and key"
    )]
    Syntax {
        /// Where, from 1; 0 where the parser did not say.
        line: usize,
    },
    /// A key that is neither hexadecimal nor base64.
    #[error("{which}.key: neither hexadecimal after 0x nor base64")]
    Encoding {
        /// inbound or outbound
        which: &'static str,
    },
    /// A key that is too long or too short.
    #[error("{which}.key: {source}")]
    Length {
        /// inbound or outbound
        which: &'static str,
        /// The numbers.
        source: WrongKeyLength,
    },
    /// An SPI that no SA may have.
    #[error("{which}.spi: {source}")]
    Spi {
        /// inbound or outbound
        which: &'static str,
        /// Which.
        source: ReservedSpi,
    },
    /// Both ways under one key: packets of both would have the same nonces.
    #[error("inbound and outbound have the same key and salt: each direction needs its own")]
    Same,
}

/// Reads the file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<ManualKeys, KeyFileError> {
    let text = if path == Path::new("-") {
        read_bounded(io::stdin().lock(), path)?
    } else {
        let file = open_private(path)?;
        read_bounded(file, path)?
    };
    parse(&text)
}

/// Opens first and looks then, so that what is judged is what is read.
fn open_private(path: &Path) -> Result<File, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Readable { path: path.to_owned(), mode });
    }
    let ours = fs::metadata("/proc/self").map_err(failed)?.uid();
    if metadata.uid() != ours && metadata.uid() != 0 {
        return Err(KeyFileError::Foreign { path: path.to_owned(), owner: metadata.uid() });
    }
    Ok(file)
}

fn read_bounded(from: impl Read, path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN + 1));
    let read = from.take(MAX_LEN as u64 + 1).read_to_string(&mut text);
    let len = read.map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
    if len > MAX_LEN { Err(KeyFileError::TooLong) } else { Ok(text) }
}

fn parse(text: &str) -> Result<ManualKeys, KeyFileError> {
    let file: KeyFile = toml::from_str(text).map_err(|error| {
        let start = error.span().map(|span| span.start);
        let line = start.map_or(0, |start| 1 + text[..start].matches('\n').count());
        KeyFileError::Syntax { line }
    })?;
    let keys = ManualKeys {
        inbound: file.inbound.offer("inbound")?,
        outbound: file.outbound.offer("outbound")?,
    };
    if keys.inbound.key == keys.outbound.key {
        return Err(KeyFileError::Same);
    }
    Ok(keys)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    inbound: KeyEntry,
    outbound: KeyEntry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    spi: u32,
    aead: Aead,
    key: String,
}

impl Drop for KeyEntry {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl KeyEntry {
    fn offer(&self, which: &'static str) -> Result<KeyOffer, KeyFileError> {
        let spi = Spi::new(self.spi).map_err(|source| KeyFileError::Spi { which, source })?;
        let bytes = match self.key.strip_prefix("0x") {
            Some(digits) => from_hex(digits),
            None => STANDARD.decode(&self.key).ok(),
        };
        let bytes = Zeroizing::new(bytes.ok_or(KeyFileError::Encoding { which })?);
        let key = KeyText(SecretKey::copy_from(&bytes));
        let offer = KeyOffer { spi, aead: self.aead, key };
        offer.keying().map_err(|source| KeyFileError::Length { which, source })?;
        Ok(offer)
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let &[high, low] = pair else { return None };
        u8::try_from(nibble(high)? << 4 | nibble(low)?).ok()
    });
    pairs.collect()
}

/// Two keys with comments have some hundred bytes.
const MAX_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inbound_key: &str, outbound_key: &str) -> String {
        format!(
            "[inbound]\nspi = 0x1001\naead = \"aes-128-gcm\"\nkey = \"{inbound_key}\"\n\
             [outbound]\nspi = 0x1002\naead = \"aes-128-gcm\"\nkey = \"{outbound_key}\"\n"
        )
    }

    #[test]
    fn hexadecimal_and_base64_are_the_same_bytes() {
        let hex = "0x000102030405060708090a0b0c0d0e0f10111213";
        let keys = parse(&file(hex, "AAECAwQFBgcICQoLDA0ODxAREhQ=")).expect("two keys");
        let expected: Vec<u8> = (0..20).collect();
        assert_eq!(keys.inbound.key.0.dangerous_bytes(), expected);
        assert_eq!(keys.outbound.key.0.dangerous_bytes()[..19], expected[..19]);
    }

    #[test]
    fn one_key_for_both_directions_is_refused() {
        let key = "0x000102030405060708090a0b0c0d0e0f10111213";
        assert!(matches!(parse(&file(key, key)), Err(KeyFileError::Same)));
    }

    #[test]
    fn errors_name_the_place_and_never_the_key() {
        let other = "0x100102030405060708090a0b0c0d0e0f10111213";
        let said = |text: &str| parse(text).expect_err("a slip").to_string();
        assert_eq!(
            said(&file("0xabc", other)),
            "inbound.key: neither hexadecimal after 0x nor base64"
        );
        let short = said(&file("0x0011", other));
        assert_eq!(short, "inbound.key: aes-128-gcm takes 20 bytes of key and salt, not 2");
        let unknown = file("0xSECRET", other).replace("spi = 0x1001", "spy = \"SECRET\"");
        assert!(said(&unknown).starts_with("line ") && !said(&unknown).contains("SECRET"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let path = std::env::temp_dir().join(format!("postern-keys-{}", std::process::id()));
        fs::write(&path, file("", "")).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changes the mode");
        let said = read(&path).expect_err("refused").to_string();
        fs::remove_file(&path).expect("removes");
        assert!(said.contains("mode 0640") && said.contains("chmod 600"), "{said}");
        let said = read(&std::env::temp_dir()).expect_err("refused").to_string();
        assert!(said.ends_with("is a directory"), "{said}");
    }
}
