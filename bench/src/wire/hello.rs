//! The first line of a stream: what the far end shall do on it.

use serde::{Deserialize, Serialize};

/// How the line begins.
const GREETING: &str = "eyesplice-load/1 ";

/// Longest line: a cycle of a few hundred turns.
pub(crate) const LONGEST: usize = 16 * 1024;

/// What one stream is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// What to do.
    pub(crate) job: Job,
    /// Where in the pattern this stream's bytes begin.
    pub(crate) seed: u64,
}

/// A job of the far end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Job {
    /// Frames of `chunk` bytes until the client's End; then its own End.
    Bulk {
        /// Whether the far end sends them; it always takes the client's.
        down: bool,
        /// Payload of one frame.
        chunk: u32,
    },
    /// Turns without headers, in a cycle, until the stream ends.
    Turns {
        /// The cycle.
        cycle: Vec<Turn>,
    },
    /// Short connections: answers each frame with one of its kind, Data with `reply` bytes.
    Sessions {
        /// Payload of an answer.
        reply: u32,
    },
    /// Records until the client's End.
    Lines {
        /// Bytes of one record, its header included.
        line: u32,
        /// Records a second; none: as fast as they go.
        rate: Option<f64>,
    },
}

/// One message and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Bytes of the message.
    pub(crate) ask: u32,
    /// Bytes of the answer.
    pub(crate) answer: u32,
}

/// A direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Client to far end.
    Up,
    /// Far end to client.
    Down,
}

impl Hello {
    /// The line, its newline included.
    pub(crate) fn line(&self) -> serde_json::Result<String> {
        Ok(format!("{GREETING}{}\n", serde_json::to_string(self)?))
    }

    /// Reads a line without its newline; none if it is something else.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line.strip_prefix(GREETING.as_bytes())?).ok()
    }

    /// Where the bytes of one direction begin in the pattern: far from those of other streams, and of
    /// the other direction.
    pub(crate) fn offset(&self, way: Way) -> u64 {
        let stream = self.seed.wrapping_mul(2) + u64::from(way == Way::Down);
        stream.wrapping_mul(104_729) % (1 << 40)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_read_as_it_was_written() {
        let hello = Hello {
            job: Job::Turns {
                cycle: vec![Turn { ask: 1, answer: 2 }],
            },
            seed: 9,
        };
        let line = hello.line().unwrap();
        assert_eq!(Hello::parse(line.trim_end().as_bytes()), Some(hello));
        assert_eq!(Hello::parse(b"GET / HTTP/1.1\r"), None);
        assert_eq!(Hello::parse(b"eyesplice-load/1 {}"), None);
    }

    #[test]
    fn directions_and_streams_begin_apart() {
        let hello = |seed| Hello {
            job: Job::Sessions { reply: 1 },
            seed,
        };
        assert_ne!(hello(1).offset(Way::Up), hello(1).offset(Way::Down));
        assert_ne!(hello(1).offset(Way::Down), hello(2).offset(Way::Up));
    }
}
