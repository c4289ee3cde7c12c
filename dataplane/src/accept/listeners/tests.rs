//! One owner for each address and path, also while another one goes.

use super::*;
use crate::backend::IoPolicy;
use crate::cipher::CryptoPolicy;
use crate::config::{COALESCE, KtlsPolicy, ListenerConfig, Role};
use socket2::SockRef;
use std::cell::Cell;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

fn config(bind: Bind) -> EngineConfig {
    EngineConfig {
        room: crate::descriptors::Room::UNLIMITED,
        workers: 2,
        listeners: vec![ListenerConfig {
            role: Role::Egress,
            name: "one".into(),
            bind,
        }],
        io: IoPolicy::default(),
        ktls: KtlsPolicy::Off,
        crypto: CryptoPolicy::Auto,
        max_pipes_per_worker: 1,
        coalesce: COALESCE,
        keepalive_idle: Duration::from_secs(30),
        user_timeout: Duration::from_secs(60),
    }
}

fn unix(path: PathBuf) -> EngineConfig {
    config(Bind::Unix {
        path,
        mode: 0o600,
        uid: None,
        gid: None,
    })
}

#[test]
fn address_that_another_gateway_has_is_refused() {
    let first = Listeners::bind(&config(Bind::Tcp("127.0.0.1:0".parse().unwrap()))).unwrap();
    let address = first.tcp_addresses().next().unwrap();
    assert_ne!(address.port(), 0);
    let error = Listeners::bind(&config(Bind::Tcp(address))).unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    let words = format!("listener one cannot listen on {address}: another process does");
    assert!(error.to_string().starts_with(&words), "{error}");
    drop(first);
    Listeners::bind(&config(Bind::Tcp(address))).unwrap();
}

#[test]
fn path_of_a_process_that_is_going_is_taken_when_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let dying = UnixListener::bind(&path).unwrap();
    let start = std::thread::spawn(move || Listeners::bind(&unix(path)));
    // The first look met it alive.
    dying.accept().unwrap();
    drop(dying);
    start.join().unwrap().unwrap();
}

#[test]
fn path_that_another_gateway_has_is_refused_and_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let _first = Listeners::bind(&unix(path.clone())).unwrap();
    let error = Listeners::bind(&unix(path)).unwrap_err();
    let StartError::Bind { source, .. } = &error else {
        panic!("{error}");
    };
    let pid = format!("pid {}", std::process::id());
    assert!(source.to_string().contains(&pid), "{source}");
}

#[test]
fn patience_is_for_what_is_in_use_alone() {
    let looks = Cell::new(0);
    let attempt = |fails: u32, in_use: bool| {
        looks.set(0);
        let look = || {
            looks.set(looks.get() + 1);
            if looks.get() > fails { Ok(()) } else { Err(()) }
        };
        (patiently(look, |()| in_use), looks.get())
    };
    assert_eq!(attempt(3, true), (Ok(()), 4));
    assert_eq!(attempt(1, false), (Err(()), 1));
}

#[test]
fn what_a_tcp_listener_accepts_inherits_its_options() {
    let listeners = Listeners::bind(&config(Bind::Tcp("127.0.0.1:0".parse().unwrap()))).unwrap();
    let address = listeners.tcp_addresses().next().unwrap();
    // The kernel chooses one of the group's sockets.
    let clients: Vec<_> = (0..8)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let mut seen = 0;
    for (_, listener) in listeners.per_worker.iter().flatten() {
        while let Ok(accepted) = socket::accept(listener.as_fd()) {
            let socket = SockRef::from(&accepted.fd);
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(
                socket.tcp_keepalive_time().unwrap(),
                Duration::from_secs(30)
            );
            seen += 1;
        }
    }
    assert_eq!(seen, clients.len());
}

#[test]
fn sockets_of_a_process_before_are_taken_by_as_many_workers_as_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut config = config(Bind::Tcp("127.0.0.1:0".parse().unwrap()));
    config.workers = 3;
    let socket = unix(path.clone()).listeners.remove(0);
    config.listeners.push(ListenerConfig {
        name: "two".into(),
        ..socket
    });
    let first = Listeners::bind(&config).unwrap();
    let address = first.tcp_addresses().next().unwrap();
    config.listeners[0].bind = Bind::Tcp(address);
    for workers in [1, 2, 5] {
        config.workers = workers;
        let mut inherited = Inherited::default();
        for (place, fd) in first.second().unwrap() {
            inherited.add(&place.name().unwrap(), fd).unwrap();
        }
        let next = Listeners::take(&config, &mut inherited).unwrap();
        assert!(inherited.is_empty());
        assert_eq!(next.per_worker.len(), workers);
        assert_eq!(next.per_worker.iter().flatten().count(), 4);
        assert_eq!(next.tcp_addresses().next(), Some(address));
        // It was never kept: the file is the first one's.
        drop(next);
        assert!(path.exists());
    }
    drop(first);
    assert!(!path.exists());
}
