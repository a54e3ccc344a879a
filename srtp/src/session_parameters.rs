//! What two peers may agree to leave out of SRTP (RFC 4568 section 6.3).
//!
//! Each parameter takes protection away, and each is a [`Weakness`] that policy has to accept.
//! Nothing here asks policy: that is for whoever builds a direction from what was negotiated.

use crate::{PacketKind, Profile, Unsuitable, Weakness, profile::CipherKind};

/// The session parameters of one direction; by default nothing is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionParameters {
    /// UNENCRYPTED_SRTP (section 6.3.2): SRTP packets are authentic and in the clear. Not with
    /// AES-GCM, where every SRTP packet is encrypted (RFC 7714 section 8.2).
    pub unencrypted_rtp: bool,
    /// UNENCRYPTED_SRTCP (section 6.3.2): SRTCP packets are authentic and in the clear, which
    /// their E flag of 0 says.
    pub unencrypted_rtcp: bool,
    /// UNAUTHENTICATED_SRTP (section 6.3.3): SRTP packets have no tag; SRTCP keeps its own. Not
    /// with AES-GCM, which cannot go without.
    ///
    /// Whoever accepts this accepts that anyone who can send to the receiver can do what only the
    /// peer can do otherwise: begin streams until the table is full, carry a stream's index
    /// forward so that the peer's own packets are too old, use up the key's lifetime, and change
    /// payloads bit by bit. The replay window
    /// catches only copies that were not altered (RFC 3711 section 3.3.2).
    pub unauthenticated_rtp: bool,
}

impl SessionParameters {
    /// Whether they can be had with `profile`.
    pub const fn check(self, profile: Profile) -> Result<(), Unsuitable> {
        if profile.is_aead() && (self.unencrypted_rtp || self.unauthenticated_rtp) {
            return Err(Unsuitable::SessionParameters { profile });
        }
        Ok(())
    }

    /// What they take away.
    pub fn weaknesses(self) -> impl Iterator<Item = Weakness> {
        [
            self.unencrypted_rtp.then_some(Weakness::UnencryptedRtp),
            self.unencrypted_rtcp.then_some(Weakness::UnencryptedRtcp),
            self.unauthenticated_rtp.then_some(Weakness::UnauthenticatedRtp),
        ]
        .into_iter()
        .flatten()
    }

    /// How packets of `kind` are encrypted under `profile`. What [`Self::check`] refuses takes
    /// nothing away.
    pub(crate) const fn encryption(self, profile: Profile, kind: PacketKind) -> Encryption {
        let left_out = match kind {
            PacketKind::Rtp => self.unencrypted_rtp && !profile.is_aead(),
            PacketKind::Rtcp => self.unencrypted_rtcp,
        };
        match profile.cipher_kind() {
            CipherKind::Null => Encryption::Null,
            _ if left_out => Encryption::LeftOut,
            _ => Encryption::InForce,
        }
    }

    /// Bytes of the tag of packets of `kind`, likewise.
    pub(crate) const fn tag_len(self, profile: Profile, kind: PacketKind) -> usize {
        match kind {
            PacketKind::Rtp if self.unauthenticated_rtp && !profile.is_aead() => 0,
            _ => profile.tag_len(kind),
        }
    }
}

/// Whether packets of a kind are encrypted, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    InForce,
    /// By a session parameter.
    LeftOut,
    /// The profile has the NULL cipher.
    Null,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gcm_may_leave_out_the_encryption_of_rtcp_and_nothing_else() {
        let none = SessionParameters::default();
        for (parameters, with_gcm) in [
            (none, true),
            (SessionParameters { unencrypted_rtcp: true, ..none }, true),
            (SessionParameters { unencrypted_rtp: true, ..none }, false),
            (SessionParameters { unauthenticated_rtp: true, ..none }, false),
        ] {
            for profile in Profile::ALL {
                let allowed = with_gcm || !profile.is_aead();
                assert_eq!(parameters.check(profile).is_ok(), allowed, "{profile} {parameters:?}");
            }
        }
    }

    #[test]
    fn what_gcm_refuses_takes_nothing_away() {
        let profile = Profile::AeadAes128Gcm;
        let all = SessionParameters {
            unencrypted_rtp: true,
            unencrypted_rtcp: true,
            unauthenticated_rtp: true,
        };
        assert_eq!(all.encryption(profile, PacketKind::Rtp), Encryption::InForce);
        assert_eq!(all.tag_len(profile, PacketKind::Rtp), 16);
        assert_eq!(all.encryption(profile, PacketKind::Rtcp), Encryption::LeftOut);
        assert_eq!(all.weaknesses().count(), 3);
    }
}
