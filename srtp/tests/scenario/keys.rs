//! The master keys of a call: the same for every endpoint of a test.

use srtp::{KeyParameters, Lifetimes, MasterKey, Mki, Profile};

/// One key without an MKI, or several with MKIs of one length.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    profile: Profile,
    mkis: Vec<Vec<u8>>,
}

impl Keys {
    pub(crate) fn without_mki(profile: Profile) -> Self {
        Self { profile, mkis: vec![Vec::new()] }
    }

    /// `count` keys with MKIs of `len` bytes that differ in one, as a counter does.
    #[allow(dead_code, reason = "webrtc-srtp knows no MKI")]
    pub(crate) fn with_mkis(profile: Profile, count: u8, len: usize) -> Self {
        let mki = |number| [vec![0x40; len - 1], vec![number]].concat();
        Self { profile, mkis: (0..count).map(mki).collect() }
    }

    #[allow(dead_code, reason = "one test has a profile for each")]
    pub(crate) fn profile(&self) -> Profile {
        self.profile
    }

    pub(crate) fn count(&self) -> usize {
        self.mkis.len()
    }

    pub(crate) fn mki(&self, at: usize) -> &[u8] {
        &self.mkis[at]
    }

    /// Master key and master salt.
    pub(crate) fn key_and_salt(&self, at: usize) -> (Vec<u8>, Vec<u8>) {
        let byte = |byte: usize| byte as u8 * 7 + 1 + at as u8;
        let key = (0..self.profile.key_len()).map(byte).collect();
        (key, (0..self.profile.salt_len()).map(|at| byte(at) ^ 0xff).collect())
    }

    pub(crate) fn typed_mki(&self, at: usize) -> Mki {
        Mki::new(self.mki(at)).expect("at most 128 bytes")
    }

    /// Has `act` use the key as this crate takes it.
    pub(crate) fn with_parameters<T>(
        &self,
        at: usize,
        act: impl FnOnce(KeyParameters<'_>) -> T,
    ) -> T {
        let (key, salt) = self.key_and_salt(at);
        let master = MasterKey::from_concatenated(self.profile, &[key, salt].concat());
        let master = master.expect("the profile's lengths");
        let (mki, lifetimes) = (self.typed_mki(at), Lifetimes::MAX);
        act(KeyParameters { master: &master, mki, lifetimes })
    }
}
