//! SRTP keys from a finished handshake (RFC 5764 section 4.2).

use srtp::{MasterKey, Profile};
use zeroize::Zeroizing;

use super::Role;
use super::sys::Session;

/// RFC 5764 section 4.2.
const LABEL: &[u8] = b"EXTRACTOR-dtls_srtp";

/// The SRTP keys of one association.
#[derive(Debug)]
pub struct SrtpKeys {
    /// What we protect with.
    pub send: MasterKey,
    /// What the peer protects with.
    pub receive: MasterKey,
}

impl SrtpKeys {
    /// `None` where libssl exports nothing, which it does for every finished handshake.
    pub(crate) fn export(session: &mut Session, profile: Profile, role: Role) -> Option<Self> {
        let mut material = Zeroizing::new(vec![0; 2 * (profile.key_len() + profile.salt_len())]);
        session.export(LABEL, &mut material)?;
        Self::split(&material, profile, role)
    }

    /// The client's key, the server's key, the client's salt, the server's salt.
    fn split(material: &[u8], profile: Profile, role: Role) -> Option<Self> {
        let (keys, salts) = material.split_at_checked(2 * profile.key_len())?;
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at_checked(profile.salt_len())?;
        let join = |key: &[u8], salt: &[u8]| {
            let mut joined = Zeroizing::new(Vec::with_capacity(key.len() + salt.len()));
            joined.extend_from_slice(key);
            joined.extend_from_slice(salt);
            MasterKey::from_concatenated(profile, &joined).ok()
        };
        let client = join(client_key, client_salt)?;
        let server = join(server_key, server_salt)?;
        Some(match role {
            Role::Client => Self { send: client, receive: server },
            Role::Server => Self { send: server, receive: client },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_before_salts_and_the_clients_before_the_servers() {
        let profile = Profile::AesCm128HmacSha1_80;
        let material = [[1; 16].as_slice(), &[2; 16], &[3; 14], &[4; 14]].concat();
        let keys = SrtpKeys::split(&material, profile, Role::Client).unwrap();
        assert_eq!(keys.send.key().dangerous_bytes(), [1; 16]);
        assert_eq!(keys.send.salt().dangerous_bytes(), [3; 14]);
        assert_eq!(keys.receive.key().dangerous_bytes(), [2; 16]);
        assert_eq!(keys.receive.salt().dangerous_bytes(), [4; 14]);

        let keys = SrtpKeys::split(&material, profile, Role::Server).unwrap();
        assert_eq!(keys.send.key().dangerous_bytes(), [2; 16]);
        assert_eq!(keys.receive.key().dangerous_bytes(), [1; 16]);
    }
}
