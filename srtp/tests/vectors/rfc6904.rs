//! RFC 6904 appendix A: encrypted header extension elements. Its derived keys are checked beside
//! the derivation, which is not public.

use srtp::{ExtensionIds, HeaderExtensions, MasterKey, Policy, Profile, Receiver, Sender};

use super::{hex, on_backends, with_tailroom};

/// Of five elements, those with ids 1, 3 and 4 are encrypted. The RFC gives the extension alone.
#[test]
fn appendix_a_header_extension() {
    let profile = Profile::AesCm128HmacSha1_80;
    let master = hex("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6");
    let master = MasterKey::from_concatenated(profile, &master).expect("30 bytes");
    let ids = ExtensionIds::new([1, 3, 4]).expect("no zero");
    let plain = hex("900f1234 decafbad cafebabe bede0006
        17414273 A4752627 48220000 C8308E46 55996386 B395FB00");
    let extension = hex("17588A92 70F4E15E 1C220000 C8309546 A994F0BC 54789700");
    for (_, policy) in on_backends(profile) {
        let policy = Policy { header_extensions: HeaderExtensions::Encrypted(ids), ..policy };
        let mut buffer = with_tailroom(&plain);
        let mut sender = Sender::new(&master, &policy).expect("suitable");
        let sealed = sender.protect_rtp(&mut buffer, plain.len()).expect("protects");
        assert_eq!(buffer[..16], plain[..16], "on {}", policy.backend);
        assert_eq!(buffer[16..40], extension, "on {}", policy.backend);

        let mut receiver = Receiver::new(&master, &policy).expect("suitable");
        let opened = receiver.open_rtp(&mut buffer[..sealed.len]).expect("opens");
        assert_eq!(buffer[..opened.len], plain, "on {}", policy.backend);
    }
}
