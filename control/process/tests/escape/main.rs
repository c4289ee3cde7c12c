//! Tries to leave the sandbox by every way that we know.
//!
//! Each attempt is made by a process of its own, twice: free, where it must succeed, or it would
//! show nothing; and confined, where it must be denied. What a process of ours needs must go on in
//! both.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod attempts;
mod place;
mod uses;

use eyesplice_sys::probe::{LANDLOCK_PORTS, LANDLOCK_SCOPES, landlock_abi, seccomp_filters};
use nix::libc;
use place::{CONFINED, Harness, NAME, Place};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

/// How an attempt is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denied {
    /// The call fails with this.
    By(i32),
    /// The kernel ends the process.
    Killed,
    /// No core is written.
    NoCore,
}

/// What of the sandbox denies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Landlock of this ABI at least.
    Landlock(u32),
    Seccomp,
    /// What every kernel has.
    Process,
}

/// A way out.
struct Attempt {
    name: &'static str,
    by: By,
    denied: Denied,
    make: fn(&Place) -> io::Result<()>,
}

/// What the exit status of an attempt says.
const WORKED: u8 = 0;
const FAILED: u8 = 3;
/// Above this it is an error of the kernel; a panic is 101.
const ERRNO: u8 = 120;

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(NAME) {
        return child(&name);
    }
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let harness = Harness::new();
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for attempt in attempts::ALL.iter().filter(|each| wanted(each.name)) {
        match judge(&harness, attempt) {
            Ok(true) => passed += 1,
            Ok(false) => skipped += 1,
            Err(why) => failed.push(format!("{}: {why}", attempt.name)),
        }
    }
    for (name, _) in uses::ALL.iter().filter(|(name, _)| wanted(name)) {
        for confined in [false, true] {
            let status = harness.run(name, confined);
            if code(status) == Some(WORKED) {
                passed += 1;
            } else {
                failed.push(format!("{name} (confined: {confined}): {status}"));
            }
        }
    }
    for why in &failed {
        println!("FAILED {why}");
    }
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {skipped} SKIPPED",
        if failed.is_empty() { "ok" } else { "FAILED" },
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Makes one attempt, or uses what a process needs, as the parent asks by its environment.
fn child(name: &str) -> ExitCode {
    let place = Place::from_environment();
    if std::env::var_os(CONFINED).is_some() {
        place.confine(name);
    }
    let attempt = attempts::ALL.iter().find(|each| each.name == name);
    let make = attempt.map(|attempt| attempt.make);
    let made = uses::ALL.iter().find(|(each, _)| *each == name);
    let make = make.or(made.map(|(_, make)| *make));
    match make.unwrap_or_else(|| panic!("no {name}"))(&place) {
        Ok(()) => ExitCode::from(WORKED),
        Err(error) => {
            println!("{name}: {error}");
            // The parent sees one byte: which error, or that it was none of the kernel's.
            match error.raw_os_error().map(u8::try_from) {
                Some(Ok(number)) => ExitCode::from(number.saturating_add(ERRNO)),
                _ => ExitCode::from(FAILED),
            }
        }
    }
}

/// Whether it failed to escape; `false`: this kernel cannot deny it.
fn judge(harness: &Harness, attempt: &Attempt) -> Result<bool, String> {
    let can = match attempt.by {
        By::Landlock(needs) => landlock_abi().is_ok_and(|abi| abi >= needs),
        By::Seccomp => seccomp_filters().is_ok(),
        By::Process => true,
    };
    if !can {
        println!(
            "SKIPPED: {}: this kernel has no {:?}",
            attempt.name, attempt.by
        );
        return Ok(false);
    }
    let free = harness.run(attempt.name, false);
    if attempt.denied == Denied::NoCore {
        if !free.core_dumped() {
            println!("SKIPPED: {}: no process here leaves a core", attempt.name);
            return Ok(false);
        }
    } else if code(free) != Some(WORKED) {
        return Err(format!("without a sandbox it does not work either: {free}"));
    }
    let confined = harness.run(attempt.name, true);
    let as_wanted = match attempt.denied {
        Denied::By(number) => {
            let number = u8::try_from(number).unwrap();
            code(confined) == Some(number + ERRNO)
        }
        Denied::Killed => confined.signal() == Some(libc::SIGSYS),
        Denied::NoCore => confined.signal() == Some(libc::SIGABRT) && !confined.core_dumped(),
    };
    if as_wanted {
        println!("test {} ... ok", attempt.name);
        Ok(true)
    } else {
        Err(format!("{confined}, not {:?}", attempt.denied))
    }
}

fn code(status: ExitStatus) -> Option<u8> {
    status.code().and_then(|code| u8::try_from(code).ok())
}

/// What is denied by Landlock from its first version on.
const FILES: By = By::Landlock(1);
const PORTS: By = By::Landlock(LANDLOCK_PORTS);
const SCOPES: By = By::Landlock(LANDLOCK_SCOPES);
