//! What waits for descriptors in the workers: io_uring, or epoll where that is denied.

use eyesplice_sys::probe::found;
use eyesplice_sys::uring::Backend;

/// What is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoPolicy {
    /// This; the engine does not start where it is denied.
    Fixed(Backend),
    /// io_uring, and epoll where something that it needs is missing.
    Auto,
}

impl Default for IoPolicy {
    fn default() -> Self {
        Self::Fixed(Backend::IoUring)
    }
}

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoChoice {
    /// It waits.
    pub backend: Backend,
    /// What keeps io_uring out, where it was wanted.
    pub denied: Option<String>,
}

/// Chooses. Under [`IoPolicy::Auto`] this asks what the kernel can do.
pub(crate) fn choose(policy: IoPolicy) -> IoChoice {
    let denied = match policy {
        IoPolicy::Fixed(backend) => {
            return IoChoice {
                backend,
                denied: None,
            };
        }
        IoPolicy::Auto => found().usable().err().map(|missing| missing.to_string()),
    };
    IoChoice {
        backend: match denied {
            None => Backend::IoUring,
            Some(_) => Backend::Epoll,
        },
        denied,
    }
}
