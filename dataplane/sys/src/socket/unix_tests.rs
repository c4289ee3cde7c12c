//! Exercises UNIX listeners: who may connect, what is replaced, what is left behind.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::poll::{PollFd, PollFlags, poll};

use super::*;
use crate::socket::{Address, accept};

const MINE: Ownership = Ownership {
    uid: None,
    gid: None,
};

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn listener_accepts_and_its_file_goes_with_the_guard() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("egress.sock");
    let (listener, file) = listen_unix(&path, 0o600, MINE, 16).unwrap();
    assert_eq!(names(directory.path()), ["egress.sock"]);
    let _client = UnixStream::connect(&path).unwrap();
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, 20_000_u16).unwrap(), 1);
    assert_eq!(accept(listener.as_fd()).unwrap().peer, Address::Unix);
    drop(file);
    assert!(names(directory.path()).is_empty());
}

#[test]
fn file_has_exactly_the_mode_also_against_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [0o600, 0o660, 0o666, 0o200] {
        let path = directory.path().join(format!("{mode:o}.sock"));
        let (_listener, _file) = listen_unix(&path, mode, MINE, 16).unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn file_gets_the_owner_or_none_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let ownership = Ownership {
        uid: Some(1234),
        gid: Some(5678),
    };
    match listen_unix(&path, 0o660, ownership, 16) {
        Ok((_listener, _file)) => {
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid()), (1234, 5678));
        }
        Err(error) => {
            assert!(!nix::unistd::geteuid().is_root(), "root may: {error}");
            assert!(
                error.to_string().starts_with("cannot set the owner"),
                "{error}"
            );
            assert!(names(directory.path()).is_empty());
        }
    }
}

#[test]
fn stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let (_listener, _file) = listen_unix(&path, 0o600, MINE, 16).unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(names(directory.path()), ["s"]);
}

#[test]
fn socket_that_somebody_accepts_on_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let other = UnixListener::bind(&path).unwrap();
    let error = listen_unix(&path, 0o600, MINE, 16).unwrap_err();
    assert!(matches!(error, ListenUnixError::InUse { .. }), "{error}");
    let (pid, uid) = (std::process::id(), nix::unistd::geteuid());
    let named = format!("another process (pid {pid}, uid {uid}) listens on ");
    assert!(error.to_string().starts_with(&named), "{error}");
    assert_eq!(names(directory.path()), ["s"]);
    drop(other);
}

#[test]
fn path_has_one_owner_when_many_start_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    for _ in 0..50 {
        // Each of them sees the same stale socket.
        let _ = fs::remove_file(&path);
        drop(UnixListener::bind(&path).unwrap());
        let listened: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| listen_unix(&path, 0o600, MINE, 16)))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        assert_eq!(listened.iter().filter(|it| it.is_ok()).count(), 1);
        let refused = |error: &ListenUnixError| {
            matches!(
                error,
                ListenUnixError::InUse { .. } | ListenUnixError::Contended { .. }
            )
        };
        assert!(
            listened
                .iter()
                .flat_map(|it| it.as_ref().err())
                .all(refused)
        );
        drop(listened);
    }
    assert!(names(directory.path()).is_empty());
}

#[test]
fn lock_of_a_start_that_was_killed_is_no_hindrance() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    fs::write(directory.path().join(".s.lock"), "").unwrap();
    let (_listener, _file) = listen_unix(&path, 0o600, MINE, 16).unwrap();
    assert_eq!(names(directory.path()), ["s"]);
}

#[test]
fn socket_with_a_full_backlog_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (_listener, _file) = listen_unix(&path, 0o600, MINE, 0).unwrap();
    let _queued = UnixStream::connect(&path).unwrap();
    let error = listen_unix(&path, 0o600, MINE, 16).unwrap_err();
    assert!(matches!(error, ListenUnixError::InUse { .. }), "{error}");
}

#[test]
fn anything_but_a_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let target = directory.path().join("target");
    drop(UnixListener::bind(&target).unwrap());
    for make in [
        (|path, _| fs::write(path, "data")) as fn(&Path, &Path) -> io::Result<()>,
        |path, _| fs::create_dir(path),
        |path, target| symlink(target, path),
    ] {
        make(&path, &target).unwrap();
        let error = listen_unix(&path, 0o600, MINE, 16).unwrap_err();
        assert!(
            matches!(error, ListenUnixError::NotASocket { .. }),
            "{error}"
        );
        assert!(
            fs::remove_file(&path)
                .or_else(|_| fs::remove_dir(&path))
                .is_ok()
        );
    }
    assert_eq!(names(directory.path()), ["target"]);
}

#[test]
fn guard_leaves_a_successor_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (listener, file) = listen_unix(&path, 0o600, MINE, 16).unwrap();
    drop(listener);
    let (_successor, _its_file) = listen_unix(&path, 0o600, MINE, 16).unwrap();
    drop(file);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn failure_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing").join("s");
    let error = listen_unix(&missing, 0o600, MINE, 16).unwrap_err();
    assert!(error.to_string().starts_with("cannot bind"), "{error}");
    let long = directory.path().join("x".repeat(200));
    let error = listen_unix(&long, 0o600, MINE, 16).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot use the socket path"),
        "{error}"
    );
    let unnamed = directory.path().join("..");
    let error = listen_unix(&unnamed, 0o600, MINE, 16).unwrap_err();
    assert!(!matches!(error, ListenUnixError::Refused { .. }), "{error}");
    assert!(
        names(directory.path()).is_empty(),
        "{:?}",
        names(directory.path())
    );
}
