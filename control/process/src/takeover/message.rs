//! What two processes say to each other at a hand-over.
//!
//! The new one asks; the old one offers, and its sockets follow in as many messages as they need;
//! the new one is ready; the old one is done. Fields that a process does not know are left aside,
//! so the version counts what must be understood.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The version of this conversation.
pub(super) const VERSION: u32 = 1;

/// Bytes of a message: the names of as many descriptors as one can carry, at their longest, and
/// room.
pub(super) const MESSAGE_LIMIT: usize = 128 << 10;

/// Sockets of an offer: a hundred listeners of forty workers.
pub(super) const SOCKETS_LIMIT: usize = 4096;

/// How long a process of another user has for its question, before it is refused.
pub(super) const STRANGER: Duration = Duration::from_secs(1);

/// How long an answer may take that needs no work.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How long a new process may take to become ready. Certificates of its own may have to be issued
/// first.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(300);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Asked {
    /// To reload, if it is of the same program.
    Reload,
    /// The sockets.
    Sockets,
}

/// One message.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "message",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(super) enum Message {
    /// The new process asks.
    Ask {
        version: u32,
        what: Asked,
        program: String,
    },
    /// The old process answers.
    Offer {
        version: u32,
        program: String,
        /// Its own number. The kernel knows another one: of the process that made the socket.
        pid: u32,
        /// How often the service manager wants to hear of it.
        watchdog_usec: Option<u64>,
        /// How many follow.
        sockets: usize,
    },
    /// Where the descriptors listen that come with this.
    Sockets { names: Vec<String> },
    /// The new process accepts connections.
    Ready,
    /// The old process accepts none any more.
    Done,
    /// There is no hand-over.
    Refused { why: String },
}

/// Which program this is: a file that was replaced is another one.
pub(super) fn program() -> String {
    use crate::BUILD;
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata("/proc/self/exe");
    let file = file.map_or_else(
        |_| "unknown".to_owned(),
        |file| format!("{}.{}.{}", file.dev(), file.ino(), file.mtime()),
    );
    format!("{} {} {file}", BUILD.version, BUILD.commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_a_later_version_is_read_with_fields_that_nobody_knows_here() {
        let later = r#"{"message":"ask","version":2,"what":"sockets","program":"9","why":"x"}"#;
        let ask = Message::Ask {
            version: 2,
            what: Asked::Sockets,
            program: "9".to_owned(),
        };
        assert_eq!(serde_json::from_str::<Message>(later).unwrap(), ask);
    }

    #[test]
    fn message_with_the_longest_names_fits() {
        let names = vec!["x".repeat(330); eyesplice_sys::socket::MAX_RIGHTS];
        let text = serde_json::to_vec(&Message::Sockets { names }).unwrap();
        assert!(text.len() <= MESSAGE_LIMIT, "{}", text.len());
    }
}
