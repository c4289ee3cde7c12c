//! Writes and reads at the same time, at a pace that a seed decides.

use crate::conn::{Conn, Ending, Got};
use crate::rng::Rng;
use crate::wait::PATIENCE;
use std::io;
use std::time::Instant;

/// How unevenly one side behaves.
#[derive(Clone, Debug)]
pub struct Pace {
    rng: Rng,
    /// Longest piece that is written or read at once.
    piece: usize,
    /// Reads only once in so many turns.
    lazy: usize,
    /// Changes of its TLS 1.3 keys that are left; peers refuse more than 32.
    rekeys: usize,
}

/// Pieces that a conversation is cut into at most, so that a long one ends.
pub const MOST_PIECES: usize = 500;

impl Pace {
    /// As fast as it goes.
    pub fn even() -> Self {
        Self {
            rng: Rng::new(0),
            piece: 64 * 1024,
            lazy: 1,
            rekeys: 0,
        }
    }

    /// As a seed has it: now eager, now slow, in pieces of any size, but not too many of them for
    /// `bytes` in all.
    pub fn uneven(seed: u64, bytes: usize) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            piece: rng.length(64 * 1024).max(bytes / MOST_PIECES),
            lazy: 1 + rng.below(8),
            rekeys: 0,
            rng,
        }
    }

    /// Changes keys now and then (TLS 1.3 only).
    pub fn rekeying(mut self) -> Self {
        self.rekeys = 16;
        self
    }

    fn piece(&mut self) -> usize {
        1 + self.rng.below(self.piece)
    }
}

/// What one side saw of a conversation.
#[derive(Debug)]
pub struct Conversation {
    /// Everything that came.
    pub received: Vec<u8>,
    /// How the other side ended.
    pub ending: Ending,
    /// Whether all was written, and the end too.
    pub sent: bool,
}

/// Writes `input` and then ends cleanly, and reads to the end meanwhile.
///
/// # Panics
/// When nothing moves any more.
pub fn converse(conn: &mut Conn, input: &[u8], mut pace: Pace) -> Conversation {
    talk(conn, input, &mut pace, false).unwrap_or_else(|| unreachable!("it ends both ways"))
}

/// Writes `input` and reads meanwhile, and stops there without an end: what comes next is the
/// caller's. What the other side's end was, if that came first.
///
/// # Panics
/// When nothing moves any more.
pub fn break_off(conn: &mut Conn, input: &[u8], mut pace: Pace) -> Option<Ending> {
    talk(conn, input, &mut pace, true).map(|seen| seen.ending)
}

fn talk(conn: &mut Conn, input: &[u8], pace: &mut Pace, leave: bool) -> Option<Conversation> {
    let mut writer = Writing::Payload(0);
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let deadline = Instant::now() + PATIENCE;
        if leave && matches!(writer, Writing::Payload(sent) if sent == input.len()) {
            return None;
        }
        let wrote = writer.turn(conn, input, pace);
        if pace.rng.one_in(pace.lazy) || !wrote {
            let room = pace.piece();
            match conn.try_read(&mut buffer[..room]) {
                Got::Data(n) => received.extend_from_slice(&buffer[..n]),
                Got::End(ending) if ending.is_cut() || writer.is_over() => {
                    let sent = matches!(writer, Writing::Done);
                    return Some(Conversation {
                        received,
                        ending,
                        sent,
                    });
                }
                // The other side has ended and this one has not.
                Got::End(_) if wrote => {}
                Got::End(_) => conn.wait(false, true, deadline).expect("cannot write"),
                Got::Blocked if wrote => {}
                Got::Blocked => {
                    conn.wait(true, !writer.is_over(), deadline)
                        .unwrap_or_else(|_| {
                            panic!("nothing moves: {writer:?}, {} read", received.len())
                        });
                }
            }
        }
    }
}

#[derive(Debug)]
enum Writing {
    /// So much is written.
    Payload(usize),
    /// The end is queued.
    Ending,
    /// All is out.
    Done,
    /// The connection would not take it.
    Failed,
}

impl Writing {
    fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }

    /// Goes one step; says whether anything moved.
    fn turn(&mut self, conn: &mut Conn, input: &[u8], pace: &mut Pace) -> bool {
        match self.step(conn, input, pace) {
            Ok(moved) => moved,
            Err(_) => {
                *self = Self::Failed;
                true
            }
        }
    }

    fn step(&mut self, conn: &mut Conn, input: &[u8], pace: &mut Pace) -> io::Result<bool> {
        match self {
            Self::Payload(sent) if *sent == input.len() => {
                conn.begin_shut();
                *self = Self::Ending;
                Ok(true)
            }
            Self::Payload(sent) => {
                let end = input.len().min(*sent + pace.piece());
                if pace.rekeys > 0 && pace.rng.one_in(20) {
                    pace.rekeys -= 1;
                    conn.refresh_keys();
                }
                let wrote = conn.try_write(&input[*sent..end])?;
                *sent += wrote;
                Ok(wrote > 0)
            }
            Self::Ending => {
                let flushed = conn.flush()?;
                if flushed {
                    conn.fin()?;
                    *self = Self::Done;
                }
                Ok(flushed)
            }
            Self::Done | Self::Failed => Ok(false),
        }
    }
}
