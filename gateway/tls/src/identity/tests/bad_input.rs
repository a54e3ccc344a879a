//! What is refused, and that the message says which file and what to do.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::{KeyPair, PublicKeyData, SigningKey};

use super::*;

fn says(listener: &ListenerSettings, parts: &[&str]) {
    let error = refusal(listener);
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

#[test]
fn what_is_not_there_or_not_pem() {
    let folder = Folder::new("not-pem");
    let leaf = Authority::new("CA").leaf(&["a.example"]);
    let key = folder.file("a.key", leaf.key_pem());
    let chain = folder.file("a.pem", leaf.pem());
    let none = folder.path("none.pem");
    let text = folder.file("text.pem", "hello");
    let broken = folder.file("broken.pem", leaf.pem().replace('M', "!"));
    says(&listener(vec![files(none, key.clone())]), &["cannot read", "none.pem", "No such file"]);
    says(&listener(vec![files(text.clone(), key.clone())]), &["text.pem holds no certificate"]);
    says(&listener(vec![files(broken, key.clone())]), &["broken.pem holds no certificate"]);
    says(&listener(vec![files(chain.clone(), text)]), &["text.pem holds no private key"]);
    says(&listener(vec![files(chain.clone(), chain)]), &["a.pem holds no private key"]);
    says(&listener(Vec::new()), &["no certificate", "set `certificate`"]);
}

#[test]
fn a_certificate_that_is_garbage_inside() {
    let folder = Folder::new("garbage");
    let leaf = Authority::new("CA").leaf(&["a.example"]);
    let garbage = "-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n";
    let chain = folder.file("a.pem", format!("{}{garbage}", leaf.pem()));
    let key = folder.file("a.key", leaf.key_pem());
    says(&listener(vec![files(chain, key)]), &["a.pem", "certificate 2", "write it anew"]);
}

#[test]
fn a_key_that_others_can_read() {
    let folder = Folder::new("exposed");
    let leaf = Authority::new("CA").leaf(&["a.example"]);
    let source = pair(&folder, "a", &leaf);
    let key = folder.path("a.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    says(&listener(vec![source]), &["others can read", &format!("chmod 600 {}", key.display())]);
}

#[test]
fn a_key_of_another_certificate() {
    let folder = Folder::new("mismatch");
    let authority = Authority::new("CA");
    let chain = folder.file("a.pem", authority.leaf(&["a.example"]).pem());
    let key = folder.file("b.key", authority.leaf(&["b.example"]).key_pem());
    says(&listener(vec![files(chain, key)]), &["b.key is not that", "a.pem", "give the key"]);
}

#[test]
fn a_chain_out_of_order() {
    let folder = Folder::new("order");
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let leaf = middle.leaf(&["a.example"]);
    let key = folder.file("a.key", leaf.key_pem());
    let chain = |name, parts: &[String]| folder.file(name, parts.concat());
    let last = chain("last.pem", &[middle.pem(), leaf.pem()]);
    says(&listener(vec![files(last, key.clone())]), &["last.pem", "certificate 2", "first"]);
    let gap = chain("gap.pem", &[leaf.pem(), root.pem()]);
    says(
        &listener(vec![files(gap, key.clone())]),
        &["gap.pem", "certificate 2 (CN=root) did not sign", "CN=middle"],
    );
    let whole = chain("whole.pem", &[leaf.pem(), middle.pem(), root.pem()]);
    load(&listener(vec![files(whole, key)]));
}

#[test]
fn a_certificate_that_is_over() {
    let folder = Folder::new("expired");
    let leaf = Authority::new("CA").leaf_with(&["a.example"], KeyPair::generate().unwrap(), |it| {
        it.not_before = rcgen::date_time_ymd(2020, 1, 1);
        it.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let mut listener = listener(vec![pair(&folder, "a", &leaf)]);
    says(&listener, &["a.pem", "expired at 2021-01-01T00:00:00Z", "renew it"]);
    listener.identity.expired = ExpiredCertificate::Serve;
    let warnings = load(&listener).warnings();
    assert!(warnings[0].to_string().contains("expired at 2021-01-01"), "{warnings:?}");
}

#[test]
fn a_certificate_that_is_not_valid_yet_starts_with_a_warning() {
    let folder = Folder::new("early");
    let leaf = Authority::new("CA").leaf_with(&["a.example"], KeyPair::generate().unwrap(), |it| {
        it.not_before = rcgen::date_time_ymd(2090, 1, 1);
    });
    let warnings = load(&listener(vec![pair(&folder, "a", &leaf)])).warnings();
    assert!(warnings[0].to_string().contains("only from 2090-01-01"), "{warnings:?}");
}

#[test]
fn a_name_that_the_certificate_is_not_for() {
    let folder = Folder::new("name");
    let source = pair(&folder, "a", &Authority::new("CA").leaf(&["a.example", "*.b.example"]));
    let with = |name| listener(vec![named_for(source.clone(), &[name])]);
    says(&with("c.example"), &["a.pem", r#"not for "c.example""#, "a.example, *.b.example"]);
    says(&with("x.y.b.example"), &["a.pem", "not for"]);
    says(&with("not a name"), &[r#""not a name" is no name"#]);
    load(&with("x.b.example"));
    load(&with("*.b.example"));
}

#[test]
fn a_weak_key() {
    /// Its certificate has an RSA key of 1,024 bits; its signature is none.
    struct Weak;
    impl PublicKeyData for Weak {
        fn der_bytes(&self) -> &[u8] {
            const KEY: [u8; 140] = {
                let mut key = [0xa5; 140];
                let head = [0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00];
                let mut at = 0;
                while at < head.len() {
                    key[at] = head[at];
                    at += 1;
                }
                [key[135], key[136], key[137], key[138], key[139]] = [0x02, 0x03, 0x01, 0x00, 0x01];
                key
            };
            &KEY
        }

        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            &rcgen::PKCS_RSA_SHA256
        }
    }
    impl SigningKey for Weak {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            Ok(vec![0; 128])
        }
    }
    let folder = Folder::new("weak");
    let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let chain = folder.file("a.pem", params.self_signed(&Weak).unwrap().pem());
    let key = folder.file("a.key", KeyPair::generate().unwrap().serialize_pem());
    says(&listener(vec![files(chain, key)]), &["a.pem", "RSA 1024", "2048 bits or more"]);
}

#[test]
fn authorities_and_revocation_lists_that_are_none() {
    let folder = Folder::new("authority");
    let authority = Authority::new("CA");
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.client_authentication = ClientAuthentication::Required;
    says(&listener, &["no authority", "set `authority`"]);
    listener.identity.authority = Some(folder.file("ca.pem", "hello"));
    says(&listener, &["ca.pem holds no certificate"]);
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    listener.identity.revocation_lists = vec![folder.file("list.crl", "hello")];
    says(&listener, &["list.crl holds no revocation list"]);
    listener.identity.revocation_lists = vec![folder.file("list.crl", [0x30, 3, 2, 1, 0])];
    says(&listener, &["list.crl", "fetch the authority's list anew"]);
    listener.identity.revocation_lists = vec![folder.path("none.crl")];
    says(&listener, &["cannot read", "none.crl"]);
}

#[test]
fn revocation_lists_that_no_authority_signed() {
    let folder = Folder::new("foreign-list");
    let (authority, impostor) = (Authority::new("CA"), Authority::new("CA"));
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.client_authentication = ClientAuthentication::Required;
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let good = authority.revocation_list(&[], 1, 2090);
    let mut later = good.clone();
    let this_update = later.windows(13).position(|bytes| bytes == b"240101000000Z").unwrap();
    later[this_update + 3] = b'2';
    let middle = authority.intermediate("middle");
    for (list, issuer) in [
        (impostor.revocation_list(&[], 1, 2090), "CN=CA"),
        (later, "CN=CA"),
        (middle.revocation_list(&[], 1, 2090), "CN=middle"),
    ] {
        listener.identity.revocation_lists = vec![folder.file("list.crl", list)];
        says(&listener, &["TLS listener", "list.crl", issuer, "no certificate in `authority`"]);
        says(&listener, &["fetch", "or put the certificate that signed it into `authority`"]);
    }
    // An authority of the same name beside it, as after a change of its key, is no obstacle.
    let both = format!("{}{}{}", impostor.pem(), authority.pem(), middle.pem());
    listener.identity.authority = Some(folder.file("ca.pem", both));
    let of_middle = folder.file("middle.crl", middle.revocation_list(&[], 1, 2090));
    listener.identity.revocation_lists = vec![folder.file("list.crl", good), of_middle];
    load(&listener);
}

#[test]
fn a_revocation_list_signed_with_an_algorithm_that_is_not_accepted() {
    let folder = Folder::new("list-algorithm");
    let authority = Authority::new("CA");
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.client_authentication = ClientAuthentication::Required;
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    // ecdsa-with-SHA256 is 1.2.840.10045.4.3.2; .1 is with SHA-224.
    let (sha256, mut list) =
        ([0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], authority.revocation_list(&[], 1, 2090));
    for at in 0..list.len() - sha256.len() {
        if list[at..].starts_with(&sha256) {
            list[at + 7] = 1;
        }
    }
    listener.identity.revocation_lists = vec![folder.file("list.crl", list)];
    says(&listener, &["list.crl", "algorithm that is not accepted", "fetch"]);
}

#[test]
fn an_upstream_and_protocols_that_cannot_be_named() {
    let folder = Folder::new("upstream");
    let mut listener = listener(Vec::new());
    listener.mode = Mode::Originate;
    says(&listener, &["set `server_name`"]);
    listener.identity.server_name = Some("carrier.example".to_owned());
    says(&listener, &["no authority"]);
    listener.identity.authority = Some(folder.file("ca.pem", Authority::new("CA").pem()));
    assert!(load(&listener).client_config().is_some());
    listener.identity.alpn = vec![String::new()];
    says(&listener, &["protocol's name"]);
}

#[test]
fn one_bad_pair_refuses_the_whole_listener() {
    let folder = Folder::new("whole");
    let authority = Authority::new("CA");
    let good = pair(&folder, "a", &authority.leaf(&["a.example"]));
    let chain = folder.file("b.pem", authority.leaf(&["b.example"]).pem());
    let bad = files(chain, folder.path("none.key"));
    says(&listener(vec![good, bad]), &["none.key"]);
}

#[test]
fn no_byte_of_a_key_is_shown() {
    let folder = Folder::new("secret");
    let leaf = Authority::new("CA").leaf(&["a.example"]);
    let common = common();
    let identity = Identity::load(&listener(vec![pair(&folder, "a", &leaf)]), &common).unwrap();
    let shown = format!("{identity:?} {common:?} {:?}", identity.describe());
    let scalar = leaf.key.serialized_der();
    // Of a P-256 key in PKCS#8 the 32 bytes from the 36th on are the secret.
    let secret = &scalar[36..68];
    let as_list =
        |bytes: &[u8]| bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let as_hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for part in secret.windows(4) {
        assert!(!shown.contains(&as_list(part)), "a part of the key as a list");
        assert!(!shown.to_lowercase().contains(&as_hex(part)), "a part of the key in hexadecimal");
    }
}
