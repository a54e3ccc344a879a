//! What is printed for people and programs.
//!
//! Whoever reads only its beginning (`keymgr sa list | head`) has had enough: we end without a
//! word, as a program does that SIGPIPE ends.

use std::{
    fmt,
    io::{self, Write},
};

use crate::Failure;

/// Prints a line to standard output.
pub(crate) fn line(line: impl fmt::Display) -> Result<(), Failure> {
    text(format_args!("{line}\n"))
}

/// Prints it as it is.
pub(crate) fn text(text: impl fmt::Display) -> Result<(), Failure> {
    written(write!(io::stdout().lock(), "{text}"))
}

/// As a failure, where there is one.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure { code: ENDED_BY_SIGPIPE, message: String::new() },
        _ => Failure::other(format!("standard output: {error}")),
    })
}

/// As shells say it: 128 and the signal.
const ENDED_BY_SIGPIPE: u8 = 128 + 13;
