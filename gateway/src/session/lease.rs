//! Ports opened for a request that may still be refused: whatever is not taken goes back.

use super::Refused;
use super::place::Place;
use super::ports::{OpenPorts, PortError, PortSource};

/// Ports opened so far for one request.
pub(super) struct Lease<'a, P: PortSource> {
    source: &'a mut P,
    opened: Vec<Option<OpenPorts>>,
}

/// One pair of a [`Lease`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Leased(usize);

impl<'a, P: PortSource> Lease<'a, P> {
    pub(super) fn new(source: &'a mut P) -> Self {
        Self { source, opened: Vec::new() }
    }

    /// Opens one more pair.
    pub(super) fn open(&mut self, place: Place) -> Result<Leased, Refused> {
        let ports = self.source.open(place.interface, place.family).map_err(|error| {
            tracing::debug!(%error, "no media ports");
            match error {
                PortError::NoAddress { .. } => Refused::NO_ADDRESS,
                PortError::Exhausted { .. } | PortError::Bind { .. } => Refused::OUT_OF_PORTS,
            }
        })?;
        self.opened.push(Some(ports));
        Ok(Leased(self.opened.len() - 1))
    }

    /// How many pairs have been opened.
    pub(super) fn len(&self) -> usize {
        self.opened.len()
    }

    /// Hands a pair over to the call; each pair can be taken once.
    pub(super) fn take(&mut self, leased: Leased) -> Option<OpenPorts> {
        self.opened.get_mut(leased.0)?.take()
    }
}

impl<P: PortSource> Drop for Lease<'_, P> {
    fn drop(&mut self) {
        for ports in self.opened.drain(..).flatten() {
            let local = ports.local;
            drop(ports);
            self.source.release(local);
        }
    }
}
