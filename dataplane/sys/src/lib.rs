//! Small typed kernel operations: everything in eyesplice that needs `unsafe`.
//!
//! One contract per file. Nothing here knows TLS handshakes, HTTP or policy; nothing here reads
//! configuration. What the kernel touches is owned by the op that the kernel works on, until its
//! completion arrived. Descriptors are `OwnedFd` or `BorrowedFd`, never a stored number.

pub mod buffer;
pub mod errno;
pub mod ktls;
pub mod limits;
pub mod memory;
pub mod pipe;
pub mod privilege;
pub mod probe;
pub mod signal;
pub mod socket;
pub mod splice;
pub mod uring;
