//! Call state, sans-IO: requests and the time come in, SDP, plans for a worker and deadlines
//! come out.

mod outcome;
pub mod ports;
pub mod settings;

pub use outcome::{DeleteEffect, Deleted, EndReason, Expired, Outcome, Refused};
pub use settings::{Compat, Interface, LocalAddress, Settings};
