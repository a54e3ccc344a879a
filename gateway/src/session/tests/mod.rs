//! Dialogues by table and by chance, against ports that are only counted and a worker that only
//! checks.

mod browser;
mod bundle;
mod dialogues;
mod dtls;
mod hold_and_mux;
mod ice;
mod leg_view;
mod lifetimes;
mod own_keys;
mod passthrough;
mod properties;
mod rekey;
mod sdes;
mod terms;
mod trickle;
mod world;
