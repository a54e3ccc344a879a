//! The means of tests do what they say.

use std::num::NonZeroU32;

use super::*;
use crate::{
    Aead, Direction, EngineError, ErrorClass, IpsecEngine, KeyingMaterial, Lifetimes, Mode,
    Placement, Reqid, SaId, SaSpec, SecretKey, Selector, SequenceNumbers, Spi,
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

fn lost_answer() -> EngineError {
    EngineError {
        class: ErrorClass::Busy,
        operation: "install SA".to_owned(),
        object: String::new(),
        reason: "as the script says".to_owned(),
        hint: None,
    }
}

#[test]
fn a_full_model_is_exhausted_and_an_spi_in_use_is_a_conflict() {
    let mut model = Model::new(Placement::KernelSoftware, 1);
    let placed = model.install(&sa(256), Placement::InlineCrypto).expect("there is room");
    assert!(placed.fell_back() && placed.reason.is_some());
    let class =
        |result: Result<_, EngineError>| result.map(|_: crate::Effective| ()).map_err(|e| e.class);
    let again = model.install(&sa(256), Placement::KernelSoftware);
    assert_eq!(class(again), Err(ErrorClass::Conflict));
    let more = model.install(&sa(257), Placement::KernelSoftware);
    assert_eq!(class(more), Err(ErrorClass::Exhausted));
}

#[test]
fn a_fault_comes_when_it_should_with_or_without_the_effect() {
    let fault = |when| Fault {
        operation: Operation::Install,
        after: 1,
        times: 1,
        when,
        error: lost_answer(),
    };
    for (when, left) in [(When::Before, 1), (When::After, 2)] {
        let model = Model::new(Placement::KernelSoftware, 9);
        let mut engine = Faulty::new(model, vec![fault(when)]);
        let mut install = |spi| engine.install(&sa(spi), Placement::KernelSoftware).is_ok();
        assert!(install(256));
        assert!(!install(257));
        assert_eq!(engine.inner().list().expect("a model").len(), left);
        assert!(engine.is_spent());
        assert!(engine.install(&sa(258), Placement::KernelSoftware).is_ok());
    }
}

#[test]
fn every_call_is_recorded_with_how_it_went() {
    let mut engine = Recording::new(Model::new(Placement::KernelSoftware, 9));
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
    assert_eq!(engine.calls(), expected);
}
