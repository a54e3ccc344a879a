//! Random words for SDP: ICE credentials and `a=tls-id`.

use ng::sdp::IceCredentials;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::Refused;

/// New ICE credentials: `a=ice-ufrag` of 8 characters and `a=ice-pwd` of 26, the incumbent's
/// lengths. RFC 8445 section 5.3 asks for 24 and 128 bits; six bits a character are 48 and 156.
pub(super) fn ice_credentials(random: &SystemRandom) -> Result<IceCredentials, Refused> {
    let text = text::<{ UFRAG + PWD }>(random)?;
    let (ufrag, pwd) = text.split_at(UFRAG);
    IceCredentials::new(ufrag, pwd).ok_or(Refused::NO_ENTROPY)
}

/// 32 hexadecimal digits.
pub(super) fn hexadecimal(random: &SystemRandom) -> Result<Box<str>, Refused> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes).map_err(|_| Refused::NO_ENTROPY)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)).into())
}

/// `LEN` characters of the 64 that ICE has (RFC 8839 section 5.1, `ice-char`).
fn text<const LEN: usize>(random: &SystemRandom) -> Result<Zeroizing<String>, Refused> {
    let mut bytes = Zeroizing::new([0; LEN]);
    random.fill(&mut bytes[..]).map_err(|_| Refused::NO_ENTROPY)?;
    let ice_char = |byte: &u8| char::from(ICE_CHARS[usize::from(byte % 64)]);
    Ok(Zeroizing::new(bytes.iter().map(ice_char).collect()))
}

const UFRAG: usize = 8;
const PWD: usize = 26;

const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_incumbents_lengths_and_never_repeat() {
        let random = SystemRandom::new();
        let (first, second) =
            (ice_credentials(&random).unwrap(), ice_credentials(&random).unwrap());
        assert_eq!((first.ufrag.len(), first.pwd.len()), (8, 26));
        assert_ne!(first, second);
        let id = hexadecimal(&random).unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_ne!(id, hexadecimal(&random).unwrap());
    }
}
