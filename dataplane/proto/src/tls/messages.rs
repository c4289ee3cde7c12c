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

/// The peer replaced its sending key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUpdate {
    /// It wants ours replaced, too.
    pub requested: bool,
}

/// Another message than may come, or one that is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnexpectedMessage;

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
    pub fn follow(&mut self, mut content: &[u8]) -> Result<Option<KeyUpdate>, UnexpectedMessage> {
        if content.is_empty() {
            return Err(UnexpectedMessage);
        }
        while let [byte, rest @ ..] = content {
            if self.ticket_left > 0 {
                let skipped = self.ticket_left.min(content.len());
                self.ticket_left -= skipped;
                content = content.get(skipped..).unwrap_or_default();
                continue;
            }
            *self.start.get_mut(self.have).ok_or(UnexpectedMessage)? = *byte;
            self.have += 1;
            content = rest;
            match (self.have, self.start) {
                (HEADER, [NEW_SESSION_TICKET, high, middle, low, _]) if self.tickets => {
                    let body = u32::from_be_bytes([0, high, middle, low]) as usize;
                    if body > MESSAGE_MAX {
                        return Err(UnexpectedMessage);
                    }
                    self.have = 0;
                    self.ticket_left = body;
                }
                (HEADER, [KEY_UPDATE, 0, 0, 1, _]) => {}
                (HEADER, _) => return Err(UnexpectedMessage),
                (_, [KEY_UPDATE, 0, 0, 1, request @ (0 | 1)]) if self.have > HEADER => {
                    self.have = 0;
                    return match content {
                        [] => Ok(Some(KeyUpdate {
                            requested: request == 1,
                        })),
                        _ => Err(UnexpectedMessage),
                    };
                }
                (have, _) if have > HEADER => return Err(UnexpectedMessage),
                _ => {}
            }
        }
        Ok(None)
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
        let stream = [ticket(9), ticket(3), ticket(0), ticket(200)].concat();
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
        let stream = [ticket(5), REQUEST.to_vec()].concat();
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

    #[test]
    fn anything_else_is_refused() {
        for hostile in [
            &[][..],
            &[1, 0, 0, 4, 0, 0, 0, 0],
            &[20, 0, 0, 32],
            &[13, 0, 0, 0],
            &[KEY_UPDATE, 0, 0, 2, 0, 0],
            &[KEY_UPDATE, 0, 0, 0],
            &[KEY_UPDATE, 0, 0, 1, 2],
            &[KEY_UPDATE, 0, 0, 1, 0, NEW_SESSION_TICKET],
            &[NEW_SESSION_TICKET, 1, 0, 0],
        ] {
            let mut messages = PostHandshake::new(false);
            assert_eq!(
                messages.follow(hostile),
                Err(UnexpectedMessage),
                "{hostile:?}"
            );
        }
    }

    #[test]
    fn server_takes_key_updates_and_no_tickets() {
        let mut messages = PostHandshake::new(true);
        assert!(messages.follow(&REQUEST).unwrap().is_some());
        assert_eq!(messages.follow(&ticket(3)), Err(UnexpectedMessage));
    }

    #[test]
    fn part_of_a_message_is_known_as_such() {
        let mut messages = PostHandshake::new(false);
        assert!(!messages.is_within_message());
        messages.follow(&[KEY_UPDATE, 0]).unwrap();
        assert!(messages.is_within_message());
        messages.follow(&[0, 1, 0]).unwrap();
        assert!(!messages.is_within_message());
        messages.follow(&ticket(9)[..6]).unwrap();
        assert!(messages.is_within_message());
    }
}
