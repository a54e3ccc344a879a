//! Packets that went nowhere, by reason and direction; written by the data thread alone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crypto_offload::{Direction, esp::DropReason};

use super::account::add;

/// A counter for each way to lose a packet.
#[derive(Default)]
pub(super) struct Statistics {
    inbound: [AtomicU64; DropReason::ALL.len()],
    outbound: [AtomicU64; DropReason::ALL.len()],
    others: [AtomicU64; Loss::ALL.len()],
}

/// Losses that are no single SA's, or not ESP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Inbound: no SA has that SPI on that socket.
    NoSa,
    /// Inbound: the inner packet is not what the SA is for (RFC 4301 section 5.2).
    Selector,
    /// Outbound: no policy is for the packet.
    NoPolicy,
    /// Outbound: the policy's SA is not there. It is dropped, never sent in clear.
    NoOutboundSa,
    /// Outbound: longer than the path takes, found by us or by the kernel.
    TooBig,
    /// Outbound: no room in the socket's buffer or the device's queue.
    SendQueue,
    /// Outbound: the kernel refused it.
    SendRefused,
    /// Inbound: the TUN device refused it.
    TunRefused,
    /// Outbound: the TUN device gave something longer than its MTU, or malformed.
    TunUnusable,
    /// Inbound: the kernel's receive buffer was full.
    ReceiveQueue,
}

impl Statistics {
    pub(super) fn drop_esp(&self, direction: Direction, reason: DropReason) {
        let table = match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        };
        add(&table[reason as usize], 1);
    }

    pub(super) fn lose(&self, loss: Loss, packets: u64) {
        add(&self.others[loss as usize], packets);
    }

    /// Each counter with its name.
    pub(super) fn all(&self) -> Vec<(String, u64)> {
        let esp = |prefix: &'static str, table: &[AtomicU64]| {
            let named = DropReason::ALL.iter().zip(table);
            named
                .map(|(reason, count)| (format!("{prefix}_{}", reason.name()), count.load(Relaxed)))
                .collect::<Vec<_>>()
        };
        let mut all = esp("inbound", &self.inbound);
        all.extend(esp("outbound", &self.outbound));
        let others = Loss::ALL.iter().zip(&self.others);
        all.extend(others.map(|(loss, count)| (loss.name().to_owned(), count.load(Relaxed))));
        all
    }
}

impl Loss {
    const ALL: [Self; 10] = [
        Self::NoSa,
        Self::Selector,
        Self::NoPolicy,
        Self::NoOutboundSa,
        Self::TooBig,
        Self::SendQueue,
        Self::SendRefused,
        Self::TunRefused,
        Self::TunUnusable,
        Self::ReceiveQueue,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::NoSa => "inbound_no_sa",
            Self::Selector => "inbound_selector",
            Self::NoPolicy => "outbound_no_policy",
            Self::NoOutboundSa => "outbound_no_sa",
            Self::TooBig => "outbound_too_big",
            Self::SendQueue => "outbound_send_queue",
            Self::SendRefused => "outbound_send_refused",
            Self::TunRefused => "inbound_tun_refused",
            Self::TunUnusable => "outbound_tun_unusable",
            Self::ReceiveQueue => "inbound_receive_queue",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_has_a_counter_of_its_own() {
        for (at, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, at, "{}", loss.name());
        }
        let statistics = Statistics::default();
        statistics.lose(Loss::NoPolicy, 3);
        statistics.drop_esp(Direction::Inbound, DropReason::Forged);
        let counted: Vec<_> =
            statistics.all().into_iter().filter(|(_, count)| *count > 0).collect();
        let expected = [("inbound_forged", 1), ("outbound_no_policy", 3)];
        assert_eq!(counted, expected.map(|(name, count)| (name.to_owned(), count)));
    }
}
