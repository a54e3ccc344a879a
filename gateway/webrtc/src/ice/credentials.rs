//! Fragments and passwords (RFC 8445 section 5.3): made, checked, kept.

use ng::sdp::IceCredentials;
use zeroize::Zeroizing;

use super::words::AgentError;

/// Random bytes that [`credentials`] needs.
pub const CREDENTIAL_BYTES: usize = UFRAG + PWD;

/// 48 bits; RFC 8445 section 5.3 wants 24.
const UFRAG: usize = 8;

/// 156 bits; RFC 8445 section 5.3 wants 128.
const PWD: usize = 26;

/// Local credentials out of fresh random bytes, one for each character.
pub fn credentials(random: &[u8; CREDENTIAL_BYTES]) -> IceCredentials {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| ice_char(*byte)).collect::<String>();
    let (ufrag, pwd) = random.split_at(UFRAG);
    IceCredentials { ufrag: text(ufrag).into(), pwd: text(pwd).into() }
}

/// There are 64 of them, so six bits of each byte choose one evenly.
fn ice_char(byte: u8) -> char {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char::from(ALPHABET[usize::from(byte & 63)])
}

/// Credentials as SDP takes them ([`IceCredentials::are_well_formed`]). The password is wiped when dropped.
pub(super) struct Credentials {
    pub(super) ufrag: Box<str>,
    pwd: Zeroizing<Box<str>>,
}

impl Credentials {
    /// # Errors
    /// [`AgentError::Credentials`] where length or characters do not fit.
    pub(super) fn new(mut said: IceCredentials) -> Result<Self, AgentError> {
        let fit = said.are_well_formed();
        let (ufrag, pwd) = (std::mem::take(&mut said.ufrag), std::mem::take(&mut said.pwd));
        let taken = Self { ufrag, pwd: Zeroizing::new(pwd) };
        if fit { Ok(taken) } else { Err(AgentError::Credentials) }
    }

    /// What MESSAGE-INTEGRITY is made with.
    pub(super) fn password(&self) -> &[u8] {
        self.pwd.as_bytes()
    }

    /// A second owner: another session under the same credentials.
    pub(super) fn dangerous_duplicate(&self) -> Self {
        Self { ufrag: self.ufrag.clone(), pwd: self.pwd.clone() }
    }

    /// Fragment and password are those.
    pub(super) fn are(&self, said: &IceCredentials) -> bool {
        self.ufrag == said.ufrag && *self.pwd == said.pwd
    }

    /// Fragment or password is that of `said`: a restart must change both (RFC 8839 section 4.4.1).
    pub(super) fn share(&self, said: &IceCredentials) -> bool {
        self.ufrag == said.ufrag || *self.pwd == said.pwd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_credentials_have_the_incumbents_lengths_and_are_ice_chars() {
        let random = std::array::from_fn(|index| (index * 7) as u8);
        let made = credentials(&random);
        assert_eq!((made.ufrag.len(), made.pwd.len()), (8, 26));
        assert!(Credentials::new(made).is_ok());
    }

    #[test]
    fn every_byte_value_is_an_ice_char_and_each_is_equally_likely() {
        let mut count = std::collections::BTreeMap::new();
        for byte in 0..=255 {
            *count.entry(ice_char(byte)).or_insert(0) += 1;
        }
        assert_eq!(count.len(), 64);
        assert!(count.values().all(|times| *times == 4));
    }

    #[test]
    fn credentials_out_of_bounds_are_refused() {
        let said = |ufrag: &str, pwd: &str| {
            Credentials::new(IceCredentials { ufrag: ufrag.into(), pwd: pwd.into() }).is_ok()
        };
        let pwd = "p".repeat(22);
        assert!(said("abcd", &pwd));
        assert!(said(&"u".repeat(256), &"p".repeat(256)));
        assert!(!said("abc", &pwd));
        assert!(!said(&"u".repeat(257), &pwd));
        assert!(!said("abcd", &pwd[1..]));
        assert!(!said("ab:d", &pwd));
    }

    /// Parties in the field write these beside RFC 8839's, and SDP is read with them.
    #[test]
    fn what_sdp_takes_for_credentials_the_agent_takes_and_no_more() {
        for byte in 0..=0x7f_u8 {
            let text = char::from(byte).to_string();
            let (ufrag, pwd) = (text.repeat(4), text.repeat(22));
            let read = IceCredentials::new(&ufrag, &pwd).is_some();
            let said = IceCredentials { ufrag: ufrag.into(), pwd: pwd.into() };
            assert_eq!(Credentials::new(said).is_ok(), read, "{text:?}");
            assert_eq!(read, byte.is_ascii_alphanumeric() || b"+/-_=#".contains(&byte), "{text:?}");
        }
    }
}
