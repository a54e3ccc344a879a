//! The gateway that is asked.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, cli};

/// A connection, and how to show what comes over it.
pub(crate) struct Gateway {
    json: bool,
}

impl Gateway {
    pub(crate) fn new(options: &cli::Gateway) -> Result<Self, Failure> {
        Ok(Self { json: options.json })
    }

    /// Whether programs read what is printed.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        Err(Failure::unreachable(path))
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let _ = body;
        Err(Failure::unreachable(path))
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        Err(Failure::unreachable(path))
    }
}
