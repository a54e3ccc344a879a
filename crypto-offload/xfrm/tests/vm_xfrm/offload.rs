//! Devices: one that ignores the request (veth), and netdevsim, which takes SAs and ciphers
//! nothing.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crypto_offload::{
    Aead, Answer, Direction, Effective, EngineEvent, ErrorClass, Feature, IpsecEngine, Placement,
    SaSpec, SequenceNumbers,
};
use crypto_offload_xfrm::{
    XfrmEngine,
    reconcile::{Wanted, reconcile},
};

use crate::{
    ground::{Ground, ip},
    tunnel::{THERE, Tunnel},
};

const CRYPTO: Placement = Placement::InlineCrypto;

/// Without ESN, which netdevsim refuses.
fn sa(spi: u32, aead: Aead, device: &str) -> SaSpec {
    let tunnel = Tunnel { aead, sequence_numbers: SequenceNumbers::Short, ..Tunnel::default() };
    SaSpec { device: Some(device.to_owned()), ..tunnel.sa(spi, 2, Direction::Outbound) }
}

#[test]
fn a_device_that_ignores_the_request_is_found_out() {
    let mut ground = Ground::new();
    let engine = &mut ground.left.engine;
    let effective = engine.install(&sa(THERE, Aead::Aes128Gcm, "cable"), CRYPTO).expect("taken");
    let reason = "the kernel accepted the request and ignored it (no driver support on cable)";
    assert_eq!(
        effective,
        Effective {
            requested: CRYPTO,
            effective: Placement::KernelSoftware,
            reason: Some(reason.to_owned())
        }
    );
    assert_eq!(engine.list().expect("a list")[0].placement, Placement::KernelSoftware);
}

#[test]
fn packet_offload_that_a_device_lacks_is_refused_and_leaves_nothing() {
    let mut ground = Ground::new();
    let engine = &mut ground.left.engine;
    let asked = sa(THERE, Aead::Aes128Gcm, "cable");
    let refused = engine.install(&asked, Placement::InlinePacket).expect_err("a veth");
    assert_eq!(refused.class, ErrorClass::Unsupported, "{refused}");
    assert_eq!(engine.list(), Ok(Vec::new()));
}

#[test]
fn a_device_with_an_engine_takes_sas_until_it_is_full() {
    let test = "a_device_with_an_engine_takes_sas_until_it_is_full";
    let Some(mut device) = Simulated::new(test) else { return };
    let name = device.name.clone();
    let engine = &mut device.engine;
    let wanted = Effective { requested: CRYPTO, effective: CRYPTO, reason: None };
    assert_eq!(engine.install(&sa(THERE, Aead::Aes128Gcm, &name), CRYPTO), Ok(wanted));
    let listed = engine.list().expect("a list");
    assert_eq!((listed[0].placement, listed[0].device.as_ref()), (CRYPTO, Some(&name)));

    let refused = (1..100)
        .find_map(|more| engine.install(&sa(THERE + more, Aead::Aes128Gcm, &name), CRYPTO).err());
    let refused = refused.expect("its table has an end");
    assert_eq!(refused.class, ErrorClass::Exhausted, "{refused}");
    assert!(refused.reason.starts_with("ENOSPC: "), "{refused}");
    println!("full after {}: {refused}", engine.list().expect("a list").len());
    device.clear();
}

#[test]
fn an_algorithm_that_a_device_lacks_is_unsupported() {
    let test = "an_algorithm_that_a_device_lacks_is_unsupported";
    let Some(mut device) = Simulated::new(test) else { return };
    let name = device.name.clone();
    let asked = sa(THERE, Aead::ChaCha20Poly1305, &name);
    let refused = device.engine.install(&asked, CRYPTO).expect_err("it knows AES-GCM alone");
    assert_eq!(refused.class, ErrorClass::Unsupported, "{refused}");
    assert!(refused.reason.starts_with("EINVAL: netdevsim: "), "{refused}");
    assert_eq!(device.engine.list(), Ok(Vec::new()));
}

#[test]
fn probing_tells_a_devices_algorithms_apart() {
    let Some(device) = Simulated::new("probing_tells_a_devices_algorithms_apart") else { return };
    let all = device.engine.capabilities();
    let answer = |placement, feature| {
        let mut entries = all.of(placement, Some(device.name.as_str()));
        entries.find(|entry| entry.feature == feature).map(|entry| entry.answer)
    };
    assert_eq!(answer(CRYPTO, Feature::Engine), Some(Answer::Yes));
    assert_eq!(answer(CRYPTO, Feature::Aead(Aead::Aes128Gcm)), Some(Answer::Yes));
    assert_eq!(answer(CRYPTO, Feature::Aead(Aead::ChaCha20Poly1305)), Some(Answer::No));
    assert_eq!(answer(CRYPTO, Feature::Esn), Some(Answer::No));
    assert_eq!(answer(Placement::InlinePacket, Feature::Engine), Some(Answer::No));
    for entry in all.of(CRYPTO, Some(&device.name)) {
        println!("{:?} {:?} {}", entry.feature, entry.answer, entry.evidence);
    }
}

#[test]
fn a_device_that_goes_down_loses_its_sas_and_we_are_told() {
    let test = "a_device_that_goes_down_loses_its_sas_and_we_are_told";
    let Some(mut device) = Simulated::new(test) else { return };
    let name = device.name.clone();
    let sa = sa(THERE, Aead::Aes128Gcm, &name);
    device.engine.install(&sa, CRYPTO).expect("taken");
    device.engine.events().expect("events");
    ip(&format!("link set {name} down"));
    device.wait_for(&EngineEvent::DeviceDown(name.clone()));

    let fingerprint = sa.keying.fingerprint();
    let wanted = Wanted { id: sa.id, reqid: 7, fingerprint, placement: CRYPTO };
    let list = device.engine.list().expect("a list");
    assert_eq!(reconcile(&[wanted], &BTreeSet::from([7]), &list).missing, [sa.id]);

    ip(&format!("link set {name} up"));
    device.wait_for(&EngineEvent::DeviceUp(name));
    device.engine.install(&sa, CRYPTO).expect("taken again");
    device.clear();
}

/// netdevsim's devices are of the namespace where the bus is written to: the VM's first.
struct Simulated {
    engine: XfrmEngine,
    name: String,
    /// One at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Simulated {
    fn new(test: &str) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        if fs::write("/sys/bus/netdevsim/new_device", "7 1").is_err() {
            println!("SKIPPED vm_netdevsim: {test}: this kernel has no netdevsim");
            return None;
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        let name = loop {
            let named = fs::read_dir("/sys/bus/netdevsim/devices/netdevsim7/net")
                .ok()
                .and_then(|mut devices| devices.next()?.ok());
            match named {
                Some(device) => break device.file_name().into_string().expect("text"),
                None => assert!(Instant::now() < deadline, "no device came"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        ip(&format!("link set {name} up"));
        let engine = XfrmEngine::open().expect("the VM's kernel has XFRM");
        Some(Self { engine, name, _alone: alone })
    }

    /// The first namespace is not taken down with the test.
    fn clear(&mut self) {
        for sa in self.engine.list().expect("a list") {
            self.engine.remove(sa.id).expect("removed");
        }
    }

    fn wait_for(&mut self, wanted: &EngineEvent) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.engine.events().expect("events").contains(wanted) {
            assert!(Instant::now() < deadline, "no {wanted:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = fs::write("/sys/bus/netdevsim/del_device", "7");
    }
}
