//! `[ipsec]`: the offload agent, and the SA pairs that it is to have.
//!
//! `[[ipsec.sa]]` has the fields of [`SaPair`], with durations and sizes as everywhere in the file.
//! Keys are never in it: they come from a peer gateway, or through the admin API.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crypto_offload::{
    Aead, BadPair, Lifetimes, Limits, Mode, PairEncapsulation, PairName, Placement,
    PlacementPolicy, RotationTiming, SaPair, SequenceNumbers,
};
use gateway_control::agent::DEFAULT_SOCKET;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Peer, Size, Span, text};

/// `[ipsec]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ipsec {
    /// The offload agent's socket.
    #[serde(with = "text")]
    pub agent: AgentSocket,
    /// Started as root, with SAs or peers configured and no agent there: start one.
    pub spawn: bool,
    /// What peers know us by, different from theirs. Left out, it is the name of our certificate,
    /// and without one the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<String>,
    /// Whether SAs get new keys by themselves.
    pub rotate: Rotate,
    /// Gateways that we rotate keys with.
    pub peer: Vec<Peer>,
    /// SA pairs.
    pub sa: Vec<Sa>,
}

impl Default for Ipsec {
    fn default() -> Self {
        Self {
            agent: AgentSocket::Auto,
            spawn: true,
            gateway_id: None,
            rotate: Rotate::Auto,
            peer: Vec::new(),
            sa: Vec::new(),
        }
    }
}

impl Ipsec {
    /// Whether anything here asks for an agent.
    pub fn is_configured(&self) -> bool {
        self.agent != AgentSocket::Off
            && (!self.sa.is_empty()
                || !self.peer.is_empty()
                || matches!(self.agent, AgentSocket::Path(_)))
    }
}

/// Where the offload agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSocket {
    /// Where agents listen unless told otherwise.
    Auto,
    /// Nowhere: this gateway has no SAs.
    Off,
    /// Here.
    Path(PathBuf),
}

impl AgentSocket {
    /// Its path; `None` where there is to be none.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Auto => Some(PathBuf::from(DEFAULT_SOCKET)),
            Self::Off => None,
            Self::Path(path) => Some(path.clone()),
        }
    }
}

impl FromStr for AgentSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::Path(PathBuf::from(path))),
            _ => Err(format!(
                "\"{text}\" is not a socket: write \"auto\", \"none\" or an absolute path"
            )),
        }
    }
}

impl fmt::Display for AgentSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("none"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// Whether SAs get new keys by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotate {
    /// When they near a soft limit, and when they were lost.
    Auto,
    /// Only when somebody asks.
    Off,
}

/// `[[ipsec.sa]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sa {
    /// The same at both gateways.
    pub name: PairName,
    /// Rotated together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The `[[ipsec.peer]]` at the other end; none: keys come by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address.
    pub remote: IpAddr,
    /// Inner addresses on our side; in transport mode, left out, `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_net: Option<IpNet>,
    /// Inner addresses on the peer's side; in transport mode, left out, `remote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_net: Option<IpNet>,
    /// IP protocol number; left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Port on our side; left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// Port on the peer's side; left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// `tunnel` or `transport`.
    #[serde(default)]
    pub mode: Mode,
    /// Both directions use it.
    #[serde(default = "default_aead")]
    pub aead: Aead,
    /// `extended` (64 bits) or `short`.
    #[serde(default)]
    pub sequence_numbers: SequenceNumbers,
    /// Packets that may come late.
    #[serde(default = "default_replay_window")]
    pub replay_window: u32,
    /// The device that faces the peer; inline placements need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Where the SAs may be.
    #[serde(default)]
    pub placement: PlacementChoice,
    /// When a successor is asked for.
    #[serde(default)]
    pub soft: SaLimits,
    /// When an SA ends.
    #[serde(default)]
    pub hard: SaLimits,
    /// ESP in UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encapsulation: Option<PairEncapsulation>,
    /// The clockwork of a rotation.
    #[serde(default)]
    pub rotation: SaRotation,
}

/// `placement`: one of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlacementChoice {
    /// This one or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Placement>,
    /// The first that works.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefer: Vec<Placement>,
}

/// `soft` and `hard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaLimits {
    /// Packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Bytes, as the engine counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<SizeText>,
    /// Time since the SA was installed, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<SpanText>,
}

/// `rotation`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaRotation {
    /// See [`RotationTiming::overlap`].
    #[serde(with = "text")]
    pub overlap: Span,
    /// See [`RotationTiming::observe`].
    #[serde(with = "text")]
    pub observe: Span,
    /// See [`RotationTiming::step`].
    #[serde(with = "text")]
    pub step: Span,
    /// See [`RotationTiming::jitter_percent`].
    pub jitter_percent: u8,
}

/// A [`Span`] that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpanText(#[serde(with = "text")] pub Span);

/// A [`Size`] that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SizeText(#[serde(with = "text")] pub Size);

impl Default for SaRotation {
    fn default() -> Self {
        let RotationTiming { overlap, observe, step, jitter_percent } = RotationTiming::default();
        Self { overlap: Span(overlap), observe: Span(observe), step: Span(step), jitter_percent }
    }
}

impl Sa {
    /// The pair that is meant.
    ///
    /// # Errors
    /// What cannot be meant, as [`SaPair::check`] says it.
    pub fn pair(&self) -> Result<SaPair, BadSa> {
        let pair = SaPair {
            name: self.name.clone(),
            group: self.group.clone(),
            peer: self.peer.clone(),
            local: self.local,
            remote: self.remote,
            local_net: self.net("local_net", self.local_net, self.local)?,
            remote_net: self.net("remote_net", self.remote_net, self.remote)?,
            protocol: self.protocol,
            local_port: self.local_port,
            remote_port: self.remote_port,
            mode: self.mode,
            aead: self.aead,
            sequence_numbers: self.sequence_numbers,
            replay_window: self.replay_window,
            lifetimes: self.lifetimes()?,
            encapsulation: self.encapsulation,
            placement: self.placement.policy()?,
            device: self.device.clone(),
            rotation: self.rotation.timing(),
        };
        pair.check()?;
        Ok(pair)
    }

    fn net(
        &self,
        field: &'static str,
        net: Option<IpNet>,
        address: IpAddr,
    ) -> Result<IpNet, BadSa> {
        match (net, self.mode) {
            (Some(net), _) => Ok(net),
            (None, Mode::Transport) => Ok(IpNet::from(address)),
            (None, Mode::Tunnel) => Err(BadSa::NoNet(field)),
        }
    }

    /// Without any limit the default ones; the default of a day is not mixed with others.
    fn lifetimes(&self) -> Result<Lifetimes, BadSa> {
        if self.soft == SaLimits::default() && self.hard == SaLimits::default() {
            return Ok(Lifetimes::default());
        }
        Ok(Lifetimes { soft: self.soft.limits()?, hard: self.hard.limits()? })
    }

    /// Every key, for what a file may contain.
    #[expect(clippy::expect_used, reason = "a name of allowed characters, written below")]
    pub(super) fn example() -> Self {
        let address = IpAddr::from([192, 0, 2, 1]);
        let limits = SaLimits {
            packets: Some(1),
            bytes: Some(SizeText(Size(1 << 30))),
            time: Some(SpanText(Span::seconds(3600))),
        };
        Self {
            name: PairName::new("trunk-1").expect("letters, a hyphen and a digit"),
            group: Some("trunks".to_owned()),
            peer: Some("gw-b".to_owned()),
            local: address,
            remote: address,
            local_net: Some(IpNet::from(address)),
            remote_net: Some(IpNet::from(address)),
            protocol: Some(17),
            local_port: Some(5060),
            remote_port: Some(5060),
            mode: Mode::default(),
            aead: default_aead(),
            sequence_numbers: SequenceNumbers::default(),
            replay_window: default_replay_window(),
            device: Some("eth0".to_owned()),
            placement: PlacementChoice {
                require: Some(Placement::InlinePacket),
                prefer: vec![Placement::InlinePacket],
            },
            soft: limits,
            hard: limits,
            encapsulation: Some(PairEncapsulation { local_port: 4500, remote_port: 4500 }),
            rotation: SaRotation::default(),
        }
    }
}

impl PlacementChoice {
    fn policy(&self) -> Result<PlacementPolicy, BadSa> {
        match (self.require, self.prefer.as_slice()) {
            (Some(_), [_, ..]) => Err(BadSa::TwoPlacements),
            (Some(placement), []) => Ok(PlacementPolicy::Require(placement)),
            (None, []) => Ok(PlacementPolicy::default()),
            (None, preferred) => Ok(PlacementPolicy::Prefer(preferred.to_vec())),
        }
    }
}

impl SaLimits {
    fn limits(self) -> Result<Limits, BadSa> {
        let seconds = match self.time {
            None => None,
            Some(SpanText(span)) if span.0.subsec_nanos() == 0 => Some(span.0.as_secs()),
            Some(SpanText(span)) => return Err(BadSa::PartOfSecond(span)),
        };
        Ok(Limits { packets: self.packets, bytes: self.bytes.map(|size| size.0.0), seconds })
    }
}

impl SaRotation {
    const fn timing(self) -> RotationTiming {
        RotationTiming {
            overlap: self.overlap.0,
            observe: self.observe.0,
            step: self.step.0,
            jitter_percent: self.jitter_percent,
        }
    }
}

/// Why an `[[ipsec.sa]]` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSa {
    /// As [`SaPair::check`] says it.
    #[error(transparent)]
    Pair(#[from] BadPair),
    /// A tunnel is between networks.
    #[error("tunnel mode needs {0}, the inner addresses on that side")]
    NoNet(&'static str),
    /// They contradict each other.
    #[error("placement: use require or prefer, not both")]
    TwoPlacements,
    /// The kernel counts seconds.
    #[error("a limit of {0}: limits of time are whole seconds")]
    PartOfSecond(Span),
}

const fn default_aead() -> Aead {
    Aead::Aes256Gcm
}

/// As of [`SaPair::replay_window`].
const fn default_replay_window() -> u32 {
    256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sa(text: &str) -> Sa {
        let base = "name = \"trunk-1\"\nlocal = \"192.0.2.1\"\nremote = \"192.0.2.2\"\n";
        toml::from_str(&format!("{base}{text}")).unwrap()
    }

    #[test]
    fn what_is_left_out_is_as_in_a_pair_of_the_admin_api() {
        let nets = "local_net = \"10.1.0.0/16\"\nremote_net = \"10.2.0.0/16\"\n";
        let pair = sa(nets).pair().unwrap();
        let json = serde_json::json!({
            "name": "trunk-1", "local": "192.0.2.1", "remote": "192.0.2.2",
            "local_net": "10.1.0.0/16", "remote_net": "10.2.0.0/16",
        });
        assert_eq!(pair, serde_json::from_value::<SaPair>(json).unwrap());
    }

    #[test]
    fn limits_and_times_are_written_as_in_the_rest_of_the_file() {
        let text = "mode = \"transport\"\nsoft = { bytes = \"1GiB\", time = \"1h\" }\n\
                    hard = { time = \"2h\" }\nrotation = { overlap = \"250ms\" }\n";
        let pair = sa(text).pair().unwrap();
        assert_eq!(pair.lifetimes.soft.bytes, Some(1 << 30));
        assert_eq!(pair.lifetimes.soft.seconds, Some(3600));
        assert_eq!(pair.lifetimes.hard.seconds, Some(7200));
        assert_eq!(pair.rotation.overlap.as_millis(), 250);
        assert_eq!(pair.local_net, IpNet::from(pair.local));
    }

    #[test]
    fn what_cannot_be_meant_is_told_by_its_field() {
        for (text, expected) in [
            ("", "tunnel mode needs local_net"),
            ("mode = \"transport\"\nsoft = { time = \"500ms\" }\n", "whole seconds"),
            (
                "mode = \"transport\"\nplacement = { require = \"user-space\", prefer = [\"user-space\"] }\n",
                "require or prefer",
            ),
            ("mode = \"transport\"\nreplay_window = 5000\n", "replay_window 5000"),
        ] {
            let error = sa(text).pair().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
