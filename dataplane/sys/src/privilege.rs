//! Gives up what a process of ours has no use for: capabilities, new privileges, dumps of its
//! memory.
//!
//! Capabilities and the wish for no new privileges belong to a thread and to those that it starts:
//! call these before there are others ([`threads`] counts them).

use std::fs;
use std::io;

use nix::sys::resource::{Resource, setrlimit};

/// A capability that some configuration has use for (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// CAP_NET_BIND_SERVICE: to listen on ports below 1024.
    LowPorts,
    /// CAP_CHOWN, and CAP_FOWNER for the mode of what is another user's then: to give a socket file
    /// away.
    Owners,
}

impl Needed {
    fn mask(self) -> u64 {
        match self {
            Self::LowPorts => 1 << NET_BIND_SERVICE,
            Self::Owners => 1 << CHOWN | 1 << FOWNER,
        }
    }
}

// linux/capability.h
const CHOWN: u32 = 0;
const FOWNER: u32 = 3;
const SETPCAP: u32 = 8;
const NET_BIND_SERVICE: u32 = 10;
/// The kernel has a set of 64; asking beyond the last one that it knows fails.
const LAST: u32 = 63;
const VERSION_3: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`; process 0 is the calling thread.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`; the second one of two has the upper halves.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Drops every capability of this thread but those that are needed and held; says which bits are
/// left. The bounding set shrinks as well where this thread may do that.
///
/// # Errors
///
/// `EPERM` when a sandbox denies capget(2), or capset(2) to a thread that has some.
pub fn keep_capabilities(needed: &[Needed]) -> io::Result<u64> {
    let wanted = needed.iter().fold(0, |all, each| all | each.mask());
    let held = capabilities()?;
    let left = held & wanted;
    if held & (1 << SETPCAP) != 0 {
        shrink_bounds(left);
    }
    if held != left {
        set_capabilities(left)?;
    }
    Ok(left)
}

/// Reads the capabilities that this thread may use.
///
/// # Errors
///
/// `EPERM` when a sandbox denies capget(2).
pub fn capabilities() -> io::Result<u64> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut halves = [Half::default(); 2];
    // SAFETY: capget(2) reads and writes the header, and writes two halves at this version: both
    // live until it returns, and have the layout that linux/capability.h gives.
    let got = unsafe {
        libc::syscall(
            libc::SYS_capget,
            (&raw mut header).cast::<libc::c_void>(),
            halves.as_mut_ptr().cast::<libc::c_void>(),
        )
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    let [low, high] = halves;
    Ok(u64::from(low.permitted) | u64::from(high.permitted) << 32)
}

fn set_capabilities(set: u64) -> io::Result<()> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // The cast takes the lower half.
    let half = |bits: u64| Half {
        effective: bits as u32,
        permitted: bits as u32,
        inheritable: 0,
    };
    let halves = [half(set), half(set >> 32)];
    // SAFETY: capset(2) reads the header and, at this version, two halves, and may write the
    // header: both live until it returns, and have the layout that linux/capability.h gives.
    let done = unsafe {
        libc::syscall(
            libc::SYS_capset,
            (&raw mut header).cast::<libc::c_void>(),
            halves.as_ptr().cast::<libc::c_void>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Without new privileges the bounding set gives nothing, so one that stays does no harm.
fn shrink_bounds(left: u64) {
    for capability in (0..=LAST).filter(|bit| left & (1 << bit) == 0) {
        // SAFETY: PR_CAPBSET_DROP takes a number, and touches no memory.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// Has no exec ever give this thread more than it has (PR_SET_NO_NEW_PRIVS); what restricts itself
/// by Landlock or seccomp needs it.
///
/// # Errors
///
/// `EPERM` when a sandbox denies prctl(2).
pub fn forbid_new() -> io::Result<()> {
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers, and touches no memory.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has no core of this process ever be written, and no process without CAP_SYS_PTRACE look into its
/// memory: the limit of cores is zero, and the process is not dumpable. Holds for all threads.
///
/// This keeps every page out of a core, so none is marked by itself (MADV_DONTDUMP): keys are in
/// buffers, on stacks and in registers while they are used.
///
/// # Errors
///
/// `EPERM` when a sandbox denies prlimit(2) or prctl(2).
pub fn forbid_dumps() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // SAFETY: PR_SET_DUMPABLE takes numbers, and touches no memory.
    let done = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Counts the threads of this process, but for those that the kernel has for its rings, which run
/// no code of ours.
///
/// # Errors
///
/// Where /proc is not mounted.
pub fn threads() -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc/self/task")? {
        let name = fs::read_to_string(entry?.path().join("comm"));
        // One that has just ended has no name any more.
        if name.is_ok_and(|name| !name.starts_with("iou-")) {
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn capabilities_that_are_not_needed_are_gone_in_this_thread_alone() {
        let before = capabilities().unwrap();
        let left = thread::spawn(|| {
            let left = keep_capabilities(&[Needed::LowPorts]).unwrap();
            assert_eq!(capabilities().unwrap(), left);
            // What is gone does not come back.
            assert_eq!(keep_capabilities(&[Needed::Owners]).unwrap(), 0);
            assert_eq!(capabilities().unwrap(), 0);
            left
        });
        let left = left.join().unwrap();
        assert_eq!(left, before & Needed::LowPorts.mask());
        assert_eq!(capabilities().unwrap(), before);
    }

    #[test]
    fn threads_count_each_one_that_runs() {
        let (stop, stopped) = channel::<()>();
        let (begun, begins) = channel();
        let running = thread::spawn(move || {
            begun.send(()).unwrap();
            // Ends when the sender is gone.
            let _ = stopped.recv();
        });
        begins.recv().unwrap();
        assert!(threads().unwrap() >= 2);
        drop(stop);
        running.join().unwrap();
    }
}
