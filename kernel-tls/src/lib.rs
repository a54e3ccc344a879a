//! kTLS: handing TLS records to the kernel. Only the vocabulary is here yet: how a socket's two
//! directions are configured, in the terms the kernel reports them through INET_DIAG.

use crypto_offload::Placement;

/// Who processes the records of one direction (`TLS_INFO_TXCONF`/`RXCONF`, linux/tls.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordPath {
    /// `TLS_CONF_BASE`: user space.
    Base,
    /// `TLS_CONF_SW`: the kernel's software path.
    Software,
    /// `TLS_CONF_HW`: the device.
    Device,
}

impl From<RecordPath> for Placement {
    fn from(path: RecordPath) -> Self {
        match path {
            RecordPath::Base => Self::UserSpace,
            RecordPath::Software => Self::KernelSoftware,
            RecordPath::Device => Self::InlineCrypto,
        }
    }
}
