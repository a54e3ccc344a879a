//! Files that people name, `-` being standard input; nothing secret, and of bounded size.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::Failure;

/// The whole text.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let from: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let len = from.take(MAX_LEN + 1).read_to_string(&mut text).map_err(failed)?;
    if len as u64 > MAX_LEN {
        return Err(Failure::usage(format!("{}: more than {MAX_LEN} bytes", path.display())));
    }
    Ok(text)
}

const MAX_LEN: u64 = 1024 * 1024;
