use std::path::Path;

use super::*;
use crate::config::file;

const TERMINATE: &str = r#"
name = "sip"
mode = "terminate"
listen = "127.0.0.1:5061"
upstream = ["127.0.0.1:5060"]
certificate = [{ chain = "sip.pem", key = "sip.key" }]
"#;

const ORIGINATE: &str = r#"
name = "carrier"
mode = "originate"
listen = "127.0.0.1:5062"
upstream = ["192.0.2.1:5061"]
authority = "ca.pem"
server_name = "carrier.example"
"#;

/// A file as an operator writes it.
fn read(text: &str) -> Result<(), String> {
    let config = file::parse(text, Path::new("gateway.toml")).map_err(|error| error.to_string())?;
    check(&config).map_err(|error| error.to_string())
}

/// A listener, with lines put in the place of those of the same key, or added.
fn changed(base: &str, changes: &str) -> String {
    let key = |line: &str| line.split(" =").next().map(str::to_owned);
    let replaced: Vec<_> = changes.lines().filter_map(key).collect();
    let kept = base.lines().filter(|line| !replaced.contains(&key(line).unwrap_or_default()));
    let kept: Vec<_> = kept.collect();
    format!("[[tls.listener]]\n{}\n{changes}\n", kept.join("\n"))
}

#[test]
fn listeners_as_in_the_guide_are_accepted() {
    let both = format!("{}{}", changed(TERMINATE, ""), changed(ORIGINATE, ""));
    assert_eq!(read(&both), Ok(()));
    let all = changed(
        TERMINATE,
        "certificate = [{ names = [\"sip.example.com\", \"*.example.com\"], chain = \"a.pem\", \
         key = \"pkcs11:token=t;object=o?module-path=/x.so&pin-source=file:/run/pin\" }, \
         { directory = \"/etc/postern/tls\" }]\nclient_authentication = \"required\"\n\
         authority = \"clients.pem\"\ncrl = [\"clients.crl\"]\nproxy_protocol = \"v2\"\n\
         alpn = [\"sip\"]\nidle_timeout = \"0s\"\n",
    );
    assert_eq!(read(&all), Ok(()));
    let client = "certificate = [{ chain = \"us.pem\", key = \"us.key\" }]";
    assert_eq!(read(&changed(ORIGINATE, client)), Ok(()));
}

#[test]
fn what_a_terminating_listener_lacks_or_does_not_take_is_told_with_its_name_and_a_remedy() {
    for (change, expected) in [
        ("certificate = []", "add `certificate`"),
        ("upstream = []", "name at least one address"),
        ("upstream = [\"0.0.0.0:5060\"]", "upstream 0.0.0.0:5060 is nowhere to connect to"),
        ("upstream = [\"127.0.0.1:0\"]", "write an address and a port"),
        ("upstream = [\"127.0.0.1:5061\"]", "name the SBC's address"),
        ("listen = \"0.0.0.0:5061\"\nupstream = [\"127.0.0.1:5061\"]", "name the SBC's address"),
        ("upstream = [\"127.0.0.1:5060\", \"127.0.0.1:5060\"]", "127.0.0.1:5060 is named twice"),
        ("listen = \"127.0.0.1:2223\"", "ng.listen (--ng) has 127.0.0.1:2223"),
        ("listen = \"0.0.0.0:9431\"", "http.listen (--http) has 127.0.0.1:9431"),
        ("server_name = \"x.example\"", "certificate.names"),
        ("authority = \"ca.pem\"", "set client_authentication to \"optional\""),
        ("client_authentication = \"required\"", "set `authority`"),
        ("crl = [\"x.crl\"]", "set authority"),
        (
            "client_authentication = \"required\"\nauthority = \"system\"",
            "/etc/ssl/certs/ca-certificates.crt",
        ),
        ("alpn = [\"\"]", "1 to 255 bytes, such as \"sip\""),
        ("alpn = [\"sip\", \"sip\"]", "\"sip\" is named twice"),
        ("versions = []", "allow 1.2, 1.3 or both"),
        ("versions = [\"1.3\", \"1.3\"]", "named twice"),
        ("max_connections = 0", "max_handshakes is more than max_connections"),
        ("max_connections = 2000000", "more than 1000000"),
        ("max_handshakes = 0", "max_handshakes is zero"),
        ("max_handshakes = 20000", "max_handshakes is more than max_connections"),
        ("handshake_timeout = \"0s\"", "handshake_timeout is zero"),
        ("handshake_timeout = \"6m\"", "more than \"5m\""),
        ("connect_timeout = \"0s\"", "connect_timeout is zero"),
        ("upstream_retry = \"0s\"", "such as \"10s\""),
    ] {
        let error = read(&changed(TERMINATE, change)).expect_err(change);
        assert!(error.starts_with("tls.listener = sip: "), "{change}: {error}");
        assert!(error.contains(expected), "{change}: {error}");
    }
}

#[test]
fn what_an_originating_listener_lacks_or_does_not_take_is_told() {
    let one = "{ chain = \"a.pem\", key = \"a.key\" }";
    for (change, expected) in [
        ("client_authentication = \"required\"", "always checks its upstream"),
        ("unknown_name = \"refuse\"", "is for terminate"),
        ("proxy_protocol = \"v2\"", "is for terminate"),
        ("server_name = \"not a name\"", "no DNS name and no address"),
        (&format!("certificate = [{one}, {one}]"), "leave out the others"),
        (
            "certificate = [{ names = [\"a.example\"], chain = \"a.pem\", key = \"a.key\" }]",
            "nobody asks an originating listener for a name",
        ),
    ] {
        let error = read(&changed(ORIGINATE, change)).expect_err(change);
        assert!(error.starts_with("tls.listener = carrier: "), "{change}: {error}");
        assert!(error.contains(expected), "{change}: {error}");
    }
    for (left_out, expected) in
        [("authority", "set `authority`"), ("server_name", "set `server_name`")]
    {
        let text = changed(ORIGINATE, "");
        let kept: Vec<_> = text.lines().filter(|line| !line.starts_with(left_out)).collect();
        let error = read(&kept.join("\n")).unwrap_err();
        assert!(error.contains("carrier") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_certificate_is_whole_and_holds_no_secret() {
    for (certificate, expected) in [
        ("{ names = [\"a.example\"] }", "name its chain and key, or a directory"),
        ("{ chain = \"a.pem\" }", "certificate a.pem: its key is missing"),
        ("{ directory = \"/d\", chain = \"a.pem\", key = \"a.key\" }", "a directory stands alone"),
        ("{ directory = \"/d\", names = [\"a.example\"] }", "a directory stands alone"),
        ("{ names = [\"a b\"], chain = \"a.pem\", key = \"a.key\" }", "\"a b\" is no DNS name"),
        (
            "{ names = [\"a.example\", \"A.example\"], chain = \"a.pem\", key = \"a.key\" }",
            "served by two",
        ),
        ("{ chain = \"a.pem\", key = \"-----BEGIN PRIVATE KEY-----\" }", "into a file of its own"),
        ("{ chain = \"a.pem\", key = \"pkcs11:token=t?pin-value=1234\" }", "pin-source=file:/"),
    ] {
        let error = read(&changed(TERMINATE, &format!("certificate = [{certificate}]")));
        let error = error.expect_err(certificate);
        assert!(error.contains(expected), "{certificate}: {error}");
        assert!(!error.contains("1234"), "a PIN is not repeated: {error}");
    }
}

#[test]
fn names_and_addresses_are_one_listeners() {
    let twice = changed(TERMINATE, "");
    let error = read(&format!("{twice}{}", changed(TERMINATE, "listen = \"127.0.0.1:5063\"")));
    assert!(error.unwrap_err().contains("another listener has this name"));
    let error = read(&format!("{twice}{}", changed(ORIGINATE, "listen = \"0.0.0.0:5061\"")));
    let error = error.unwrap_err();
    assert!(error.starts_with("tls.listener = carrier: the tls.listener \"sip\" has"), "{error}");
    let free = "listen = \"127.0.0.1:0\"";
    let both = format!("{}{}", changed(TERMINATE, free), changed(ORIGINATE, free));
    assert_eq!(read(&both), Ok(()));
    for bad in ["", "a b", "ü", &"x".repeat(65)] {
        let error = read(&changed(TERMINATE, &format!("name = \"{bad}\""))).unwrap_err();
        assert!(error.contains("letters, digits"), "{error}");
    }
}

#[test]
fn settings_of_the_whole_are_checked() {
    for (text, expected) in [
        ("threads = 2000", "tls.threads = 2000: more than 1024"),
        ("ticket_lifetime = \"10s\"", "tls.ticket_lifetime = 10s: write \"1m\" to \"84h\""),
        ("ticket_lifetime = \"7d\"", "RFC 8446 section 4.6.1"),
        ("kernel = \"off\"\nprefer = \"tls12-device\"", "tls.prefer = tls12-device: a device"),
    ] {
        let error = read(&format!("[tls]\n{text}\n")).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let text = changed(TERMINATE, "versions = [\"1.3\"]");
    let error = read(&format!("[tls]\nprefer = \"tls12-device\"\n{text}")).unwrap_err();
    assert!(error.contains("sip: versions lacks \"1.2\""), "{error}");
}

#[test]
fn a_typo_is_answered_with_the_nearest_key_and_a_wrong_value_with_its_form() {
    for (text, expected) in [
        ("[tls]\nthreds = 1", "unknown key \"threds\" in [tls]: did you mean \"threads\"?"),
        (
            &changed(TERMINATE, "upstraem = 1"),
            "unknown key \"upstraem\" in [tls.listener]: did you mean \"upstream\"?",
        ),
        (
            &changed(TERMINATE, "certificate = [{ chian = \"a.pem\" }]"),
            "unknown key \"chian\" in [tls.listener.certificate]: did you mean \"chain\"?",
        ),
        ("[tls]\nkernel = \"on\"", "tls.kernel: unknown variant `on`"),
        (&changed(TERMINATE, "mode = \"proxy\""), "tls.listener.mode: unknown variant"),
        (&changed(TERMINATE, "versions = [\"1.1\"]"), "expected `1.2` or `1.3`"),
        (&changed(TERMINATE, "handshake_timeout = 10"), "expected text in quotes, such as \"10s\""),
        (&changed(TERMINATE, "listen = \"5061\""), "tls.listener.listen: invalid socket address"),
        ("[[tls.listener]]\nname = \"sip\"", "missing field `mode`"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(expected) && error.contains("line "), "{error}");
    }
}
