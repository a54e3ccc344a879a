//! Other programs' SAs, names that are taken, and many SAs.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crypto_offload::{
    Direction, EngineEvent, ErrorClass, IpsecEngine, Placement, PolicyDirection, SaId, Spi,
    UdpEncapsulation,
};

use crate::{
    ground::{Ground, outer},
    tunnel::{BACK, THERE, Tunnel, reqid},
};

const SOFTWARE: Placement = Placement::KernelSoftware;

#[test]
fn a_foreign_sa_is_told_listed_and_let_be() {
    let mut ground = Ground::new();
    let left = &mut ground.left;
    left.ip("xfrm state add src 192.0.2.1 dst 192.0.2.9 proto esp spi 0x1234 reqid 5 mode tunnel \
         enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f \
         auth-trunc hmac(sha256) 0x000102030405060708090a0b0c0d0e0f 128");
    let id = SaId { destination: [192, 0, 2, 9].into(), spi: Spi::new(0x1234).expect("free") };
    assert_eq!(left.engine.events(), Ok(vec![EngineEvent::Foreign(id)]));
    let listed = left.engine.list().expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id, listed[0].reqid, listed[0].aead), (id, 5, None));
    assert!(listed[0].algorithm.contains("cbc(aes)"), "{}", listed[0].algorithm);
    assert!(listed[0].algorithm.contains("hmac(sha256)"), "{}", listed[0].algorithm);

    left.ip("xfrm state delete src 192.0.2.1 dst 192.0.2.9 proto esp spi 0x1234");
    assert_eq!(left.engine.events(), Ok(vec![EngineEvent::Removed(id)]));
}

#[test]
fn our_own_doing_is_no_news() {
    let mut ground = Ground::new();
    Tunnel::default().set_up(&mut ground);
    ground.left.engine.remove(Tunnel::default().id(THERE, 2)).expect("removed");
    assert_eq!(ground.left.engine.events(), Ok(Vec::new()));
}

#[test]
fn a_name_in_use_is_a_conflict_and_its_sa_stays() {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    for (end, host, direction) in
        [(&mut ground.right, 2, Direction::Inbound), (&mut ground.left, 2, Direction::Outbound)]
    {
        let refused = end.engine.install(&tunnel.sa(THERE, host, direction), SOFTWARE);
        let refused = refused.expect_err("taken");
        assert_eq!(refused.class, ErrorClass::Conflict);
        assert!(refused.to_string().contains("of reqid 7 (choose another SPI)"), "{refused}");
    }
    let refused = ground.right.engine.reserve(tunnel.id(THERE, 2), outer_left(), reqid());
    assert_eq!(refused.expect_err("taken").class, ErrorClass::Conflict);
    assert_eq!(tunnel.echo(&ground, &[100; 3]), 3);
}

fn outer_left() -> std::net::IpAddr {
    outer(crate::ground::Family::V4, 1)
}

#[test]
fn a_lapsed_reservation_is_made_up_for() {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    let sa = tunnel.sa(THERE, 2, Direction::Inbound);
    ground.right.with(|engine| {
        fs::write("/proc/sys/net/core/xfrm_acq_expires", "1").expect("a sysctl");
        engine.reserve(sa.id, sa.source, sa.reqid).expect("free");
        let deadline = Instant::now() + Duration::from_secs(20);
        while engine.usage(sa.id).is_ok() {
            assert!(Instant::now() < deadline, "it stays");
            thread::sleep(Duration::from_millis(50));
        }
        let effective = engine.install(&sa, SOFTWARE).expect("as a new SA");
        assert_eq!(effective.effective, SOFTWARE);
    });
}

#[test]
fn an_sa_that_is_listed_has_its_keys_fingerprint() {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    let listed = ground.left.engine.list().expect("a list");
    let there = listed.iter().find(|sa| sa.id == tunnel.id(THERE, 2)).expect("ours");
    let spec = tunnel.sa(THERE, 2, Direction::Outbound);
    assert_eq!(there.fingerprint, Some(spec.keying.fingerprint()));
    assert_eq!((there.aead, there.placement), (Some(tunnel.aead), SOFTWARE));
    assert_eq!((there.source, there.reqid, there.device.as_ref()), (spec.source, 7, None));
}

#[test]
fn sas_outlive_their_engine_and_receive_in_udp_again_once_adopted() {
    let ports = UdpEncapsulation { source_port: 4500, destination_port: 4500 };
    let tunnel = Tunnel { encapsulation: Some(ports), ..Tunnel::default() };
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    assert_eq!(tunnel.echo(&ground, &[100; 2]), 2);
    ground.right.restart();
    assert_eq!(tunnel.echo(&ground, &[100]), 0, "nobody receives at the port");
    let id = tunnel.id(THERE, 2);
    ground.right.with(|engine| engine.adopt(id, Direction::Inbound, Some(ports)).expect("free"));
    assert_eq!(tunnel.echo(&ground, &[100; 3]), 3);
    let policy = tunnel.policy(1, PolicyDirection::Out, Some(BACK));
    ground.right.engine.set_policy(&policy, SOFTWARE).expect("it knows its own policy again");
}

#[test]
fn many_sas_are_installed_listed_and_removed() {
    install_list_and_remove(300);
}

#[test]
#[ignore = "minutes on an emulated CPU"]
fn ten_thousand_sas_are_installed_listed_and_removed() {
    install_list_and_remove(10_000);
}

fn install_list_and_remove(count: u32) {
    let tunnel = Tunnel::default();
    let mut ground = Ground::new();
    let engine = &mut ground.left.engine;
    let start = Instant::now();
    for spi in 0..count {
        let sa = tunnel.sa(0xc000_0000 + spi, 2, Direction::Outbound);
        engine.install(&sa, SOFTWARE).expect("installed");
    }
    println!("{count} SAs installed and read back in {:?}", start.elapsed());
    let start = Instant::now();
    let listed = engine.list().expect("a list");
    println!("{count} SAs listed in {:?} on this VM's emulated CPU", start.elapsed());
    assert_eq!(listed.len(), count as usize);
    assert!(listed.iter().all(|sa| sa.fingerprint.is_some()));
    let start = Instant::now();
    for sa in listed {
        engine.remove(sa.id).expect("removed");
    }
    println!("{count} SAs removed in {:?}", start.elapsed());
    assert_eq!(engine.list(), Ok(Vec::new()));
}
