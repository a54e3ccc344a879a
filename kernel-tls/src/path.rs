//! Who processes the records of a connection, in the terms in which the kernel reports it through
//! INET_DIAG. Each direction has its own answer, and a place that was not asked for has a reason.

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

/// Both directions of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What we send.
    pub tx: RecordPath,
    /// What we receive.
    pub rx: RecordPath,
    /// Why a direction is in user space although the kernel was wanted.
    pub reason: Option<String>,
}
