//! A token, through its PKCS#11 library: sessions that are kept open, and what to do when it goes
//! away.
//!
//! A library is loaded once in a process and never unloaded (PKCS#11 v2.40 section 5.4: there is
//! one `C_Initialize` for all threads). Sessions are pooled, since opening one may cost more than
//! a signature; each is used by one thread at a time. When a call says that session, login, key or
//! token are gone, all sessions are thrown away and everything is opened anew, once; if that fails,
//! the handshake fails with the reason, and the next one tries again. The PIN is read from its file
//! whenever it is needed and kept nowhere.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use key_files::Readers;

use super::error::TokenError;
use super::uri::TokenUri;

/// A key in a token.
#[derive(Debug)]
pub(crate) struct Token {
    uri: TokenUri,
    pool: Mutex<Pool>,
    returned: Condvar,
    /// How its key can sign.
    mechanisms: Vec<MechanismType>,
    /// Why the PIN was refused.
    pin_refused: Mutex<Option<String>>,
}

/// Sessions with the key found.
#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Ready>,
    /// Those that are out.
    busy: usize,
    /// Counts up when all that there were are thrown away.
    generation: u64,
}

#[derive(Debug)]
struct Ready {
    session: Session,
    key: ObjectHandle,
}

/// A place in the pool, and a session if one was idle.
struct Lease<'a> {
    token: &'a Token,
    generation: u64,
    ready: Option<Ready>,
}

impl Token {
    /// Opens a first session and finds the key.
    pub(crate) fn open(uri: TokenUri) -> Result<Self, TokenError> {
        let (pool, returned) = (Mutex::default(), Condvar::new());
        let mut token =
            Self { uri, pool, returned, mechanisms: Vec::new(), pin_refused: Mutex::default() };
        let (context, slot) = token.find()?;
        token.mechanisms = context
            .get_mechanism_list(slot)
            .map_err(|error| token.failed("it does not say how it signs", &error))?;
        let ready = token.ready()?;
        token.pool().idle.push(ready);
        Ok(token)
    }

    /// Which key it is.
    pub(crate) fn uri(&self) -> &TokenUri {
        &self.uri
    }

    /// Whether the token signs that way.
    pub(crate) fn knows(&self, mechanism: MechanismType) -> bool {
        self.mechanisms.contains(&mechanism)
    }

    /// Signs. Blocks for as long as the token likes, and waits for a session.
    pub(crate) fn sign(
        &self,
        mechanism: &Mechanism<'_>,
        data: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        let mut lease = self.lease()?;
        let ready = match lease.ready.take() {
            Some(ready) => ready,
            None => self.ready()?,
        };
        let (ready, signature) = match ready.session.sign(mechanism, ready.key, data) {
            Err(error) if is_loss(&error) => {
                drop(ready);
                self.forget(lease.generation);
                let again = self.ready()?;
                let signature = again.session.sign(mechanism, again.key, data);
                (again, signature)
            }
            signature => (ready, signature),
        };
        // A session whose signature failed may be in the middle of it: it is not used again.
        let signature = signature.map_err(|error| self.failed("it does not sign", &error))?;
        lease.ready = Some(ready);
        Ok(signature)
    }

    fn lease(&self) -> Result<Lease<'_>, TokenError> {
        let full = |pool: &mut Pool| pool.busy >= SESSIONS;
        let (mut pool, waited) = self
            .returned
            .wait_timeout_while(self.pool(), PATIENCE, full)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && pool.busy >= SESSIONS {
            return Err(TokenError::Busy { uri: self.uri.to_string() });
        }
        pool.busy += 1;
        Ok(Lease { token: self, generation: pool.generation, ready: pool.idle.pop() })
    }

    /// Throws away all sessions of a generation; whoever comes second finds that done.
    fn forget(&self, generation: u64) {
        let mut pool = self.pool();
        if pool.generation == generation {
            pool.generation += 1;
            pool.idle.clear();
        }
    }

    /// A new session that is logged in, with the key found.
    fn ready(&self) -> Result<Ready, TokenError> {
        let (context, slot) = self.find()?;
        let session = context
            .open_ro_session(slot)
            .map_err(|error| self.failed("it opens no session", &error))?;
        self.log_in(&session)?;
        let key = self.key(&session)?;
        Ok(Ready { session, key })
    }

    /// The library, and the slot that the token is in now.
    fn find(&self) -> Result<(Pkcs11, Slot), TokenError> {
        let module = &self.uri.module;
        let wrong = |error: Error| TokenError::Library {
            module: module.clone(),
            reason: error.to_string(),
        };
        let context = library(module).map_err(wrong)?;
        let slots = match context.get_slots_with_initialized_token() {
            // Somebody else in this process finalised the library.
            Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {
                initialize(&context).and_then(|()| context.get_slots_with_initialized_token())
            }
            slots => slots,
        };
        let mut slots = slots.map_err(wrong)?;
        slots.retain(|slot| self.is_meant(&context, *slot));
        match slots[..] {
            [slot] => Ok((context, slot)),
            [] => Err(TokenError::NoToken { uri: self.uri.to_string(), module: module.clone() }),
            _ => Err(self.ambiguous(slots.len(), "token", "token` or `serial")),
        }
    }

    fn is_meant(&self, context: &Pkcs11, slot: Slot) -> bool {
        let Ok(info) = context.get_token_info(slot) else { return false };
        let fits = |wanted: &Option<String>, is: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == is.trim_end())
        };
        fits(&self.uri.token, info.label())
            && fits(&self.uri.serial, info.serial_number())
            && fits(&self.uri.manufacturer, info.manufacturer_id())
            && fits(&self.uri.model, info.model())
    }

    /// A PIN that was refused is not tried again: tokens lock themselves after a few. A reload makes
    /// another `Token`, which tries once.
    fn log_in(&self, session: &Session) -> Result<(), TokenError> {
        let Some(path) = &self.uri.pin else { return Ok(()) };
        let mut refused = self.pin_refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &*refused {
            let reason = format!("{reason}; the PIN is not tried again before a reload");
            return Err(TokenError::Login { uri: self.uri.to_string(), reason });
        }
        match session.login(UserType::User, Some(&self.pin(path)?)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let reason = error.to_string();
                if is_about_pin(&error) {
                    *refused = Some(reason.clone());
                }
                Err(TokenError::Login { uri: self.uri.to_string(), reason })
            }
        }
    }

    fn pin(&self, path: &Path) -> Result<AuthPin, TokenError> {
        let (path, text) = key_files::secret(path, Readers::Owner).map_err(|fault| {
            TokenError::Pin { uri: self.uri.to_string(), fault: Box::new(fault) }
        })?;
        // Editors end files with a line feed.
        match str::from_utf8(&text).map(|text| text.trim_end_matches(['\r', '\n'])) {
            Ok(pin) if !pin.is_empty() => Ok(AuthPin::from(pin)),
            _ => Err(TokenError::NoPin { uri: self.uri.to_string(), path }),
        }
    }

    fn key(&self, session: &Session) -> Result<ObjectHandle, TokenError> {
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        template.extend(self.uri.object.clone().map(|label| Attribute::Label(label.into_bytes())));
        template.extend(self.uri.id.clone().map(Attribute::Id));
        let found = session
            .find_objects(&template)
            .map_err(|error| self.failed("its keys cannot be listed", &error))?;
        match found[..] {
            [key] => Ok(key),
            [] => Err(TokenError::NoKey { uri: self.uri.to_string() }),
            _ => Err(self.ambiguous(found.len(), "private key", "id")),
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &'static str, error: &Error) -> TokenError {
        TokenError::Failed { uri: self.uri.to_string(), what, reason: error.to_string() }
    }

    fn ambiguous(&self, count: usize, what: &'static str, attribute: &'static str) -> TokenError {
        TokenError::Ambiguous { uri: self.uri.to_string(), count, what, attribute }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut pool = self.token.pool();
        pool.busy -= 1;
        if let Some(ready) = self.ready.take()
            && pool.idle.len() < SESSIONS
        {
            pool.idle.push(ready);
        }
        drop(pool);
        self.token.returned.notify_one();
    }
}

/// The library, loaded and initialised once for the whole process.
fn library(module: &Path) -> Result<Pkcs11, Error> {
    static LIBRARIES: Mutex<Option<HashMap<PathBuf, Pkcs11>>> = Mutex::new(None);
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    let libraries = libraries.get_or_insert_default();
    if let Some(library) = libraries.get(module) {
        return Ok(library.clone());
    }
    let library = Pkcs11::new(module)?;
    initialize(&library)?;
    libraries.insert(module.to_owned(), library.clone());
    Ok(library)
}

fn initialize(library: &Pkcs11) -> Result<(), Error> {
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        result => result,
    }
}

/// Errors after which everything is opened anew: what was open is no longer there.
fn is_loss(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::SlotIdInvalid
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::UserNotLoggedIn
                | RvError::CryptokiNotInitialized
                | RvError::GeneralError
                | RvError::FunctionFailed,
            _
        )
    )
}

/// Trying the same PIN again would bring the token closer to locking itself.
fn is_about_pin(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked,
            _
        )
    )
}

/// Sessions of one key at a time; tokens allow few in total.
pub(super) const SESSIONS: usize = 8;

/// Longer than a handshake may take is of no use.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
