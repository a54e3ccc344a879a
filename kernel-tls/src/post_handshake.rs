//! Handshake messages after the handshake, put together from the records that the kernel opened.
//!
//! One record may hold several messages and one message may take several records (RFC 8446 section
//! 5.1). Two are legal: NewSessionTicket for clients, and KeyUpdate, which must end its record
//! because the next one has other keys. What is kept between records is bounded, and nothing is
//! kept while no message is incomplete. What a message means for the connection is decided by its
//! caller.

use crate::fault::Fault;
use crate::stream::AskPeer;

/// A complete message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// The body of a NewSessionTicket (RFC 8446 section 4.6.1).
    NewSessionTicket(&'a [u8]),
    /// The peer's sending keys change after this record, and perhaps ours are wanted to.
    KeyUpdate(AskPeer),
}

/// Puts messages together.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    partial: Vec<u8>,
}

impl Messages {
    /// True between two messages. Only then may a record of another type come.
    pub(crate) fn is_between(&self) -> bool {
        self.partial.is_empty()
    }

    /// Takes one record's content, whole, and passes on the messages that it completes.
    pub(crate) fn record(
        &mut self,
        content: &[u8],
        mut pass_on: impl FnMut(Message<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if content.is_empty() {
            return Err(Fault::EmptyRecord(HANDSHAKE));
        }
        if self.partial.is_empty() {
            let rest = messages(content, &mut pass_on)?;
            self.partial.extend_from_slice(rest);
            return Ok(());
        }
        self.partial.extend_from_slice(content);
        let gathered = std::mem::take(&mut self.partial);
        let rest = messages(&gathered, &mut pass_on)?.len();
        self.partial = gathered;
        self.partial.drain(..self.partial.len() - rest);
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        Ok(())
    }
}

/// Passes on the complete messages at the front; what is left is the beginning of one.
fn messages<'a>(
    mut bytes: &'a [u8],
    pass_on: &mut impl FnMut(Message<'_>) -> Result<(), Fault>,
) -> Result<&'a [u8], Fault> {
    while let Some((kind, length)) = header(bytes)? {
        let Some((message, rest)) = bytes.split_at_checked(HEADER + length) else { break };
        let body = message.get(HEADER..).unwrap_or_default();
        let message = match kind {
            NEW_SESSION_TICKET => Message::NewSessionTicket(body),
            _ => Message::KeyUpdate(key_update(body, rest)?),
        };
        pass_on(message)?;
        bytes = rest;
    }
    Ok(bytes)
}

/// A message's type and length. One that would be refused is refused by as little as that.
fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, Fault> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    if kind != NEW_SESSION_TICKET && kind != KEY_UPDATE {
        return Err(Fault::UnexpectedMessage(kind));
    }
    let Some(&[_, high, middle, low]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    match kind {
        KEY_UPDATE if length != 1 => Err(Fault::BadKeyUpdate),
        _ if length > MAX_MESSAGE => Err(Fault::MessageTooLong),
        _ => Ok(Some((kind, length))),
    }
}

fn key_update(body: &[u8], rest: &[u8]) -> Result<AskPeer, Fault> {
    match (body, rest) {
        ([0], []) => Ok(AskPeer::Nothing),
        ([1], []) => Ok(AskPeer::Renew),
        _ => Err(Fault::BadKeyUpdate),
    }
}

/// A KeyUpdate message.
pub(crate) const fn key_update_message(ask: AskPeer) -> [u8; 5] {
    let request = match ask {
        AskPeer::Nothing => 0,
        AskPeer::Renew => 1,
    };
    [KEY_UPDATE, 0, 0, 1, request]
}

/// `ContentType.handshake`.
pub(crate) const HANDSHAKE: u8 = 22;

/// `HandshakeType.new_session_ticket`.
const NEW_SESSION_TICKET: u8 = 4;

/// `HandshakeType.key_update`.
pub(crate) const KEY_UPDATE: u8 = 24;

/// Type and length.
const HEADER: usize = 4;

/// As long as rustls allows in user space.
const MAX_MESSAGE: usize = 0xffff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn collect(records: &[&[u8]]) -> Result<(Vec<String>, bool), Fault> {
        let mut messages = Messages::default();
        let mut seen = Vec::new();
        for record in records {
            messages.record(record, |message| {
                seen.push(format!("{message:?}"));
                Ok(())
            })?;
        }
        Ok((seen, messages.is_between()))
    }

    const TICKET: &[u8] = &[4, 0, 0, 3, 7, 8, 9];

    #[test]
    fn several_messages_come_in_one_record() {
        let record = [TICKET, TICKET, &key_update_message(AskPeer::Renew)].concat();
        let (seen, between) = collect(&[&record]).unwrap();
        assert_eq!(
            seen,
            ["NewSessionTicket([7, 8, 9])", "NewSessionTicket([7, 8, 9])", "KeyUpdate(Renew)"]
        );
        assert!(between);
    }

    #[test]
    fn one_message_comes_in_several_records() {
        let (seen, between) = collect(&[&[24], &[0, 0], &[1], &[0]]).unwrap();
        assert_eq!(seen, ["KeyUpdate(Nothing)"]);
        assert!(between);
        assert_eq!(collect(&[&[24, 0]]).unwrap(), (vec![], false));
    }

    #[test]
    fn a_key_update_ends_its_record() {
        let behind = [&key_update_message(AskPeer::Nothing), TICKET].concat();
        assert_eq!(collect(&[&behind]), Err(Fault::BadKeyUpdate));
        let part_behind = [&key_update_message(AskPeer::Nothing), &TICKET[..2]].concat();
        assert_eq!(collect(&[&part_behind]), Err(Fault::BadKeyUpdate));
    }

    #[test]
    fn what_is_not_legal_is_refused_by_its_first_byte() {
        assert_eq!(collect(&[&[13]]), Err(Fault::UnexpectedMessage(13)));
        assert_eq!(collect(&[TICKET, &[1]]), Err(Fault::UnexpectedMessage(1)));
        assert_eq!(collect(&[&[]]), Err(Fault::EmptyRecord(22)));
        assert_eq!(collect(&[&[24, 0, 0, 2]]), Err(Fault::BadKeyUpdate));
        assert_eq!(collect(&[&[24, 0, 0, 1, 2]]), Err(Fault::BadKeyUpdate));
        assert_eq!(collect(&[&[4, 1, 0, 0]]), Err(Fault::MessageTooLong));
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(cuts in proptest::collection::vec(1..20_usize, 0..40), tickets in 1..8_usize) {
            let whole = TICKET.repeat(tickets);
            let mut records: Vec<&[u8]> = Vec::new();
            let mut rest = whole.as_slice();
            for cut in cuts {
                let (record, behind) = rest.split_at(cut.min(rest.len()));
                if record.is_empty() { break }
                records.push(record);
                rest = behind;
            }
            if !rest.is_empty() { records.push(rest) }
            let (seen, between) = collect(&records).unwrap();
            prop_assert_eq!(seen.len(), tickets);
            prop_assert!(between);
        }

        #[test]
        fn any_bytes_are_refused_or_kept_within_bounds(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)
        ) {
            let mut messages = Messages::default();
            for record in &records {
                if messages.record(record, |_| Ok(())).is_err() { break }
                prop_assert!(messages.partial.len() <= MAX_MESSAGE + 4);
            }
        }
    }
}
