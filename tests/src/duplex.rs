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
}

impl Pace {
    /// As fast as it goes.
    pub fn even() -> Self {
        Self {
            rng: Rng::new(0),
            piece: 64 * 1024,
            lazy: 1,
        }
    }

    /// As a seed has it: now eager, now slow, in pieces of any size.
    pub fn uneven(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            piece: rng.length(64 * 1024),
            lazy: 1 + rng.below(8),
            rng,
        }
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
    let mut writer = Writing::Payload(0);
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let deadline = Instant::now() + PATIENCE;
        let wrote = writer.turn(conn, input, &mut pace);
        if pace.rng.one_in(pace.lazy) || !wrote {
            let room = pace.piece();
            match conn.try_read(&mut buffer[..room]) {
                Got::Data(n) => received.extend_from_slice(&buffer[..n]),
                Got::End(ending) if ending.is_cut() || writer.is_over() => {
                    let sent = matches!(writer, Writing::Done);
                    return Conversation {
                        received,
                        ending,
                        sent,
                    };
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
