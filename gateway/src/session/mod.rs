//! Call state, sans-IO: offers and answers in, SDP and [`crate::relay::command`]s out.
