//! What a process of ours can still do once its configuration is read: no more than it needs.
//!
//! It gives up privileges, dumps of its memory, files beside those of its configuration (`rules`)
//! and system calls that it never makes (`calls`). Nothing of it can be taken back, and whatever
//! the process starts would have it too; so it starts nothing: a successor comes from the service
//! manager (`takeover`).
//!
//! Landlock binds the thread that asks for it and those that it starts later (all threads at once
//! only since Linux 7.0), and threads share their memory: one that was forgotten would undo it. So
//! it is entered by a process of one thread, before runtime, log and workers have theirs, and
//! refused otherwise.
//!
//! What the kernel does not have is left out, and the log, `eyesplice_sandbox` and `/readyz` say
//! so. What it has and does not work is a failed start.

mod calls;
mod error;
mod files;
mod reach;
mod report;
mod rules;

pub use error::SandboxError;
pub use reach::{Access, Ports, Reach};
pub use report::{Confinement, Part};

use crate::metrics::Metrics;
use eyesplice_sys::privilege::{self, Needed};
use eyesplice_sys::probe::{LANDLOCK_PORTS, LANDLOCK_SCOPES, landlock_abi, seccomp_filters};
use files::Covered;
use report::{Parts, State};
use std::path::Path;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long threads that have ended may take to be gone, and how often to look.
const ALONE_WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(2);

/// Whether the process is to confine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// It is.
    On,
    /// `--insecure-no-sandbox`.
    Off,
}

impl Sandbox {
    /// What the flag says.
    pub fn unless(insecure: bool) -> Self {
        if insecure { Self::Off } else { Self::On }
    }
}

/// How this process is confined, once that is decided.
static CONFINED: OnceLock<Confined> = OnceLock::new();

/// What is remembered of it.
#[derive(Debug)]
struct Confined {
    confinement: Confinement,
    /// Nothing where files are not confined.
    covered: Option<Covered>,
    connects: Ports,
}

/// Confines this process to what it reaches, for ever; logs and shows how far.
///
/// # Errors
/// The kernel can do it, and it failed; or the process has several threads, or would have to start
/// a program.
pub fn confine(sandbox: Sandbox, reach: &Reach, metrics: &Metrics) -> Result<(), SandboxError> {
    let confined = match sandbox {
        Sandbox::On => enter(reach)?,
        Sandbox::Off => Confined {
            confinement: Confinement::off(),
            covered: None,
            connects: Ports::Any,
        },
    };
    confined.confinement.log();
    metrics.sandbox.replace(confined.confinement.rows());
    // A process confines itself once.
    let _ = CONFINED.set(confined);
    Ok(())
}

/// How this process is confined; nothing before that is decided.
pub fn confinement() -> Option<&'static Confinement> {
    CONFINED.get().map(|confined| &confined.confinement)
}

/// Whether the sandbox of this process lets it use a path so; without one it does.
pub fn covers(path: &Path, access: Access) -> bool {
    let covered = CONFINED
        .get()
        .and_then(|confined| confined.covered.as_ref());
    covered.is_none_or(|covered| covered.covers(path, access))
}

/// What of this is beyond the sandbox of this process, in words; nothing without one.
pub fn beyond(reach: &Reach) -> Vec<String> {
    let Some(confined) = CONFINED.get() else {
        return Vec::new();
    };
    let mut beyond = Vec::new();
    if let Some(covered) = &confined.covered {
        let files = reach.files.iter().chain(&reach.directories);
        // Sockets are made at the start alone.
        let files = files.filter(|(_, access)| *access < Access::Listen);
        let outside = files.filter(|(path, access)| !covered.covers(path, *access));
        let words = outside.map(|(path, _)| {
            let path = path.display();
            format!("{path} is outside of the sandbox, which was made at the start; {REMEDY}")
        });
        beyond.extend(words);
    }
    if let Ports::Only(allowed) = &confined.connects {
        match &reach.connects {
            Ports::Any => beyond.push(format!(
                "connections to any port are outside of the sandbox; {REMEDY}"
            )),
            Ports::Only(wanted) => beyond.extend(wanted.difference(allowed).map(|port| {
                format!("connections to TCP port {port} are outside of the sandbox; {REMEDY}")
            })),
        }
    }
    if confined.confinement.is_wanted() {
        beyond.extend(reach.programs.iter().map(|what| no_program(what)));
    }
    beyond
}

/// What to do about it: a new process has a new sandbox.
const REMEDY: &str = "a new process has it: `systemctl restart`, which keeps the listening sockets \
                      of a gateway, or `eyesplice gateway --takeover`";

fn no_program(what: &str) -> String {
    format!("{what}: the sandbox starts no program; name a certificate or a token in its place")
}

fn enter(reach: &Reach) -> Result<Confined, SandboxError> {
    if !reach.programs.is_empty() {
        let programs = reach.programs.iter().map(|what| no_program(what));
        return Err(SandboxError::Programs(programs.collect()));
    }
    require_alone()?;
    privilege::forbid_new().map_err(SandboxError::Privileges)?;
    privilege::forbid_dumps().map_err(SandboxError::Dumps)?;
    let left = privilege::keep_capabilities(&needed(reach)).map_err(SandboxError::Privileges)?;
    let mut parts = Parts::default();
    let kept = match left {
        0 => String::new(),
        _ => format!("capabilities {left:#x} are kept"),
    };
    parts.set(Part::Privileges, State::On(kept));
    parts.set(Part::Dumps, State::On(String::new()));
    let (covered, connects) = give_up_files(reach, &mut parts)?;
    let calls = match seccomp_filters() {
        Ok(()) => {
            let wanted = calls::Wanted {
                uring: reach.uring,
                owners: reach.gives_sockets_away,
            };
            calls::restrict(wanted).map_err(SandboxError::Seccomp)?;
            State::On(String::new())
        }
        Err(error) => State::Off(format!("no seccomp filters: {error}")),
    };
    parts.set(Part::Calls, calls);
    Ok(Confined {
        confinement: Confinement::on(parts),
        covered,
        connects,
    })
}

/// Waits until this is the only thread.
fn require_alone() -> Result<(), SandboxError> {
    let end = Instant::now() + ALONE_WITHIN;
    loop {
        match privilege::threads().map_err(SandboxError::NoProc)? {
            1 => return Ok(()),
            // One that was joined is still there for a moment.
            _ if Instant::now() < end => sleep(LOOK),
            count => return Err(SandboxError::Threads(count)),
        }
    }
}

fn needed(reach: &Reach) -> Vec<Needed> {
    let low = reach.has_low_port().then_some(Needed::LowPorts);
    let owners = reach.gives_sockets_away.then_some(Needed::Owners);
    low.into_iter().chain(owners).collect()
}

fn give_up_files(
    reach: &Reach,
    parts: &mut Parts,
) -> Result<(Option<Covered>, Ports), SandboxError> {
    let abi = match landlock_abi() {
        Ok(abi) => abi,
        Err(error) => {
            let off = || State::Off(format!("no Landlock: {error}"));
            for part in [Part::Files, Part::Ports, Part::Signals] {
                parts.set(part, off());
            }
            return Ok((None, Ports::Any));
        }
    };
    let since = |needs: u32| match abi >= needs {
        true => State::On(String::new()),
        false => State::Off(format!("Landlock of ABI {abi} has no such rules")),
    };
    let (rules, covered) = files::rules(reach)?;
    parts.set(
        Part::Files,
        State::On(format!("Landlock ABI {abi}, {} places", rules.len())),
    );
    let ports = match (&reach.listens, &reach.connects) {
        (Ports::Any, _) => {
            let why = "a listener at port 0 takes any port";
            State::Off(why.to_owned())
        }
        (Ports::Only(_), Ports::Any) => match since(LANDLOCK_PORTS) {
            State::On(_) => State::On("to listen; connections go to any".to_owned()),
            off @ State::Off(_) => off,
        },
        (Ports::Only(_), Ports::Only(_)) => since(LANDLOCK_PORTS),
    };
    parts.set(Part::Ports, ports);
    parts.set(Part::Signals, since(LANDLOCK_SCOPES));
    rules::restrict(rules::Wanted {
        rules,
        listens: &reach.listens,
        connects: &reach.connects,
        abstract_sockets: !notifies_by_abstract_name(),
    })?;
    let connects = match abi >= LANDLOCK_PORTS {
        true => reach.connects.clone(),
        false => Ports::Any,
    };
    Ok((Some(covered), connects))
}

/// A file of name lookups that was replaced, and is not covered as it is now.
pub fn replaced_resolver_file() -> Option<&'static str> {
    let mut files = files::RESOLVER.into_iter();
    files.find(|file| Path::new(file).exists() && !covers(Path::new(file), Access::Read))
}

/// Whether the service manager's socket has a name that is no file.
fn notifies_by_abstract_name() -> bool {
    let socket = std::env::var_os("NOTIFY_SOCKET");
    socket.is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"@"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn process_of_several_threads_is_not_confined() {
        let (stop, stopped) = channel::<()>();
        let other = std::thread::spawn(move || {
            // Ends when the sender is gone.
            let _ = stopped.recv();
        });
        let refused = confine(Sandbox::On, &Reach::default(), &Metrics::new()).unwrap_err();
        assert!(matches!(refused, SandboxError::Threads(2..)), "{refused}");
        assert_eq!(confinement(), None);
        assert_eq!(beyond(&Reach::default()), Vec::<String>::new());
        drop(stop);
        other.join().unwrap();
    }

    #[test]
    fn program_that_a_configuration_wants_is_refused_with_the_remedy() {
        let mut reach = Reach::default();
        reach.starts("kubeconfig: the credential of a is a program's".to_owned());
        let refused = confine(Sandbox::On, &reach, &Metrics::new()).unwrap_err();
        let words = refused.to_string();
        assert!(words.contains("kubeconfig: the credential of a"), "{words}");
        assert!(words.contains("name a certificate or a token"), "{words}");
    }
}
