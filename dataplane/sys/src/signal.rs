//! Ignores signals whose default action ends a process that is fine.

use std::io;

/// A signal that must not end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harmless {
    /// SIGXFSZ: a file is at RLIMIT_FSIZE. Ignored, the write fails with EFBIG, as on a full disk.
    FileSize,
    /// SIGUSR1: other programs reopen their log files.
    User1,
    /// SIGUSR2.
    User2,
}

/// Ignores a signal in the whole process, from now on.
///
/// # Errors
/// None that is documented for these signals.
pub fn ignore(signal: Harmless) -> io::Result<()> {
    let number = match signal {
        Harmless::FileSize => libc::SIGXFSZ,
        Harmless::User1 => libc::SIGUSR1,
        Harmless::User2 => libc::SIGUSR2,
    };
    // SAFETY: `signal` wants a valid signal number, which the match gives, and a handler that is safe to run at any
    // moment; SIG_IGN runs nothing.
    let before = unsafe { libc::signal(number, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_do_not_end_the_process() {
        for signal in [Harmless::FileSize, Harmless::User1, Harmless::User2] {
            ignore(signal).unwrap();
        }
        for number in [libc::SIGXFSZ, libc::SIGUSR1, libc::SIGUSR2] {
            // SAFETY: raise has no condition on memory; the signal is ignored.
            assert_eq!(unsafe { libc::raise(number) }, 0);
        }
    }
}
