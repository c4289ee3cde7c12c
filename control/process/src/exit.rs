//! The exit statuses that scripts and service units may rely on.

use eyesplice_sys::probe::Unusable;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Success = 0,
    /// It could not start, or what it checked is invalid.
    Failure = 1,
    /// The command line is wrong (`EX_USAGE` of sysexits.h).
    Usage = 64,
    /// The kernel, or what confines us on it, lacks something required (`EX_UNAVAILABLE`).
    Unavailable = 69,
}

impl Exit {
    /// Of a machine that the gateway cannot run on: a limit can be raised, a kernel cannot be changed.
    pub fn of_probe(unusable: &Unusable) -> Self {
        if unusable.limit {
            Self::Failure
        } else {
            Self::Unavailable
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
