//! Finds out what of io_uring works here.

use std::io;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};

use super::{Capability, Finding, State, UringShortage, optional, required};
use crate::limits::sysctl;
use crate::pipe::Pipe;
use crate::uring::{UringConfig, attempt};

/// Room for the few ops of this file.
const ENTRIES: u32 = 8;

/// How long memory of earlier rings may take to come back, and how often to look.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(20);

const WAITING_OP: u64 = 1;
const CANCELLATION: u64 = 2;

pub(super) fn probe() -> Vec<Finding> {
    match IoUring::new(ENTRIES) {
        Ok(_) => {}
        Err(error) if is_memory(&error) => return vec![required(Capability::UringMemory, short())],
        Err(error) => {
            let disabled = sysctl("/proc/sys/kernel/io_uring_disabled").ok();
            return vec![required(Capability::IoUring, denial(&error, disabled))];
        }
    }
    vec![
        required(Capability::IoUring, State::Present),
        required(Capability::UringMemory, in_use()),
        required(Capability::CancelOne, outcome(cancel(WAITING_OP))),
        optional(
            Capability::CoopTaskrun,
            outcome(
                <IoUring>::builder()
                    .setup_coop_taskrun()
                    .build(ENTRIES)
                    .map(drop),
            ),
        ),
        optional(
            Capability::SingleIssuer,
            outcome(
                <IoUring>::builder()
                    .setup_single_issuer()
                    .build(ENTRIES)
                    .map(drop),
            ),
        ),
    ]
}

/// Makes a ring of the size in use, which a small one says nothing of.
fn in_use() -> State {
    // Memory of rings that ended a moment ago comes back late.
    let patience = Instant::now() + PATIENCE;
    loop {
        match attempt(&UringConfig::default()) {
            Ok(()) => return State::Present,
            Err(error) if !is_memory(&error) => return outcome(Err(error)),
            Err(_) if Instant::now() < patience => thread::sleep(RETRY),
            Err(_) => return short(),
        }
    }
}

fn is_memory(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOMEM)
}

fn short() -> State {
    let shortage = UringShortage::now();
    State::missing(shortage.why(), Some(shortage.remedy()))
}

fn outcome(attempt: io::Result<()>) -> State {
    match attempt {
        Ok(()) => State::Present,
        // The size in use fits or does not, and is told once.
        Err(error) if is_memory(&error) => short(),
        Err(error) => State::missing(
            format!("attempted, and got: {error}"),
            Some("use a newer kernel"),
        ),
    }
}

/// Says who denied io_uring_setup(2), from its error and the sysctl kernel.io_uring_disabled, which
/// kernels since 6.6 with io_uring have.
fn denial(error: &io::Error, disabled: Option<u64>) -> State {
    let missing = |why: &str, remedy| State::missing(why, Some(remedy));
    let seccomp = "allow io_uring_setup, io_uring_enter and io_uring_register in the container's \
                   seccomp profile (in a pod: securityContext.seccompProfile of type Localhost)";
    match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), Some(2)) => missing(
            "the sysctl kernel.io_uring_disabled is 2: nobody may use it",
            "set kernel.io_uring_disabled to 0 on the node",
        ),
        (Some(libc::EPERM), Some(1)) => missing(
            "the sysctl kernel.io_uring_disabled is 1: only kernel.io_uring_group may use it",
            "set kernel.io_uring_group on the node to a group of this process, or \
             kernel.io_uring_disabled to 0",
        ),
        (Some(libc::EPERM | libc::EACCES), _) => missing(
            &format!("a sandbox denies io_uring_setup: {error}"),
            seccomp,
        ),
        (Some(libc::ENOSYS), Some(_)) => missing(
            "a sandbox hides io_uring_setup, which the kernel has",
            seccomp,
        ),
        (Some(libc::ENOSYS), None) => missing(
            "the kernel has no io_uring, or a sandbox hides it",
            "use Linux 5.10 or later, and allow io_uring_setup, io_uring_enter and \
             io_uring_register in the container's seccomp profile",
        ),
        _ => State::missing(format!("io_uring_setup: {error}"), None),
    }
}

/// Waits on an empty pipe, and stops the op of this number.
fn cancel(number: u64) -> io::Result<()> {
    let pipe = Pipe::new(0)?;
    let waiting = opcode::PollAdd::new(Fd(pipe.read_end().as_raw_fd()), libc::POLLIN as u32);
    let mut ring = IoUring::new(ENTRIES)?;
    push(&mut ring, waiting.build().user_data(WAITING_OP))?;
    ring.submit()?;
    let cancellation = opcode::AsyncCancel::new(number).build();
    push(&mut ring, cancellation.user_data(CANCELLATION))?;
    ring.submit_and_wait(1)?;
    let mut results = completions(&mut ring);
    let result = results
        .iter()
        .find(|(op, _)| *op == CANCELLATION)
        .map(|(_, result)| *result);
    match result {
        Some(0) => {}
        Some(result) if result < 0 => return Err(io::Error::from_raw_os_error(-result)),
        _ => return Err(io::Error::other("the op was not found")),
    }
    // It found the op, so that one completes, if it has not already.
    if results.len() < 2 {
        ring.submit_and_wait(1)?;
        results.extend(completions(&mut ring));
    }
    match results.iter().find(|(op, _)| *op == WAITING_OP) {
        Some((_, result)) if *result == -libc::ECANCELED => Ok(()),
        _ => Err(io::Error::other("the op was not cancelled")),
    }
}

fn push(ring: &mut IoUring, sqe: squeue::Entry) -> io::Result<()> {
    // SAFETY: `push` requires that what `sqe` refers to stays valid until its completion. The ops
    // of this file refer to no memory; and a descriptor that is closed early is an error of the op.
    unsafe { ring.submission().push(&sqe) }.map_err(io::Error::other)
}

fn completions(ring: &mut IoUring) -> Vec<(u64, i32)> {
    ring.completion()
        .map(|cqe| (cqe.user_data(), cqe.result()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::probe;
    use crate::uring::run;

    /// Denies io_uring_setup to this thread for ever, as container runtimes do to a container.
    fn deny_io_uring(errno: libc::c_int) -> io::Result<()> {
        /// Where a filter finds the number of the system call: `seccomp_data.nr`.
        const NUMBER: u32 = 0;
        const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const SKIP_UNLESS_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
        let mut filter = [
            step(LOAD, 0, NUMBER),
            step(SKIP_UNLESS_EQUAL, 1, libc::SYS_io_uring_setup as u32),
            step(RETURN, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
            step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: PR_SET_NO_NEW_PRIVS takes four numbers.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: PR_SET_SECCOMP with SECCOMP_MODE_FILTER reads one `sock_fprog`, whose `filter`
        // has `len` readable instructions; both are on the stack until it returns.
        let result = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    #[test]
    fn seccomp_that_denies_io_uring_makes_it_unusable_and_is_named() {
        for errno in [libc::EPERM, libc::ENOSYS] {
            // Only the thread that installs a filter has it.
            let denied = thread::spawn(move || {
                deny_io_uring(errno)?;
                let ring = run(&UringConfig::default(), async {});
                assert_eq!(ring.unwrap_err().raw_os_error(), Some(errno));
                Ok::<_, io::Error>(probe())
            });
            let found = denied.join().unwrap().expect("this kernel has seccomp");
            assert!(!found.has(Capability::IoUring));
            assert!(
                found.has(Capability::LargePipe),
                "the rest is found all the same"
            );
            let error = found.usable().unwrap_err();
            assert_eq!(error.missing.len(), 1, "not what depends on it");
            assert!(error.to_string().contains("seccomp profile"), "{error}");
        }
    }

    #[test]
    fn each_denial_of_io_uring_names_its_remedy() {
        for (errno, disabled, expected) in [
            (libc::EPERM, Some(2), "set kernel.io_uring_disabled to 0"),
            (libc::EPERM, Some(1), "kernel.io_uring_group"),
            (libc::EPERM, Some(0), "seccomp profile"),
            (libc::EPERM, None, "seccomp profile"),
            (libc::EACCES, None, "seccomp profile"),
            (libc::ENOSYS, Some(0), "seccomp profile"),
            (libc::ENOSYS, None, "Linux 5.10"),
        ] {
            let state = denial(&io::Error::from_raw_os_error(errno), disabled);
            let State::Missing {
                remedy: Some(remedy),
                ..
            } = state
            else {
                panic!("{state:?}")
            };
            assert!(remedy.contains(expected), "{errno} {disabled:?}: {remedy}");
        }
    }

    #[test]
    fn cancellation_that_finds_nothing_is_an_error() {
        let error = cancel(WAITING_OP + 7).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
