//! ESP in user space, over a TUN device: the engine for kernels without ESP of their own.

pub mod reservation;
