//! Names what a kernel may be able to do.

use crate::ktls::{Cipher, Version};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, derive_more::Display)]
pub enum Direction {
    /// Out of this machine.
    #[display("send")]
    Send,
    /// Into this machine.
    #[display("receive")]
    Receive,
}

/// Something that a kernel may be able to do, or a limit that it sets. Shows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, derive_more::Display)]
pub enum Capability {
    /// io_uring at all.
    #[display("io_uring")]
    IoUring,
    /// Locked memory for a ring of the size in use.
    #[display("io_uring memory for a worker")]
    UringMemory,
    /// Waiting for a descriptor, and stopping that op by its number: the ops that are used.
    #[display("io_uring cancellation by number")]
    CancelOne,
    /// Completions without interrupts, since Linux 5.19.
    #[display("io_uring COOP_TASKRUN")]
    CoopTaskrun,
    /// A ring for one thread, since Linux 6.0.
    #[display("io_uring SINGLE_ISSUER")]
    SingleIssuer,
    /// Kernel TLS for one version, cipher and direction.
    #[display("kernel {version} {cipher} {direction}")]
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
    #[display("kernel TLS poll by whole records")]
    KernelTlsRecordPoll,
    /// A bound on the pause between probes of a shut window, since Linux 6.15; see
    /// [`crate::socket::ask_at_least_every`].
    #[display("TCP window probes on time")]
    WindowProbes,
    /// A pipe of 1 MiB.
    #[display("pipes of 1 MiB")]
    LargePipe,
    /// How much the pipes of this user may hold.
    #[display("pipe pages")]
    PipePages,
    /// How many descriptors this process may have.
    #[display("open files")]
    OpenFiles,
    /// How much memory this process may lock.
    #[display("locked memory")]
    LockedMemory,
    /// A process can give up all files but some, since Linux 5.13.
    #[display("Landlock for files")]
    LandlockFiles,
    /// The same for TCP ports, since Linux 6.7.
    #[display("Landlock for TCP ports")]
    LandlockPorts,
    /// The same for signals to others and their abstract sockets, since Linux 6.12.
    #[display("Landlock for signals")]
    LandlockScopes,
    /// A process can give up system calls.
    #[display("seccomp filters")]
    SeccompFilters,
}
