//! Links the C peers of the SRTP figure, each when its feature asks for it.

fn main() {
    println!("cargo::rerun-if-changed=src/contest/ipsec_mb/shim.c");
    if std::env::var_os("CARGO_FEATURE_LIBSRTP").is_some() {
        println!("cargo::rustc-link-lib=srtp2");
    }
    #[cfg(feature = "ipsec-mb")]
    {
        cc::Build::new()
            .file("src/contest/ipsec_mb/shim.c")
            .opt_level(3)
            .compile("postern_ipsec_mb");
        println!("cargo::rustc-link-lib=IPSec_MB");
    }
}
