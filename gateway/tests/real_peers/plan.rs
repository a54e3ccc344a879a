//! The calls of one run, all decided before it starts: who is the secure side, under which suite
//! and key, on which ports, and how each is put on hold. The signalling agents and the media
//! agents both work from this.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use srtp::Profile;

/// One call to be made.
#[derive(Clone, Debug)]
pub(crate) struct CallPlan {
    /// Its number, unique in the run.
    pub(crate) number: u16,
    /// The suite of its secure side.
    pub(crate) suite: Profile,
    /// The calling party.
    pub(crate) caller: PartyPlan,
    /// The called party.
    pub(crate) callee: PartyPlan,
    /// How the caller puts it on hold.
    pub(crate) hold: Hold,
}

/// One party of a call.
#[derive(Clone, Debug)]
pub(crate) struct PartyPlan {
    /// Where it receives RTP; RTCP is one above.
    pub(crate) port: u16,
    /// What it protects its packets with, or nothing.
    pub(crate) key: Option<InlineKey>,
}

/// Master key and salt, as an `a=crypto` line carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InlineKey(Vec<u8>);

/// Which way a hold leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Only the caller sends: music on hold.
    CallerSends,
    /// Nobody sends.
    Silence,
}

/// Calls under one suite at a time.
pub(crate) const CALLS_PER_SUITE: u16 = 20;

/// Every call under `suite`: the secure side calls in half of them, and in half of each half the
/// hold is `inactive`.
pub(crate) fn calls(suite: Profile, index: u16) -> Vec<CallPlan> {
    (0..CALLS_PER_SUITE)
        .map(|call| {
            let number = index * CALLS_PER_SUITE + call;
            let key = Some(InlineKey::numbered(suite, number));
            let (caller, callee) = if call % 2 == 0 { (None, key) } else { (key, None) };
            let port = FIRST_PORT + 8 * number;
            CallPlan {
                number,
                suite,
                caller: PartyPlan { port, key: caller },
                callee: PartyPlan { port: port + 4, key: callee },
                hold: if call % 4 < 2 { Hold::CallerSends } else { Hold::Silence },
            }
        })
        .collect()
}

/// The calls as the file that sipp injects; the scenario's head says what each field is.
pub(crate) fn injection_file(calls: &[CallPlan]) -> String {
    let mut text = String::from("SEQUENTIAL\n");
    for call in calls {
        let (asked, given) = match call.hold {
            Hold::CallerSends => ("sendonly", "recvonly"),
            Hold::Silence => ("inactive", "inactive"),
        };
        let attribute = match &call.caller.key {
            Some(key) => format!("a=crypto:1 {} inline:{}", call.suite, key.to_base64()),
            None => "a=ptime:20".to_owned(),
        };
        let callee_key = call.callee.key.as_ref().map_or("none".to_owned(), InlineKey::to_base64);
        let fields = [
            call.number.to_string(),
            call.caller.port.to_string(),
            call.caller.profile().to_owned(),
            attribute,
            call.callee.port.to_string(),
            call.callee.profile().to_owned(),
            callee_key,
            asked.to_owned(),
            given.to_owned(),
        ];
        text.push_str(&fields.join(";"));
        text.push('\n');
    }
    text
}

impl PartyPlan {
    /// The transport profile of its media line.
    pub(crate) fn profile(&self) -> &'static str {
        if self.key.is_some() { "RTP/SAVP" } else { "RTP/AVP" }
    }
}

impl InlineKey {
    /// From an `a=crypto` line; padded or not, for both are seen.
    pub(crate) fn from_base64(text: &str, suite: Profile) -> Option<Self> {
        let padding = "=".repeat((4 - text.trim_end_matches('=').len() % 4) % 4);
        let bytes = STANDARD.decode(text.trim_end_matches('=').to_owned() + &padding).ok()?;
        (bytes.len() == suite.key_len() + suite.salt_len()).then_some(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A key that differs between calls and is the same in every run.
    fn numbered(suite: Profile, number: u16) -> Self {
        let len = suite.key_len() + suite.salt_len();
        let [high, low] = number.to_be_bytes();
        Self((0..len).map(|at| (at as u8).wrapping_mul(37) ^ low ^ high.rotate_left(3)).collect())
    }

    fn to_base64(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

/// Media of the parties: below the ephemeral range, from which SIP's and ng's sockets come.
const FIRST_PORT: u16 = 20_000;
