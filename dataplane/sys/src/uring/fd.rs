//! Shares one descriptor between its user and the ops in flight on it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Shares ownership of a descriptor within one thread; the last clone closes it.
///
/// Every op holds a clone until its completion arrived. So dropping an `Fd` with ops in flight
/// sends no FIN: `shutdown` the socket first, or cancel the ops.
#[derive(Clone, Debug)]
pub struct Fd(Rc<OwnedFd>);

impl Fd {
    /// Takes the descriptor out when no op and no other clone holds it.
    ///
    /// # Errors
    ///
    /// Gives the `Fd` back when something else still holds it.
    pub fn try_into_owned(self) -> Result<OwnedFd, Fd> {
        Rc::try_unwrap(self.0).map_err(Fd)
    }
}

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Fd(Rc::new(fd))
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
