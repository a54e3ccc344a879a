//! What [`Seal`](super::Seal) and [`Open`](super::Open) promise together.

mod pair;
mod properties;
pub(super) mod vectors;
