//! Finds out what this kernel lets this process do, by doing it.
//!
//! Each capability is exercised, not guessed from a version: distributions backport, sandboxes
//! deny. Takes a few milliseconds, and a second or two where something does not answer. Call it
//! before the workers start; it waits.

mod capability;
mod confine;
mod kernel_tls;
mod shortage;
mod uring;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::utsname::uname;
use thiserror::Error;

pub use capability::{Capability, Direction};
pub use confine::{LANDLOCK_PORTS, LANDLOCK_SCOPES, landlock_abi, seccomp_filters};
pub use shortage::UringShortage;

use crate::limits::{self, Limit};
use crate::pipe::Pipe;
use crate::socket;
use crate::uring::UringConfig;

/// The pipe that makes splicing fast, in bytes; a default one of 64 KiB doubles the cost.
const LARGE_PIPE: usize = 1 << 20;

/// Whether eyesplice can run without a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// It cannot.
    Required,
    /// It can, slower or with more memory.
    Optional,
}

/// Whether a capability is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Present,
    /// It is, and this much of it.
    Measured(String),
    /// It is not.
    Missing {
        /// What was attempted, and what the kernel said.
        why: String,
        /// What an operator can do about it, if anything.
        remedy: Option<String>,
    },
}

impl State {
    fn missing(why: impl Into<String>, remedy: Option<&str>) -> Self {
        Self::Missing {
            why: why.into(),
            remedy: remedy.map(str::to_owned),
        }
    }
}

/// What was found out about one capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which one.
    pub capability: Capability,
    /// Whether it is needed.
    pub requirement: Requirement,
    /// Whether it is there.
    pub state: State,
}

impl Finding {
    /// Says whether the capability is there.
    #[must_use]
    pub fn present(&self) -> bool {
        !matches!(self.state, State::Missing { .. })
    }
}

/// What this kernel lets this process do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// One for each capability, in a fixed order.
    pub findings: Vec<Finding>,
}

/// What is missing that eyesplice cannot run without.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}: {}", blame(.kernel, *(.limit)), summary(.missing))]
pub struct Unusable {
    /// The kernel's release.
    pub kernel: String,
    /// Required and not there; never empty.
    pub missing: Vec<Finding>,
    /// The kernel can, and a limit of this process or user is all that is in the way.
    pub limit: bool,
}

fn blame(kernel: &str, limit: bool) -> String {
    if limit {
        "a limit is too low to run eyesplice".to_owned()
    } else {
        format!("kernel {kernel} cannot run eyesplice")
    }
}

fn summary(missing: &[Finding]) -> String {
    let lines = missing.iter().map(|finding| match &finding.state {
        State::Missing {
            why,
            remedy: Some(remedy),
        } => {
            format!("{}: {why}; {remedy}", finding.capability)
        }
        State::Missing { why, remedy: None } => format!("{}: {why}", finding.capability),
        State::Present | State::Measured(_) => finding.capability.to_string(),
    });
    let mut text = lines.collect::<Vec<_>>().join("; ");
    text.push_str(". `engine.io: epoll`, or `auto`, needs none of this");
    text
}

impl Probe {
    /// Says whether a capability is there.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.capability == capability && finding.present())
    }

    /// Says whether eyesplice can run here.
    ///
    /// # Errors
    ///
    /// With every required capability that is missing. When the ring itself is, what depends on it
    /// is not listed.
    pub fn usable(&self) -> Result<(), Unusable> {
        let missing: Vec<Finding> = self
            .findings
            .iter()
            .filter(|finding| finding.requirement == Requirement::Required && !finding.present())
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let limit = missing
            .iter()
            .all(|finding| finding.capability == Capability::UringMemory);
        Err(Unusable {
            kernel: self.kernel.clone(),
            missing,
            limit,
        })
    }
}

/// Finds out what this kernel lets this process do.
#[must_use]
pub fn probe() -> Probe {
    // From uname(2): not every process sees /proc/sys.
    let kernel = uname().map_or_else(
        |_| "of unknown release".to_owned(),
        |name| name.release().to_string_lossy().into_owned(),
    );
    let mut findings = uring::probe();
    findings.extend(kernel_tls::probe());
    findings.extend([window_probes(), large_pipe(), pipe_pages()]);
    findings.extend([open_files(), locked_memory()]);
    findings.extend(confine::probe());
    Probe { kernel, findings }
}

/// What this process found out when it first asked. Whoever confines itself afterwards asks before,
/// for much of a probe is denied then: it listens, connects, and reads `/proc`.
pub fn found() -> &'static Probe {
    static FOUND: OnceLock<Probe> = OnceLock::new();
    FOUND.get_or_init(probe)
}

fn optional(capability: Capability, state: State) -> Finding {
    Finding {
        capability,
        requirement: Requirement::Optional,
        state,
    }
}

fn required(capability: Capability, state: State) -> Finding {
    Finding {
        capability,
        requirement: Requirement::Required,
        state,
    }
}

fn window_probes() -> Finding {
    let tried = socket::new_tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|socket| socket::ask_at_least_every(socket.as_fd(), Duration::from_secs(1)));
    let state = match tried {
        Ok(()) => State::Present,
        Err(error) => State::missing(
            format!("no TCP_RTO_MAX_MS: {error}"),
            Some(
                "run Linux 6.15 or later; before it, a peer that vanishes while its window is shut \
                 is noticed up to two minutes later than timeouts.tcpUserTimeout",
            ),
        ),
    };
    optional(Capability::WindowProbes, state)
}

fn large_pipe() -> Finding {
    let state = match Pipe::new(LARGE_PIPE) {
        Ok(pipe) if pipe.capacity() >= LARGE_PIPE => State::Present,
        Ok(pipe) => State::missing(
            format!("a pipe of {LARGE_PIPE} bytes got {}", pipe.capacity()),
            Some(
                "raise the sysctls fs.pipe-max-size and fs.pipe-user-pages-soft on the node, or \
                 grant CAP_SYS_RESOURCE",
            ),
        ),
        Err(error) => State::missing(format!("no pipe: {error}"), None),
    };
    optional(Capability::LargePipe, state)
}

fn pipe_pages() -> Finding {
    let state = match limits::pipe_user_pages() {
        Ok(0) => State::Measured("no limit".to_owned()),
        Ok(pages) => State::Measured(format!("{pages} pages for all pipes of this user")),
        Err(error) => unreadable("/proc/sys/fs/pipe-user-pages-soft", &error),
    };
    optional(Capability::PipePages, state)
}

fn open_files() -> Finding {
    let state = match limits::open_files() {
        Ok(Limit { soft, hard }) => {
            State::Measured(format!("{}, at most {}", amount(soft), amount(hard)))
        }
        Err(error) => unreadable("RLIMIT_NOFILE", &error),
    };
    optional(Capability::OpenFiles, state)
}

fn locked_memory() -> Finding {
    let ring = UringConfig::default().locked_bytes();
    let state = match limits::locked_memory() {
        Ok(Limit { soft, hard }) => State::Measured(format!(
            "{} bytes, at most {}; a worker takes {ring}, unless CAP_IPC_LOCK is held",
            amount(soft),
            amount(hard)
        )),
        Err(error) => unreadable("RLIMIT_MEMLOCK", &error),
    };
    optional(Capability::LockedMemory, state)
}

fn amount(value: u64) -> String {
    if value == u64::MAX {
        "unlimited".to_owned()
    } else {
        value.to_string()
    }
}

fn unreadable(what: &str, error: &std::io::Error) -> State {
    State::missing(format!("{what} cannot be read: {error}"), None)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn this_machine_is_usable_and_every_capability_is_found_once() {
        let found = probe();
        found.usable().unwrap();
        assert!(found.has(Capability::IoUring));
        let distinct: HashSet<_> = found.findings.iter().map(|f| f.capability).collect();
        assert_eq!(distinct.len(), found.findings.len());
        assert!(
            found
                .kernel
                .starts_with(|first: char| first.is_ascii_digit())
        );
    }

    #[test]
    fn missing_required_capability_makes_it_unusable_and_names_the_remedy() {
        let mut found = Probe {
            kernel: "6.1.0".to_owned(),
            findings: vec![
                required(
                    Capability::IoUring,
                    State::missing("denied", Some("allow it")),
                ),
                optional(Capability::LargePipe, State::missing("too small", None)),
            ],
        };
        let error = found.usable().unwrap_err();
        assert_eq!(error.missing.len(), 1);
        assert_eq!(
            error.to_string(),
            "kernel 6.1.0 cannot run eyesplice: io_uring: denied; allow it. `engine.io: epoll`, or \
             `auto`, needs none of this"
        );
        assert!(!found.has(Capability::LargePipe));
        assert!(!error.limit);
        found.findings.remove(0);
        assert_eq!(found.usable(), Ok(()));
    }

    #[test]
    fn missing_memory_for_a_ring_is_a_limit_and_not_the_kernel() {
        let short = State::missing("too little", Some("raise it"));
        let found = Probe {
            kernel: "6.1.0".to_owned(),
            findings: vec![
                required(Capability::IoUring, State::Present),
                required(Capability::UringMemory, short),
            ],
        };
        let error = found.usable().unwrap_err();
        assert!(error.limit);
        assert_eq!(
            error.to_string(),
            "a limit is too low to run eyesplice: io_uring memory for a worker: too little; raise \
             it. `engine.io: epoll`, or `auto`, needs none of this"
        );
    }
}
