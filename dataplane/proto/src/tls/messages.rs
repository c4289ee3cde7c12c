//! The handshake messages that may come after the handshake (RFC 8446 section 4.6): session tickets,
//! which are passed over without being stored, and key updates.

/// Message types (RFC 8446 section 4).
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Header of a handshake message: type and length.
const HEADER: usize = 4;

/// A key update: header and one byte.
pub(super) const KEY_UPDATE_BYTES: usize = HEADER + 1;

/// Longest message that is taken: what rustls takes during the handshake.
const MESSAGE_MAX: usize = 0xffff;

/// Shortest body of a ticket (RFC 8446 section 4.6.1): lifetime 4, age 4, an empty nonce 1, a ticket
/// of one byte 3, no extensions 2.
const TICKET_MIN: usize = 14;

/// The peer replaced its sending key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUpdate {
    /// It wants ours replaced, too.
    pub requested: bool,
}

/// What is wrong with a message; each has an alert of its own (RFC 8446 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFault {
    /// It may not come now, or not there in its record.
    Unexpected,
    /// Its length is not one that such a message can have.
    Malformed,
    /// It has a value that its field does not know.
    IllegalValue,
}

/// Follows the messages of a session over its records; holds no more than a header.
#[derive(Debug)]
pub struct PostHandshake {
    tickets: bool,
    /// The beginning of a message: its header, and the body of a key update.
    start: [u8; KEY_UPDATE_BYTES],
    have: usize,
    /// Bytes of a ticket that are still to come.
    ticket_left: usize,
}

impl PostHandshake {
    /// Begins after the handshake of a session that `is_server` or not: a server gives tickets and
    /// takes none.
    pub fn new(is_server: bool) -> Self {
        Self {
            tickets: !is_server,
            start: [0; KEY_UPDATE_BYTES],
            have: 0,
            ticket_left: 0,
        }
    }

    /// Whether a message has begun that is not complete; records of other types may not come
    /// between (RFC 8446 section 5.1).
    pub fn is_within_message(&self) -> bool {
        self.have > 0 || self.ticket_left > 0
    }

    /// Follows the content of one handshake record.
    ///
    /// # Errors
    /// If it holds anything but tickets and at most one key update, which must be last: records
    /// after it are under another key.
    pub fn follow(&mut self, mut content: &[u8]) -> Result<Option<KeyUpdate>, MessageFault> {
        if content.is_empty() {
            return Err(MessageFault::Unexpected);
        }
        while let [byte, rest @ ..] = content {
            if self.ticket_left > 0 {
                let skipped = self.ticket_left.min(content.len());
                self.ticket_left -= skipped;
                content = content.get(skipped..).unwrap_or_default();
                continue;
            }
            let room = self.start.get_mut(self.have);
            *room.ok_or(MessageFault::Unexpected)? = *byte;
            self.have += 1;
            content = rest;
            if self.have == HEADER {
                self.begin()?;
            } else if self.have > HEADER {
                self.have = 0;
                return update(self.start, content).map(Some);
            }
        }
        Ok(None)
    }

    /// Judges a message by its header.
    fn begin(&mut self) -> Result<(), MessageFault> {
        let [kind, high, middle, low, _] = self.start;
        let body = u32::from_be_bytes([0, high, middle, low]) as usize;
        match kind {
            NEW_SESSION_TICKET if self.tickets && (TICKET_MIN..=MESSAGE_MAX).contains(&body) => {
                self.have = 0;
                self.ticket_left = body;
                Ok(())
            }
            KEY_UPDATE if body == KEY_UPDATE_BYTES - HEADER => Ok(()),
            KEY_UPDATE => Err(MessageFault::Malformed),
            NEW_SESSION_TICKET if self.tickets => Err(MessageFault::Malformed),
            _ => Err(MessageFault::Unexpected),
        }
    }
}

/// Reads a whole key update, behind which the record holds `rest`.
fn update(message: [u8; KEY_UPDATE_BYTES], rest: &[u8]) -> Result<KeyUpdate, MessageFault> {
    let [.., request] = message;
    let requested = match request {
        0 => false,
        1 => true,
        _ => return Err(MessageFault::IllegalValue),
    };
    if rest.is_empty() {
        Ok(KeyUpdate { requested })
    } else {
        Err(MessageFault::Unexpected)
    }
}

/// A key update, as it is sent: we never ask for one in return.
pub(super) const KEY_UPDATE_MESSAGE: [u8; KEY_UPDATE_BYTES] = [KEY_UPDATE, 0, 0, 1, 0];

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(body: u8) -> Vec<u8> {
        let mut message = vec![NEW_SESSION_TICKET, 0, 0, body];
        message.resize(HEADER + usize::from(body), 7);
        message
    }

    const REQUEST: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 1];

    #[test]
    fn tickets_pass_whole_together_and_split() {
        let stream = [ticket(19), ticket(14), ticket(15), ticket(200)].concat();
        for step in 1..=stream.len() {
            let mut messages = PostHandshake::new(false);
            for piece in stream.chunks(step) {
                assert_eq!(messages.follow(piece), Ok(None));
            }
            assert!(!messages.is_within_message(), "step {step}");
        }
    }

    #[test]
    fn key_update_is_found_behind_a_ticket_and_split() {
        let stream = [ticket(25), REQUEST.to_vec()].concat();
        for step in 1..=stream.len() {
            let mut messages = PostHandshake::new(false);
            let found: Vec<_> = stream
                .chunks(step)
                .filter_map(|piece| messages.follow(piece).unwrap())
                .collect();
            assert_eq!(found, [KeyUpdate { requested: true }], "step {step}");
            assert!(!messages.is_within_message());
        }
        let mut messages = PostHandshake::new(false);
        assert_eq!(
            messages.follow(&KEY_UPDATE_MESSAGE),
            Ok(Some(KeyUpdate { requested: false }))
        );
    }

    /// What RFC 8446 says of each: sections 4.6.3 and 5.1 for key updates, 6.2 for the rest.
    #[test]
    fn anything_else_is_refused_for_what_it_is() {
        use MessageFault::{IllegalValue, Malformed, Unexpected};
        let short_ticket = ticket(13);
        for (hostile, fault) in [
            (&[][..], Unexpected),
            (&[1, 0, 0, 4, 0, 0, 0, 0], Unexpected),
            (&[20, 0, 0, 32], Unexpected),
            (&[13, 0, 0, 0], Unexpected),
            (&[0, 0, 0, 0], Unexpected),
            (&[254, 0, 0, 1, 0], Unexpected),
            (&[KEY_UPDATE, 0, 0, 2, 0, 0], Malformed),
            (&[KEY_UPDATE, 0, 0, 0], Malformed),
            (&[KEY_UPDATE, 0, 1, 1, 0], Malformed),
            (&[KEY_UPDATE, 1, 0, 1, 0], Malformed),
            (&[KEY_UPDATE, 0, 0, 1, 0, NEW_SESSION_TICKET], Unexpected),
            (
                &[KEY_UPDATE, 0, 0, 1, 0, KEY_UPDATE, 0, 0, 1, 0],
                Unexpected,
            ),
            (&[NEW_SESSION_TICKET, 1, 0, 0], Malformed),
            (&short_ticket, Malformed),
        ] {
            for step in [1, hostile.len().max(1)] {
                let mut messages = PostHandshake::new(false);
                let mut pieces: Vec<_> = hostile.chunks(step).collect();
                if pieces.is_empty() {
                    pieces.push(&[]);
                }
                let found = pieces.into_iter().map(|piece| messages.follow(piece));
                let found: Result<Vec<_>, _> = found.collect();
                // A key update that ends a record is whole: what follows is another matter.
                if step == 1 && hostile.get(..5) == Some(&KEY_UPDATE_MESSAGE) {
                    continue;
                }
                assert_eq!(found, Err(fault), "{hostile:?} in steps of {step}");
            }
        }
        for request in 2..=255 {
            let mut messages = PostHandshake::new(request % 2 == 0);
            let found = messages.follow(&[KEY_UPDATE, 0, 0, 1, request]);
            assert_eq!(found, Err(IllegalValue), "{request}");
        }
    }

    #[test]
    fn server_takes_key_updates_and_no_tickets() {
        let mut messages = PostHandshake::new(true);
        assert!(messages.follow(&REQUEST).unwrap().is_some());
        assert_eq!(messages.follow(&ticket(30)), Err(MessageFault::Unexpected));
    }

    #[test]
    fn part_of_a_message_is_known_as_such() {
        let mut messages = PostHandshake::new(false);
        assert!(!messages.is_within_message());
        messages.follow(&[KEY_UPDATE, 0]).unwrap();
        assert!(messages.is_within_message());
        messages.follow(&[0, 1, 0]).unwrap();
        assert!(!messages.is_within_message());
        messages.follow(&ticket(19)[..6]).unwrap();
        assert!(messages.is_within_message());
    }
}
