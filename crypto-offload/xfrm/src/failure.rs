//! From the kernel's no to an [`EngineError`]: what kind of failure, in words, with what mends it.

use std::io;

use crypto_offload::{EngineError, ErrorClass, Placement};

use crate::wire::netlink::Refusal;

/// What was tried, for the message and for the meaning of an errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Open,
    Probe,
    Reserve,
    Install(Placement),
    Remove,
    Read,
    List,
    Listen,
    SetPolicy(Placement),
    RemovePolicy,
    Encapsulate,
    FindDevice,
}

impl Operation {
    const fn words(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Probe => "probe",
            Self::Reserve => "reserve SPI",
            Self::Install(_) => "install SA",
            Self::Remove => "remove SA",
            Self::Read => "read SA",
            Self::List => "list",
            Self::Listen => "listen to",
            Self::SetPolicy(_) => "set policy",
            Self::RemovePolicy => "remove policy",
            Self::Encapsulate => "receive ESP in UDP at",
            Self::FindDevice => "find device",
        }
    }

    /// The error of the kernel's no.
    pub(crate) fn refused(self, object: impl ToString, refusal: &Refusal) -> EngineError {
        let Refusal { errno, message } = refusal;
        let words = message.clone().unwrap_or_else(|| strerror(*errno));
        EngineError {
            class: self.class(*errno),
            operation: self.words().to_owned(),
            object: object.to_string(),
            reason: format!("{}: {words}", name(*errno)),
            hint: self.hint(refusal),
        }
    }

    /// An error that we know without asking the kernel.
    pub(crate) fn impossible(
        self,
        object: impl ToString,
        class: ErrorClass,
        reason: impl Into<String>,
        hint: Option<&str>,
    ) -> EngineError {
        EngineError {
            class,
            operation: self.words().to_owned(),
            object: object.to_string(),
            reason: reason.into(),
            hint: hint.map(str::to_owned),
        }
    }

    fn class(self, errno: i32) -> ErrorClass {
        match errno {
            libc::EBUSY | libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT => ErrorClass::Busy,
            libc::ENOSPC | libc::ENOMEM | libc::ENOBUFS | libc::EMFILE | libc::ENFILE => {
                ErrorClass::Exhausted
            }
            libc::EEXIST | libc::EADDRINUSE => ErrorClass::Conflict,
            libc::ENODEV | libc::ENXIO | libc::ESRCH => ErrorClass::Gone,
            // Of a range of one SPI none was free.
            libc::ENOENT if self == Self::Reserve => ErrorClass::Conflict,
            libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::ENOSYS | libc::EAFNOSUPPORT => {
                ErrorClass::Unsupported
            }
            // Drivers say EINVAL for whatever they will not take, and the crypto layer ENOENT for
            // an algorithm that it cannot load.
            libc::EINVAL | libc::ENOENT | libc::ERANGE if self.may_go_elsewhere() => {
                ErrorClass::Unsupported
            }
            libc::ENOENT => ErrorClass::Gone,
            _ => ErrorClass::Fatal,
        }
    }

    const fn may_go_elsewhere(self) -> bool {
        matches!(self, Self::Install(_) | Self::SetPolicy(_) | Self::Probe)
    }

    fn hint(self, refusal: &Refusal) -> Option<String> {
        let told = |part: &str| refusal.message.as_ref().is_some_and(|told| told.contains(part));
        let hint = match refusal.errno {
            libc::EPERM | libc::EACCES => {
                "it needs CAP_NET_ADMIN: run as root, or give it with \
                                           AmbientCapabilities=CAP_NET_ADMIN"
            }
            libc::EPROTONOSUPPORT if self == Self::Open => {
                "the kernel has no XFRM: modprobe xfrm_user"
            }
            libc::EPROTONOSUPPORT => "the kernel has no ESP: modprobe esp4 esp6",
            libc::EINVAL if told("Type doesn't support offload") => {
                "modprobe esp4_offload esp6_offload"
            }
            libc::ENOSYS | libc::ENOENT if matches!(self, Self::Install(_) | Self::Probe) => {
                "the kernel lacks the cipher: modprobe esp4 gcm seqiv chacha20poly1305"
            }
            libc::EADDRINUSE => {
                "another program receives at this UDP port: stop it, or choose \
                                 another port for this SA"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// An errno's name, or its number where we know none.
pub(crate) fn name(errno: i32) -> String {
    NAMES
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

fn strerror(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    // std appends " (os error N)"; the name says that better.
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Those that XFRM, its drivers and sockets answer with.
const NAMES: [(i32, &str); 28] = [
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::ESRCH, "ESRCH"),
    (libc::EINTR, "EINTR"),
    (libc::EIO, "EIO"),
    (libc::ENXIO, "ENXIO"),
    (libc::E2BIG, "E2BIG"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::ENODEV, "ENODEV"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENFILE, "ENFILE"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::ERANGE, "ERANGE"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::EPROTO, "EPROTO"),
    (libc::EMSGSIZE, "EMSGSIZE"),
    (libc::ENOPROTOOPT, "ENOPROTOOPT"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::EADDRINUSE, "EADDRINUSE"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const INLINE: Operation = Operation::Install(Placement::InlineCrypto);

    fn refusal(errno: i32, message: Option<&str>) -> Refusal {
        Refusal { errno, message: message.map(str::to_owned) }
    }

    #[test]
    fn each_errno_says_what_to_do_about_it() {
        let class = |errno| INLINE.refused("x", &refusal(errno, None)).class;
        assert_eq!(class(libc::EBUSY), ErrorClass::Busy);
        assert_eq!(class(libc::ENOSPC), ErrorClass::Exhausted);
        assert_eq!(class(libc::EINVAL), ErrorClass::Unsupported);
        assert_eq!(class(libc::ENOENT), ErrorClass::Unsupported);
        assert_eq!(class(libc::EEXIST), ErrorClass::Conflict);
        assert_eq!(class(libc::ENODEV), ErrorClass::Gone);
        assert_eq!(class(libc::EPERM), ErrorClass::Fatal);
    }

    #[test]
    fn no_free_spi_is_a_conflict_and_no_policy_is_gone() {
        let enoent = refusal(libc::ENOENT, None);
        assert_eq!(Operation::Reserve.refused("x", &enoent).class, ErrorClass::Conflict);
        assert_eq!(Operation::RemovePolicy.refused("x", &enoent).class, ErrorClass::Gone);
    }

    #[test]
    fn the_kernels_words_and_the_remedy_are_told() {
        let words = "Type doesn't support offload";
        let error = INLINE.refused("0xc0000001 to 192.0.2.2", &refusal(libc::EINVAL, Some(words)));
        assert_eq!(
            error.to_string(),
            "cannot install SA 0xc0000001 to 192.0.2.2: EINVAL: Type doesn't support offload \
             (modprobe esp4_offload esp6_offload)"
        );
        let error = Operation::Remove.refused("it", &refusal(libc::EPERM, None));
        assert!(
            error.to_string().contains("EPERM: Operation not permitted (it needs CAP_NET_ADMIN")
        );
    }
}
