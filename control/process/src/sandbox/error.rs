//! Why a process does not confine itself although the kernel could do it.

use std::io;

/// Why a process does not confine itself although the kernel could do it: then it does not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There is more than one thread.
    #[error(
        "the sandbox would hold one thread of {0}; this is a bug, --insecure-no-sandbox starts \
         without it"
    )]
    Threads(usize),
    /// The threads cannot be counted.
    #[error("cannot count the threads of the process; mount /proc, or add --insecure-no-sandbox")]
    NoProc(#[source] io::Error),
    /// Privileges could not be given up.
    #[error("cannot give up privileges; add --insecure-no-sandbox to start without a sandbox")]
    Privileges(#[source] io::Error),
    /// Dumps could not be forbidden.
    #[error("cannot forbid core dumps; add --insecure-no-sandbox to start without a sandbox")]
    Dumps(#[source] io::Error),
    /// Landlock failed.
    #[error("cannot enter the Landlock sandbox; add --insecure-no-sandbox to start without it")]
    Landlock(#[source] Box<landlock::RulesetError>),
    /// Landlock enforces nothing although the kernel has it.
    #[error("Landlock enforces nothing; add --insecure-no-sandbox to start without it")]
    NotEnforced,
    /// Seccomp failed.
    #[error("cannot install the seccomp filters; add --insecure-no-sandbox to start without them")]
    Seccomp(#[source] seccompiler::Error),
    /// A directory of it cannot be opened although it is there.
    #[error(
        "cannot open {} for the sandbox; add --insecure-no-sandbox to start without it",
        .path.display()
    )]
    Open {
        /// It.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The configuration wants a program to be started.
    #[error("the sandbox starts no program: {}", .0.join("; "))]
    Programs(Vec<String>),
}
