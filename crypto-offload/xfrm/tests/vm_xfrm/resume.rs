//! A key that has been in use goes on where it was, and never below.

use crypto_offload::{Direction, IpsecEngine, SequenceNumbers};

use crate::{
    ground::Ground,
    tunnel::{THERE, Tunnel},
};

#[test]
fn a_resumed_pair_goes_on_after_its_number() {
    for (sequence_numbers, resume_after) in [
        (SequenceNumbers::Extended, (5 << 32) + 77),
        (SequenceNumbers::Extended, u64::from(u32::MAX) - 2),
        (SequenceNumbers::Short, 1_000_000),
    ] {
        let tunnel = Tunnel { sequence_numbers, resume_after, ..Tunnel::default() };
        let mut ground = Ground::new();
        tunnel.set_up(&mut ground);
        assert_eq!(tunnel.echo(&ground, &[100; 8]), 8, "{tunnel:?}");
        for end in [&mut ground.left, &mut ground.right] {
            let usage = end.engine.usage(tunnel.id(THERE, 2)).expect("an SA");
            assert_eq!((usage.sequence, usage.packets), (resume_after + 8, 8), "{tunnel:?}");
        }
    }
}

#[test]
fn a_resumed_inbound_sa_refuses_what_its_floor_covers() {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    let id = tunnel.id(THERE, 2);
    ground.right.engine.remove(id).expect("removed");
    let mut sa = tunnel.sa(THERE, 2, Direction::Inbound);
    sa.resume_after = 5;
    tunnel.install(&mut ground.right, &sa);
    // 1 to 5 are refused, 6 and on pass.
    assert_eq!(tunnel.echo(&ground, &[100; 8]), 3);
    let usage = ground.right.engine.usage(id).expect("an SA");
    assert_eq!((usage.packets, usage.replayed), (3, 5), "{usage:?}");
    assert_eq!(usage.sequence, 8);
}

#[test]
fn below_the_window_of_a_resumed_sa_is_too_old() {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    let id = tunnel.id(THERE, 2);
    ground.right.engine.remove(id).expect("removed");
    let mut sa = tunnel.sa(THERE, 2, Direction::Inbound);
    sa.resume_after = 1_000;
    tunnel.install(&mut ground.right, &sa);
    assert_eq!(tunnel.echo(&ground, &[100; 2]), 0);
    let usage = ground.right.engine.usage(id).expect("an SA");
    assert_eq!((usage.packets, usage.sequence), (0, 1_000), "{usage:?}");
}
