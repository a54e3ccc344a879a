//! The log: lines on stderr, filtered; the filter can change while running.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// The running filter.
pub(crate) struct Filter(reload::Handle<EnvFilter, Registry>);

/// A filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "log.filter (--log) = {filter}: {source}; write a level or target=level, as \"gateway=debug,info\""
)]
pub(crate) struct FilterError {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging. Later calls in one process keep the first log.
pub(crate) fn start(log: &Log) -> Result<Filter, FilterError> {
    let (filter, handle) = reload::Layer::new(parse(&log.filter)?);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(Filter(handle))
}

/// Reads a filter.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    EnvFilter::try_new(filter).map_err(|source| FilterError { filter: filter.to_owned(), source })
}

impl Filter {
    /// Filters by this from now on.
    pub(crate) fn change(&self, filter: &str) -> Result<(), FilterError> {
        let filter = parse(filter)?;
        // Fails only if the log itself is gone.
        let _ = self.0.reload(filter);
        Ok(())
    }
}
