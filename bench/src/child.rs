//! Helper processes: this program again, in a hidden mode.
//!
//! A helper says `ready` on its standard output and works until its standard input ends, so it goes
//! away with its parent however that ends.

use crate::{Attempt, Error, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const READY: &str = "ready";

/// How long a helper may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(5);

/// A running helper; ends when dropped.
#[derive(Debug)]
pub struct Child {
    what: &'static str,
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Child {
    /// Starts `program` with `arguments`; `what` names it in errors.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(what: &'static str, program: &Path, arguments: &[String]) -> Result<Self> {
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .attempt(format!("start the {what}"))?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::Ended(what));
        };
        Ok(Self {
            what,
            process,
            stdin: Some(stdin),
            stdout: BufReader::new(stdout),
        })
    }

    /// Waits until it is ready; returns what else it said.
    ///
    /// # Errors
    /// If it ends first.
    pub fn ready(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .attempt(format!("hear from the {}", self.what))?;
        line.strip_prefix(READY)
            .map(|rest| rest.trim().to_string())
            .ok_or(Error::Ended(self.what))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let until = Instant::now() + GOODBYE;
        while Instant::now() < until {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // It is stuck; nothing of it is needed any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a helper: says that it is ready, and what its parent needs to know.
///
/// # Errors
/// If the parent is gone.
pub fn say_ready(what: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY} {what}")
        .and_then(|()| out.flush())
        .attempt("tell the parent process")
}

/// In a helper: waits until the parent wants no more of it.
///
/// # Errors
/// If standard input cannot be read.
pub fn until_dismissed() -> Result<()> {
    let mut rest = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut rest)
        .attempt("wait for the parent process")?;
    Ok(())
}
