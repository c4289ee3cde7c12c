//! Finds out by which means a process can confine itself here.

use std::io;

use super::{Capability, Finding, State, optional};

/// Since which ABI Landlock knows TCP ports (Linux 6.7).
pub const LANDLOCK_PORTS: u32 = 4;

/// Since which ABI Landlock keeps signals and abstract sockets in (Linux 6.12).
pub const LANDLOCK_SCOPES: u32 = 6;

/// LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h.
const VERSION: libc::c_uint = 1;

/// Asks which version of Landlock's interface the kernel has, 1 at least.
///
/// # Errors
///
/// `ENOSYS` of a kernel without it, `EOPNOTSUPP` where it is not enabled, `EPERM` where a sandbox
/// denies it.
pub fn landlock_abi() -> io::Result<u32> {
    // SAFETY: with this flag landlock_create_ruleset(2) takes no pointer, and answers with a
    // number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(abi).map_err(|_| io::Error::last_os_error())
}

/// Asks whether the kernel takes seccomp filters from this process.
///
/// # Errors
///
/// `ENOSYS` of a kernel without them, `EPERM` where a sandbox denies seccomp(2).
pub fn seccomp_filters() -> io::Result<()> {
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32, which lives until the call returns.
    let known = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    if known == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(super) fn probe() -> Vec<Finding> {
    let abi = landlock_abi();
    let since = |needs: u32, linux: &str| match &abi {
        Ok(abi) if *abi >= needs => State::Present,
        Ok(abi) => State::missing(
            format!("Landlock is of ABI {abi}, this needs {needs}"),
            Some(&format!("run Linux {linux} or later")),
        ),
        Err(error) => no_landlock(error),
    };
    let (ports, scopes) = (since(LANDLOCK_PORTS, "6.7"), since(LANDLOCK_SCOPES, "6.12"));
    let files = match &abi {
        Ok(abi) => State::Measured(format!("ABI {abi}")),
        Err(error) => no_landlock(error),
    };
    let filters = match seccomp_filters() {
        Ok(()) => State::Present,
        Err(error) => no_filters(&error),
    };
    vec![
        optional(Capability::LandlockFiles, files),
        optional(Capability::LandlockPorts, ports),
        optional(Capability::LandlockScopes, scopes),
        optional(Capability::SeccompFilters, filters),
    ]
}

/// Why there is no Landlock, and what can be done.
fn no_landlock(error: &io::Error) -> State {
    let (why, remedy) = match error.raw_os_error() {
        Some(libc::ENOSYS) => (
            "the kernel has no Landlock",
            "run Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK; until then the sandbox leaves \
             files open",
        ),
        Some(libc::EOPNOTSUPP) => (
            "Landlock is not enabled",
            "add landlock to the list of the boot parameter lsm=; until then the sandbox leaves \
             files open",
        ),
        _ => {
            return State::missing(
                format!("landlock_create_ruleset is denied: {error}"),
                Some("allow landlock_* in the seccomp profile around this process"),
            );
        }
    };
    State::missing(why, Some(remedy))
}

/// Why there are no filters, and what can be done.
fn no_filters(error: &io::Error) -> State {
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => State::missing(
            format!("the kernel has no seccomp filters: {error}"),
            Some("run a kernel with CONFIG_SECCOMP_FILTER, Linux 4.14 or later"),
        ),
        _ => State::missing(
            format!("seccomp is denied: {error}"),
            Some("allow seccomp in the seccomp profile around this process"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(state: State) -> (String, String) {
        match state {
            State::Missing { why, remedy } => (why, remedy.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_reason_for_no_landlock_has_its_remedy() {
        for (errno, word) in [
            (libc::ENOSYS, "CONFIG_SECURITY_LANDLOCK"),
            (libc::EOPNOTSUPP, "lsm="),
            (libc::EPERM, "seccomp profile"),
        ] {
            let (_, remedy) = missing(no_landlock(&io::Error::from_raw_os_error(errno)));
            assert!(remedy.contains(word), "{remedy}");
        }
    }

    #[test]
    fn each_reason_for_no_filters_has_its_remedy() {
        for (errno, word) in [
            (libc::ENOSYS, "CONFIG_SECCOMP_FILTER"),
            (libc::EPERM, "seccomp profile"),
        ] {
            let (_, remedy) = missing(no_filters(&io::Error::from_raw_os_error(errno)));
            assert!(remedy.contains(word), "{remedy}");
        }
    }

    #[test]
    fn findings_agree_with_what_the_kernel_answers() {
        let found = probe();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].present(), landlock_abi().is_ok());
        let ports = landlock_abi().is_ok_and(|abi| abi >= LANDLOCK_PORTS);
        assert_eq!(found[1].present(), ports);
        assert_eq!(found[3].present(), seccomp_filters().is_ok());
    }
}
