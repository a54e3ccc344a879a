//! The identity that is in force: new handshakes take it, reloads replace it whole.
//!
//! A handshake holds the identity that it began with, so replacing one drops nothing. Reloads of
//! a listener come one after the other.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::fault::IdentityError;
use super::{Common, Identity};
use crate::settings::ListenerSettings;

/// One listener's identity, shared by its threads.
#[derive(Debug)]
pub struct CurrentIdentity {
    current: RwLock<Arc<Identity>>,
    replacing: Mutex<()>,
}

/// Why files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked: all of it is read, and one fault refuses all of it.
    Asked,
    /// A watched file changed: see [`Identity::refresh`].
    Changed,
}

impl CurrentIdentity {
    /// In force from now on.
    pub fn new(identity: Identity) -> Self {
        Self { current: RwLock::new(Arc::new(identity)), replacing: Mutex::new(()) }
    }

    /// For one handshake.
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads files again and puts what is in them in force. Answers with what changed; nothing
    /// changed, nothing is replaced. Blocks for as long as files and tokens take.
    ///
    /// # Errors
    /// Why all of the old stays.
    pub fn reload(
        &self,
        listener: &ListenerSettings,
        common: &Common,
        reason: Reason,
    ) -> Result<Vec<String>, IdentityError> {
        let _one_by_one = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.identity();
        let new = match reason {
            Reason::Asked => old.reload(listener, common)?,
            Reason::Changed => old.refresh(listener, common)?,
        };
        let changes = new.changes_since(&old);
        if !changes.is_empty() {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        }
        Ok(changes)
    }
}
