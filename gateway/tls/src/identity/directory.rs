//! Directories of certificates: which files in one are a pair.
//!
//! `NAME.key` belongs to `NAME.pem` or `NAME.crt`, and `NAME.ocsp` to both; so `tls.crt` and
//! `tls.key` of a Kubernetes secret are one, too. A certificate without a key beside it is nobody's
//! (`ca.crt`) and is left alone. Kubernetes swaps a whole generation by renaming the symbolic link
//! `..data`; it is followed once, so that both files are of one generation. Nothing is opened here.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use key_files::{FileError, Readers};

use super::fault::IdentityFault;
use super::pair::PairFiles;
use crate::settings::KeySource;

/// The pairs of a directory, by name.
///
/// # Errors
/// It cannot be listed, a key has no certificate, or there is no pair at all.
pub(crate) fn pairs(directory: &Path) -> Result<Vec<PairFiles>, IdentityFault> {
    let (generation, readers) = generation(directory);
    let files = list(&generation)
        .map_err(|source| FileError::Read { path: directory.to_owned(), source })?;
    let keys = files.iter().filter(|file| has_extension(file, "key"));
    let pairs: Result<Vec<_>, _> = keys.map(|key| pair(directory, &files, key, readers)).collect();
    match pairs? {
        pairs if pairs.is_empty() => {
            Err(IdentityFault::EmptyDirectory { directory: directory.to_owned() })
        }
        pairs => Ok(pairs),
    }
}

fn pair(
    directory: &Path,
    files: &[PathBuf],
    key: &Path,
    readers: Readers,
) -> Result<PairFiles, IdentityFault> {
    let beside = |extension| {
        let path = key.with_extension(extension);
        files.contains(&path).then_some(path)
    };
    let Some(chain) = beside("pem").or_else(|| beside("crt")) else {
        return Err(IdentityFault::KeyAlone { key: key.to_owned() });
    };
    Ok(PairFiles {
        source: directory.join(chain.file_name().unwrap_or_default()),
        names: Vec::new(),
        chain,
        key: KeySource::File(key.to_owned()),
        ocsp: beside("ocsp"),
        readers,
    })
}

/// Where the files are: what `..data` leads to, where the kubelet fills the directory.
fn generation(directory: &Path) -> (PathBuf, Readers) {
    match fs::canonicalize(directory.join(KUBELET_LINK)) {
        Ok(generation) => (generation, Readers::OwnerAndGroup),
        Err(_) => (directory.to_owned(), Readers::Owner),
    }
}

/// The files that are not hidden, sorted.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden =
            path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}

/// What the kubelet renames when a secret changes.
pub(crate) const KUBELET_LINK: &str = "..data";
