//! Runs out of descriptors. Alone in its process, because the limit is the process's.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use eyesplice_sys::socket::{Address, listen_tcp_group, local_address};
use eyesplice_sys::uring::{self, Fd, Interest, UringConfig};

#[test]
fn accept_without_descriptors_fails_and_the_connection_stays_queued() {
    let finished = uring::run(&UringConfig::default(), async {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Fd::from(listen_tcp_group(any, 1, 16).unwrap().remove(0));
        let Address::Ip(address) = local_address(listener.as_fd()).unwrap() else {
            panic!("a TCP address")
        };
        let _client = TcpStream::connect(address).unwrap();
        let hoard = hoard_descriptors();
        let error = uring::accept(&listener).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));

        drop(hoard);
        let patience = Some(Instant::now() + Duration::from_secs(20));
        uring::until(uring::poll(&listener, Interest::READ), patience)
            .await
            .unwrap();
        uring::accept(&listener).await.unwrap();
    })
    .unwrap();
    assert_eq!(finished.stray_ops, 0);
}

/// Takes all descriptors that the process may have, after lowering how many those are.
fn hoard_descriptors() -> Vec<OwnedFd> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let mut hoard = Vec::new();
    while let Ok(copy) = file.try_clone() {
        hoard.push(copy.into());
    }
    hoard.push(file.into());
    hoard
}
