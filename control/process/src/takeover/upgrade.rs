//! Starts a new process that takes over, and tells how that ended: for a service manager, which
//! waits for the end of a reload, and knows the new process by its number.

use super::error::TakeoverError;
use super::meeting::Meeting;
use super::predecessor::Predecessor;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write, pipe};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgraded {
    /// The process that runs is of this program, and was asked to reload.
    Reloads {
        /// It.
        pid: u32,
    },
    /// A new process took over.
    TookOver {
        /// The new one.
        pid: u32,
    },
}

/// Asks the process that runs to reload, if it is of this very program; otherwise starts this
/// program with `arguments`, which make it take over and [`tell`] so, and waits until it has.
///
/// # Errors
/// Nobody runs, or the new process did not become ready; then the one that runs goes on.
pub async fn upgrade(
    meeting: Option<Meeting>,
    arguments: Vec<OsString>,
) -> Result<Upgraded, TakeoverError> {
    let meeting = meeting.ok_or(TakeoverError::NoMeeting)?;
    let (pid, reloads) = Predecessor::reload(&meeting).await?;
    if reloads {
        return Ok(Upgraded::Reloads { pid });
    }
    let started = tokio::task::spawn_blocking(move || start(arguments)).await;
    started.unwrap_or(Err(TakeoverError::NotReady))
}

fn start(arguments: Vec<OsString>) -> Result<Upgraded, TakeoverError> {
    let failed = |program: &std::path::Path| {
        let program = program.to_owned();
        move |source| TakeoverError::Start { program, source }
    };
    let this = std::env::current_exe().map_err(failed("eyesplice".as_ref()))?;
    let (mut told, teller) = pipe().map_err(failed(&this))?;
    let mut command = Command::new(&this);
    command
        .args(arguments)
        // Its standard input is where it tells: see `tell`.
        .stdin(Stdio::from(teller))
        // A signal for this command is none for it.
        .process_group(0);
    let child = command.spawn().map_err(failed(&this))?;
    // With this process's end of the pipe, so that the child's is the last one.
    drop(command);
    let mut byte = [0];
    match told.read_exact(&mut byte) {
        Ok(()) => Ok(Upgraded::TookOver { pid: child.id() }),
        Err(_) => Err(TakeoverError::NotReady),
    }
}

/// Tells the process that started this one, by [`upgrade`], that it has taken over.
///
/// # Errors
/// Nobody listens any more.
pub fn tell() -> io::Result<()> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    File::from(stdin).write_all(b"1")
}
