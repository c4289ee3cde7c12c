//! The service manager's store of descriptors: what it keeps while it restarts the service
//! (`FileDescriptorStoreMax`, systemd.service(5)).

use eyesplice_sys::socket::{self, MAX_RIGHTS};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::{env, io, process};

/// Takes the listening sockets that the manager passed, with their names. To be called before the
/// process listens anywhere; a second time there are none.
pub fn passed() -> Vec<(String, OwnedFd)> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(process::id()) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").and_then(|count| u16::try_from(count).ok());
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let passed = socket::passed(count.unwrap_or_default()).into_iter();
    passed
        .map(|fd| (names.next().unwrap_or_default(), fd))
        .filter_map(|(name, fd)| Some((name, fd?)))
        .collect()
}

/// Has the manager keep sockets, those of one name together; false without a manager, or where one
/// of them could not be sent. May wait for the manager.
pub fn store(sockets: Vec<(Option<String>, OwnedFd)>) -> bool {
    let Some(path) = manager() else {
        return false;
    };
    let mut named: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
    let mut unnamed = 0;
    for (name, fd) in sockets {
        match name {
            Some(name) => named.entry(name).or_default().push(fd),
            None => unnamed += 1,
        }
    }
    let sent: io::Result<()> = named.iter().try_for_each(|(name, fds)| {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        // Without FDPOLL=0 the manager would drop those that report an error.
        let message = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n");
        let mut chunks = fds.chunks(MAX_RIGHTS);
        chunks.try_for_each(|fds| {
            let manager = UnixDatagram::unbound()?;
            manager.connect(&path)?;
            socket::give(manager.as_fd(), message.as_bytes(), fds)
        })
    });
    if let Err(error) = &sent {
        tracing::warn!(%error, "service manager does not keep the listening sockets");
    }
    sent.is_ok() && unnamed == 0
}

/// Has the manager close those of a name.
pub fn forget(name: &str) {
    let Some(path) = manager() else {
        return;
    };
    let message = format!("FDSTOREREMOVE=1\nFDNAME={name}\n");
    let sent = UnixDatagram::unbound().and_then(|manager| {
        manager.connect(path)?;
        socket::give(manager.as_fd(), message.as_bytes(), &[])
    });
    if let Err(error) = sent {
        tracing::warn!(%error, name, "service manager keeps a socket that nobody wants");
    }
}

/// Where the manager hears of the service, if there is one.
pub(super) fn manager() -> Option<PathBuf> {
    env::var_os("NOTIFY_SOCKET").map(PathBuf::from)
}
