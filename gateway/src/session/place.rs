//! Where ports are opened: the interface and the address family of each side.

use bytes::Bytes;
use ng::request::AddressFamily;

use super::Warnings;
use super::call::Call;
use super::dialogue::{Dialogue, Side};
use super::media;
use super::offer::Context;
use super::ports::InterfaceIndex;
use super::settings::Settings;

/// On which interface, and in which family, a party's ports are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) interface: InterfaceIndex,
    pub(super) family: AddressFamily,
}

/// Where the two sides' new ports are opened.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) offerer: Place,
    pub(super) answerer: Place,
}

/// Interfaces from `direction`, families from `address-family` and the offerer's addresses; a
/// party that is in the call stays where it is.
pub(super) fn of(
    context: &Context<'_>,
    call: &Call,
    dialogue: Dialogue,
    warnings: &mut Warnings,
) -> Places {
    let Context { settings, signal, sdp, .. } = context;
    let mut interface = |name: Option<&Bytes>| {
        // An empty name is one that was not given.
        name.filter(|name| !name.is_empty()).map_or(InterfaceIndex(0), |name| {
            settings.interface(name).unwrap_or_else(|| {
                warnings.push("direction names an unknown interface: the default one is used");
                InterfaceIndex(0)
            })
        })
    };
    let source = sdp
        .media
        .iter()
        .find_map(|section| media::family(section, signal))
        .unwrap_or(AddressFamily::V4);
    let directions = signal.direction.as_ref();
    let mut place = |side: Side, name: Option<&Bytes>, family: AddressFamily| {
        if let Side::Known(party) = side {
            return call.parties[party.0].place;
        }
        let anywhere = Place { interface: interface(name), family };
        in_family(settings, anywhere, family)
    };
    Places {
        offerer: place(dialogue.offerer, directions.map(|d| &d.0), source),
        answerer: place(
            dialogue.answerer,
            directions.map(|d| &d.1),
            signal.address_family.unwrap_or(source),
        ),
    }
}

/// Where ports for one section go, given the family of the address that its party said there.
pub(super) fn in_family(settings: &Settings, place: Place, family: AddressFamily) -> Place {
    let wanted = Place { family, ..place };
    Place { family: family_on(settings, wanted), ..wanted }
}

/// The family to open in: the one wanted where the interface has it, else the one it has, as the
/// incumbent does.
fn family_on(settings: &Settings, place: Place) -> AddressFamily {
    let other = match place.family {
        AddressFamily::V4 => AddressFamily::V6,
        AddressFamily::V6 => AddressFamily::V4,
    };
    match settings.interfaces.get(usize::from(place.interface.0)) {
        Some(interface) if !interface.has(place.family) && interface.has(other) => other,
        _ => place.family,
    }
}
