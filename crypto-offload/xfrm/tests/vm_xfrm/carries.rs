//! Every algorithm, mode, family, encapsulation and length of sequence numbers carries traffic.

use crypto_offload::{
    Aead, Answer, Direction, Feature, IpsecEngine, Mode, Placement, PolicyDirection,
    SequenceNumbers, UdpEncapsulation,
};

use crate::{
    ground::{Family, Ground},
    tunnel::{BACK, THERE, Tunnel},
};

/// Payloads: the smallest, around a cipher block, and a packet that still fits the cable.
const SIZES: [usize; 6] = [1, 3, 8, 12, 100, 1300];

const PORTS: UdpEncapsulation = UdpEncapsulation { source_port: 4500, destination_port: 4500 };

/// Of `xfrm_stat`: packets lost to anything.
fn errors(engine: &mut impl IpsecEngine) -> Vec<(String, u64)> {
    let counters = engine.statistics().expect("the VM's kernel counts");
    counters.into_iter().filter(|(_, count)| *count != 0).collect()
}

fn carries(ground: &mut Ground, tunnel: Tunnel) {
    tunnel.set_up(ground);
    assert_eq!(tunnel.echo(ground, &SIZES), SIZES.len(), "{tunnel:?}");
    for end in [&mut ground.left, &mut ground.right] {
        for id in [tunnel.id(THERE, 2), tunnel.id(BACK, 1)] {
            let usage = end.engine.usage(id).expect("an SA");
            assert_eq!(usage.packets, SIZES.len() as u64, "{tunnel:?} {usage:?}");
            assert_eq!(usage.sequence, SIZES.len() as u64, "{tunnel:?}");
            assert!(usage.bytes > 1424 && usage.in_use.is_some(), "{tunnel:?} {usage:?}");
            assert_eq!((usage.replayed, usage.late, usage.forged), (0, 0, 0), "{tunnel:?}");
        }
        assert_eq!(errors(&mut end.engine), [], "{tunnel:?}");
    }
    tunnel.take_down(ground);
}

fn carries_every_shape(aead: Aead) {
    let mut ground = Ground::new();
    for mode in [Mode::Tunnel, Mode::Transport] {
        for outer in [Family::V4, Family::V6] {
            for encapsulation in [None, Some(PORTS)] {
                for sequence_numbers in [SequenceNumbers::Extended, SequenceNumbers::Short] {
                    let rest = Tunnel::default();
                    let shape =
                        Tunnel { aead, mode, outer, encapsulation, sequence_numbers, ..rest };
                    carries(&mut ground, Tunnel { inner: outer, ..shape });
                }
            }
        }
    }
}

#[test]
fn aes_128_gcm_carries_every_shape() {
    carries_every_shape(Aead::Aes128Gcm);
}

#[test]
fn aes_256_gcm_carries_every_shape() {
    carries_every_shape(Aead::Aes256Gcm);
}

#[test]
fn chacha20_poly1305_carries_every_shape() {
    carries_every_shape(Aead::ChaCha20Poly1305);
}

#[test]
fn either_family_goes_inside_the_other() {
    let ground = &mut Ground::new();
    carries(ground, Tunnel { outer: Family::V6, inner: Family::V4, ..Tunnel::default() });
    carries(ground, Tunnel { outer: Family::V4, inner: Family::V6, ..Tunnel::default() });
}

#[test]
fn probing_finds_what_the_kernel_really_does() {
    let mut ground = Ground::new();
    let engine = &mut ground.left.engine;
    let software: Vec<_> = engine.capabilities().of(Placement::KernelSoftware, None).collect();
    assert_eq!(software.len(), 1 + 3 + 7);
    for entry in software {
        assert_eq!(entry.answer, Answer::Yes, "{entry:?}");
    }
    let cable = engine.capabilities().of(Placement::InlineCrypto, Some("cable")).next_back();
    let cable = cable.expect("an entry");
    assert_eq!((cable.feature, cable.answer), (Feature::Engine, Answer::No));
    assert_eq!(cable.evidence.to_string(), "declared by esp-hw-offload of cable: off");
    assert_eq!(engine.list(), Ok(Vec::new()), "and leaves nothing");
}

#[test]
fn traffic_moves_to_another_sa_and_back_in_one_step_each() {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    let other = 0xc000_0011;
    tunnel.install(&mut ground.right, &tunnel.sa(other, 2, Direction::Inbound));
    tunnel.install(&mut ground.left, &tunnel.sa(other, 2, Direction::Outbound));

    let mut counts = Vec::new();
    for spi in [THERE, other, THERE] {
        let policy = tunnel.policy(2, PolicyDirection::Out, Some(spi));
        tunnel.set(&mut ground.left, &policy);
        assert_eq!(tunnel.echo(&ground, &[100; 5]), 5);
        let packets = |spi| ground.left.engine.usage(tunnel.id(spi, 2)).expect("it stays").packets;
        counts.push([THERE, other].map(packets));
    }
    assert_eq!(counts, [[5, 0], [5, 5], [10, 5]]);
}

#[test]
fn without_its_sa_a_policy_lets_nothing_through_until_it_comes() {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    ground.left.engine.remove(tunnel.id(THERE, 2)).expect("removed");
    assert_eq!(tunnel.echo(&ground, &[100]), 0);
    let lost = errors(&mut ground.left.engine);
    assert!(lost.iter().any(|(name, _)| name == "XfrmOutNoStates"), "{lost:?}");
    // The kernel holds the name for the SA that the policy waits for; the SA takes it over.
    tunnel.install(&mut ground.left, &tunnel.sa(THERE, 2, Direction::Outbound));
    assert_eq!(tunnel.echo(&ground, &[100; 3]), 3);
}

#[test]
fn another_key_at_the_far_end_counts_as_forged() {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    let right = &mut ground.right;
    right.engine.remove(tunnel.id(THERE, 2)).expect("removed");
    let mut sa = tunnel.sa(THERE, 2, Direction::Inbound);
    sa.keying = tunnel.sa(THERE + 1, 2, Direction::Inbound).keying;
    tunnel.install(right, &sa);
    assert_eq!(tunnel.echo(&ground, &[100]), 0);
    let usage = ground.right.engine.usage(tunnel.id(THERE, 2)).expect("an SA");
    assert_eq!((usage.forged, usage.packets), (1, 0), "{usage:?}");
}
