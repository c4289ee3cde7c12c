//! Why nothing was taken over.

use eyesplice_sys::socket::ListenUnixError;
use std::io;
use std::path::PathBuf;

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// There is no place to meet.
    #[error(
        "there is no place to meet the process that runs; add --handover-dir, the one that it was \
         started with"
    )]
    NoMeeting,
    /// The directory cannot be used.
    #[error("cannot use {} for hand-overs", .path.display())]
    Directory {
        /// It.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket cannot be used.
    #[error("cannot listen on {} for hand-overs", .path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: ListenUnixError,
    },
    /// Nobody is there.
    #[error(
        "no process answers at {}; start one without --takeover, or restart one that was started \
         without a directory for hand-overs", .path.display()
    )]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody else is there.
    #[error("process {pid} at {} is of another user ({uid})", .path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Who it is.
        pid: i32,
        /// Of whom.
        uid: u32,
    },
    /// The process that runs does not hand over.
    #[error("process {pid} does not hand over: {why}")]
    Refused {
        /// It.
        pid: u32,
        /// What it says.
        why: String,
    },
    /// The conversation broke off.
    #[error("process {pid} did not {what}; it goes on if it still runs")]
    Broken {
        /// It.
        pid: u32,
        /// What was expected.
        what: &'static str,
        /// What happened instead.
        source: io::Error,
    },
    /// The new process was not started.
    #[error("cannot start {} to take over", .program.display())]
    Start {
        /// This program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The new process did not become ready.
    #[error("the new process did not become ready, see the log; the old one goes on")]
    NotReady,
}
