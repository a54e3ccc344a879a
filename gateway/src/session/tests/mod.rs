//! Dialogues by table and by chance, against ports that are only counted and a worker that only
//! checks.

mod dialogues;
mod hold_and_mux;
mod lifetimes;
mod passthrough;
mod properties;
mod sdes;
mod terms;
mod world;
