//! SDP as a test reads it: sections and their lines. It shares nothing with the gateway's reader.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};

/// One `m=` line and what follows it.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) kind: String,
    pub(crate) port: u16,
    pub(crate) profile: String,
    pub(crate) formats: Vec<String>,
    lines: Vec<String>,
    session_address: Option<String>,
}

/// The sections of a description, in order.
pub(crate) fn sections(sdp: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let mut session_address = None;
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split(' ').map(str::to_owned);
            let mut word = || words.next().with_context(|| line.to_owned());
            let (kind, port, profile) = (word()?, word()?.parse()?, word()?);
            let formats = words.collect();
            let session_address = session_address.clone();
            sections.push(Section {
                kind,
                port,
                profile,
                formats,
                lines: Vec::new(),
                session_address,
            });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line.to_owned());
        } else if line.starts_with("c=") {
            session_address = Some(line.to_owned());
        }
    }
    Ok(sections)
}

impl Section {
    /// Where this section says it receives RTP.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let own = self.lines.iter().find(|line| line.starts_with("c="));
        let line = own.or(self.session_address.as_ref()).context("no c=")?;
        let address: IpAddr = line.rsplit(' ').next().context("c=")?.parse().context("c=")?;
        Ok((address, self.port).into())
    }

    /// Where it says it receives RTCP.
    pub(crate) fn rtcp_address(&self) -> Result<SocketAddr> {
        let mut address = self.address()?;
        address.set_port(match self.value("rtcp") {
            Some(value) => value.split(' ').next().unwrap_or_default().parse()?,
            None => self.port + 1,
        });
        Ok(address)
    }

    /// The value of the first such attribute; empty for one that is only a name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).into_iter().next()
    }

    /// The values of all such attributes.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let attributes = self.lines.iter().filter_map(|line| line.strip_prefix("a="));
        attributes
            .map(|text| text.split_once(':').unwrap_or((text, "")))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// The payload type of a codec.
    pub(crate) fn payload_type(&self, codec: &str) -> Option<u8> {
        let maps = self.values("rtpmap");
        let map = maps.iter().find(|map| {
            map.split_once(' ').is_some_and(|(_, name)| {
                name.split('/').next().is_some_and(|name| name.eq_ignore_ascii_case(codec))
            })
        });
        match map {
            Some(map) => map.split(' ').next()?.parse().ok(),
            // The static type needs no rtpmap (RFC 3551 section 6).
            None if codec == "PCMU" => self.formats.iter().any(|format| format == "0").then_some(0),
            None => None,
        }
    }
}

#[test]
fn a_section_has_its_own_address_before_the_sessions() {
    let text = "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 0 8\r\na=rtcp:4003\r\n\
                m=video 5000 RTP/AVP 96\r\nc=IN IP4 192.0.2.7\r\na=rtpmap:96 VP8/90000\r\n";
    let [audio, video] = &sections(text).expect("sections")[..] else { panic!("two sections") };
    assert_eq!(audio.address().expect("c=").to_string(), "192.0.2.9:4000");
    assert_eq!(audio.rtcp_address().expect("c=").to_string(), "192.0.2.9:4003");
    assert_eq!(video.rtcp_address().expect("c=").to_string(), "192.0.2.7:5001");
    assert_eq!((audio.payload_type("PCMU"), video.payload_type("VP8")), (Some(0), Some(96)));
}
