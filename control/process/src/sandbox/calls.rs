//! The system calls that a process of ours makes; all others are denied (seccomp(2)).
//!
//! A call that is not on the list fails with EPERM, as it would where a service manager or a
//! container's runtime denies it: libraries are used to that, and a call that we forgot costs what
//! it was for and no stream. Calls that nothing here has an innocent use for, such as those that
//! start a program or look into another process, end the process: whoever makes them has taken it
//! over.
//!
//! Filters look at numbers and at arguments that are numbers, never at memory. They do not see what
//! a ring does: io_uring's own restrictions are made with the ring, which tokio-uring keeps to
//! itself. What a ring can open, make or connect to, Landlock decides, for that is asked wherever
//! the work is done; a ring runs no program and looks into no process. Where no ring is wanted
//! (`engine.io: epoll`, an authority), there is none to be had.
//!
//! Calls without conditions cost nothing: the kernel remembers that they pass (Linux 5.11).

use nix::libc;
use nix::libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};
use std::collections::BTreeMap;
use std::env::consts::ARCH;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What an argument may be: one of these.
type Values = Vec<(SeccompCmpOp, u64)>;

/// What not every process needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// Rings.
    pub(super) uring: bool,
    /// To give files to another owner or group.
    pub(super) owners: bool,
}

/// Installs the filters, for all threads that there are and that will be. The last one denies the
/// installation of others, so it comes last.
pub(super) fn restrict(wanted: Wanted) -> Result<(), Error> {
    for (rules, matched, other) in [
        (
            any(&FATAL),
            SeccompAction::KillProcess,
            SeccompAction::Allow,
        ),
        // Its flags are in memory, which no filter sees. The C library takes clone(2) where there
        // is no such call.
        (
            any(&[libc::SYS_clone3]),
            errno(libc::ENOSYS),
            SeccompAction::Allow,
        ),
        (allowed(wanted)?, SeccompAction::Allow, errno(libc::EPERM)),
    ] {
        apply_filter_all_threads(&program(rules, matched, other)?)?;
    }
    Ok(())
}

fn program(
    rules: Rules,
    matched: SeccompAction,
    other: SeccompAction,
) -> Result<BpfProgram, Error> {
    let filter = SeccompFilter::new(rules, other, matched, ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

/// Calls whatever their arguments are.
fn any(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn allowed(wanted: Wanted) -> Result<Rules, Error> {
    let mut rules = any(CALLS);
    rules.extend(any(OLD));
    if wanted.uring {
        rules.extend(any(&URING));
    }
    if wanted.owners {
        rules.extend(any(OWNERS));
    }
    let own = std::process::id().into();
    let masked = |mask: i32| SeccompCmpOp::MaskedEq(flag(mask));
    // Number of the call, number of the argument, and what the argument may be.
    let one_of: [(c_long, u8, Values); 10] = [
        // A thread, never a process.
        (
            libc::SYS_clone,
            0,
            vec![(masked(libc::CLONE_THREAD), flag(libc::CLONE_THREAD))],
        ),
        // Memory is never both written and run, and nothing that was written becomes code.
        (
            libc::SYS_mmap,
            2,
            vec![(masked(libc::PROT_EXEC), 0), (masked(libc::PROT_WRITE), 0)],
        ),
        (libc::SYS_mprotect, 2, vec![(masked(libc::PROT_EXEC), 0)]),
        (libc::SYS_socket, 0, equal(&FAMILIES)),
        (libc::SYS_socketpair, 0, equal(&[libc::AF_UNIX])),
        // Signals to this process alone; its number does not change.
        (libc::SYS_kill, 0, vec![(SeccompCmpOp::Eq, own)]),
        (libc::SYS_tgkill, 0, vec![(SeccompCmpOp::Eq, own)]),
        (
            libc::SYS_prlimit64,
            0,
            vec![(SeccompCmpOp::Eq, 0), (SeccompCmpOp::Eq, own)],
        ),
        (libc::SYS_prctl, 0, equal(&PRCTL)),
        (
            libc::SYS_ioctl,
            1,
            IOCTL
                .iter()
                .map(|request| (SeccompCmpOp::Eq, *request))
                .collect(),
        ),
    ];
    for (call, argument, values) in one_of {
        let rule = |(operator, value)| {
            let condition =
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
            SeccompRule::new(vec![condition])
        };
        let values: Result<Vec<_>, _> = values.into_iter().map(rule).collect();
        rules.insert(call, values?);
    }
    Ok(rules)
}

fn equal(values: &[i32]) -> Values {
    let values = values.iter();
    values
        .map(|value| (SeccompCmpOp::Eq, flag(*value)))
        .collect()
}

/// A number of the C library as the kernel sees it in the lower half of an argument.
fn flag(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

const FAMILIES: [i32; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// Names of threads, and what libraries ask.
const PRCTL: [i32; 4] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_GET_DUMPABLE,
    libc::PR_CAPBSET_READ,
];

/// What is queued in a socket or pipe, whether something is a terminal and how wide, close on exec,
/// no waiting, the number of a network interface. Not TIOCSTI, which types on a terminal.
const IOCTL: [u64; 9] = [
    0x5411,      // SIOCOUTQ
    0x541b,      // SIOCINQ
    0x5401,      // TCGETS
    0x802c_542a, // TCGETS2
    0x5413,      // TIOCGWINSZ
    0x5421,      // FIONBIO
    0x5450,      // FIONCLEX
    0x5451,      // FIOCLEX
    0x8933,      // SIOCGIFINDEX
];

const URING: [c_long; 3] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

#[cfg(target_arch = "x86_64")]
const OWNERS: &[c_long] = &[
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_lchown,
];
#[cfg(not(target_arch = "x86_64"))]
const OWNERS: &[c_long] = &[libc::SYS_fchown, libc::SYS_fchownat];

/// What ends the process: to start programs, to look into other processes, to change what the
/// kernel is made of or what a process sees of it.
const FATAL: [c_long; 29] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_reboot,
    libc::SYS_swapon,
];

/// What runtime, C library (glibc and musl) and we call, whatever the arguments are.
const CALLS: &[c_long] = &[
    // Files and descriptors.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Pipes.
    libc::SYS_pipe2,
    libc::SYS_splice,
    // Sockets.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads; the flags of clone3 are refused by a filter of their own.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // Who and where this is.
    libc::SYS_capget,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// What only this architecture has beside.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];

/// This architecture has no calls beside.
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Wanted = Wanted {
        uring: true,
        owners: true,
    };

    #[test]
    fn list_of_what_ends_the_process_and_list_of_what_is_allowed_have_nothing_in_common() {
        let allowed = allowed(EVERYTHING).unwrap();
        for call in FATAL {
            assert!(!allowed.contains_key(&call), "{call}");
        }
        assert!(!allowed.contains_key(&libc::SYS_seccomp));
    }

    #[test]
    fn rings_and_owners_are_allowed_only_where_they_are_wanted() {
        let with = allowed(EVERYTHING).unwrap();
        let without = allowed(Wanted::default()).unwrap();
        for call in URING.iter().chain(OWNERS) {
            assert!(with.contains_key(call));
            assert!(!without.contains_key(call));
        }
    }

    #[test]
    fn no_call_is_allowed_under_conditions_and_without() {
        let conditional = allowed(EVERYTHING).unwrap();
        let conditional = conditional.iter().filter(|(_, rules)| !rules.is_empty());
        for (call, _) in conditional {
            assert!(!CALLS.contains(call) && !OLD.contains(call), "{call}");
        }
    }

    #[test]
    fn each_program_fits_into_a_filter() {
        let fatal = program(
            any(&FATAL),
            SeccompAction::KillProcess,
            SeccompAction::Allow,
        );
        let allowed = allowed(EVERYTHING).unwrap();
        let allowed = program(allowed, SeccompAction::Allow, errno(libc::EPERM));
        for program in [fatal, allowed] {
            assert!(program.unwrap().len() < 4096);
        }
    }
}
