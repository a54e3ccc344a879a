//! The means of tests do what they say.

use std::num::NonZeroU32;

use super::*;
use crate::{
    Aead, Direction, ErrorClass, IpsecEngine, KeyingMaterial, Lifetimes, Mode, Placement, Reqid,
    SaId, SaSpec, SecretKey, Selector, SequenceNumbers, Spi,
};

fn sa(spi: u32) -> SaSpec {
    let aead = Aead::Aes128Gcm;
    let key = SecretKey::copy_from(&vec![1; aead.key_len() + Aead::SALT_LEN]);
    SaSpec {
        id: SaId {
            destination: "192.0.2.2".parse().expect("an address"),
            spi: Spi::new(spi).expect("not reserved"),
        },
        source: "192.0.2.1".parse().expect("an address"),
        direction: Direction::Outbound,
        mode: Mode::Tunnel,
        keying: KeyingMaterial::new(aead, key).expect("the right length"),
        sequence_numbers: SequenceNumbers::Extended,
        replay_window: 64,
        lifetimes: Lifetimes::default(),
        encapsulation: None,
        reqid: Reqid(NonZeroU32::MIN),
        selector: Selector {
            source: "10.1.0.0/16".parse().expect("a prefix"),
            destination: "10.2.0.0/16".parse().expect("a prefix"),
            protocol: None,
            source_port: None,
            destination_port: None,
        },
        device: None,
        resume_after: 0,
    }
}

fn kernel() -> Model {
    Model::new("kernel", &[Placement::InlineCrypto, Placement::KernelSoftware])
}

#[test]
fn a_full_model_is_exhausted_and_an_spi_in_use_is_a_conflict() {
    let mut model = kernel();
    model.limit(1);
    model.come_out_as(Some(Placement::KernelSoftware));
    let placed = model.install(&sa(256), Placement::InlineCrypto).expect("there is room");
    assert!(placed.fell_back() && placed.reason.is_some());
    let mut class = |spi, place| model.install(&sa(spi), place).map(|_| ()).map_err(|e| e.class);
    assert_eq!(class(256, Placement::KernelSoftware), Err(ErrorClass::Conflict));
    assert_eq!(class(257, Placement::KernelSoftware), Err(ErrorClass::Exhausted));
    assert_eq!(class(257, Placement::UserSpace), Err(ErrorClass::Unsupported));
}

#[test]
fn what_a_model_remembers_outlives_it() {
    let mut model = kernel();
    model.install(&sa(256), Placement::KernelSoftware).expect("there is room");
    let again = kernel();
    again.remember(model.clone().memory());
    drop(model);
    let [sa] = &again.sas()[..] else { panic!("{:?}", again.sas()) };
    assert!(sa.installed.fingerprint.is_some() && sa.direction == Direction::Outbound);
}

#[test]
fn a_fault_comes_when_it_should_with_or_without_the_effect() {
    for (when, left) in [(When::Before, 1), (When::After, 2)] {
        let (model, faults) = (kernel(), Faults::default());
        let fault = Fault::new(&[Operation::Install], ErrorClass::Busy);
        faults.set(vec![Fault { after: 1, when, ..fault }]);
        let mut engine = Faulty::new(model.clone(), &faults);
        let mut install = |spi| engine.install(&sa(spi), Placement::KernelSoftware).is_ok();
        assert!(install(256));
        assert!(!install(257));
        assert_eq!(model.sas().len(), left);
        assert!(faults.are_spent());
        assert!(install(258));
    }
}

#[test]
fn every_call_is_told_with_how_it_went() {
    let (tell, told) = std::sync::mpsc::channel();
    let mut engine = Recording::new(kernel(), move |call| tell.send(call).expect("heard"));
    engine.install(&sa(256), Placement::KernelSoftware).expect("there is room");
    let nobodys = SaId { spi: Spi::new(999).expect("not reserved"), ..sa(256).id };
    engine.usage(nobodys).expect_err("there is none");
    let expected = [
        Call {
            operation: Operation::Install,
            object: "0x00000100 to 192.0.2.2".to_owned(),
            failed: None,
        },
        Call {
            operation: Operation::Usage,
            object: "0x000003e7 to 192.0.2.2".to_owned(),
            failed: Some(ErrorClass::Gone),
        },
    ];
    assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
}
