//! Names what a kernel may be able to do.

use std::fmt;

use crate::ktls::{Cipher, Version};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Out of this machine.
    Send,
    /// Into this machine.
    Receive,
}

/// Something that a kernel may be able to do, or a limit that it sets. Shows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// io_uring at all.
    IoUring,
    /// Locked memory for a ring of the size in use.
    UringMemory,
    /// Waiting for a descriptor, and stopping that op by its number: the ops that are used.
    CancelOne,
    /// Completions without interrupts, since Linux 5.19.
    CoopTaskrun,
    /// A ring for one thread, since Linux 6.0.
    SingleIssuer,
    /// Kernel TLS for one version, cipher and direction.
    KernelTls {
        /// The version.
        version: Version,
        /// The cipher.
        cipher: Cipher,
        /// The direction.
        direction: Direction,
    },
    /// A kernel TLS socket is readable only when a whole record is there; see
    /// [`crate::ktls::RecordWait`].
    KernelTlsRecordPoll,
    /// A bound on the pause between probes of a shut window, since Linux 6.15; see
    /// [`crate::socket::ask_at_least_every`].
    WindowProbes,
    /// A pipe of 1 MiB.
    LargePipe,
    /// How much the pipes of this user may hold.
    PipePages,
    /// How many descriptors this process may have.
    OpenFiles,
    /// How much memory this process may lock.
    LockedMemory,
    /// A process can give up all files but some, since Linux 5.13.
    LandlockFiles,
    /// The same for TCP ports, since Linux 6.7.
    LandlockPorts,
    /// The same for signals to others and their abstract sockets, since Linux 6.12.
    LandlockScopes,
    /// A process can give up system calls.
    SeccompFilters,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Capability::IoUring => f.write_str("io_uring"),
            Capability::UringMemory => f.write_str("io_uring memory for a worker"),
            Capability::CancelOne => f.write_str("io_uring cancellation by number"),
            Capability::CoopTaskrun => f.write_str("io_uring COOP_TASKRUN"),
            Capability::SingleIssuer => f.write_str("io_uring SINGLE_ISSUER"),
            Capability::KernelTls {
                version,
                cipher,
                direction,
            } => {
                let direction = match direction {
                    Direction::Send => "send",
                    Direction::Receive => "receive",
                };
                write!(f, "kernel {version} {cipher} {direction}")
            }
            Capability::KernelTlsRecordPoll => f.write_str("kernel TLS poll by whole records"),
            Capability::WindowProbes => f.write_str("TCP window probes on time"),
            Capability::LargePipe => f.write_str("pipes of 1 MiB"),
            Capability::PipePages => f.write_str("pipe pages"),
            Capability::OpenFiles => f.write_str("open files"),
            Capability::LockedMemory => f.write_str("locked memory"),
            Capability::LandlockFiles => f.write_str("Landlock for files"),
            Capability::LandlockPorts => f.write_str("Landlock for TCP ports"),
            Capability::LandlockScopes => f.write_str("Landlock for signals"),
            Capability::SeccompFilters => f.write_str("seccomp filters"),
        }
    }
}
