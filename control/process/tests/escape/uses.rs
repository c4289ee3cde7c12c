//! What a process of ours needs, and must have in its sandbox.

use super::place::Place;
use eyesplice_sys::limits;
use eyesplice_sys::socket::{listen_messages, listen_tcp_group};
use eyesplice_sys::uring::{self, Interest, UringConfig};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::io::{self, Error, Write};
use std::net::{Ipv4Addr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

macro_rules! uses {
    ($($make:ident),+ $(,)?) => {
        &[$((stringify!($make), $make)),+]
    };
}

type Use = fn(&Place) -> io::Result<()>;

pub(crate) const ALL: &[(&str, Use)] = uses![
    configuration_is_read,
    secret_is_read_where_its_link_leads_and_will_lead,
    log_is_written_and_opened_again_after_it_was_moved,
    file_is_replaced_as_a_whole,
    socket_is_made_and_removed,
    allowed_port_is_listened_on_by_several_sockets,
    allowed_port_is_connected_to,
    names_are_looked_up,
    own_descriptors_and_memory_are_read,
    runtime_has_threads_timers_and_signals,
    ring_waits,
    directory_is_watched,
];

fn expect(holds: bool, what: &str) -> io::Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::other(what.to_owned()))
    }
}

fn reads(path: &Path, want: &str) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    expect(text == want, &format!("{text} in {}", path.display()))
}

fn configuration_is_read(place: &Place) -> io::Result<()> {
    reads(&place.path("config/file"), "1")
}

fn secret_is_read_where_its_link_leads_and_will_lead(place: &Place) -> io::Result<()> {
    reads(&place.path("secret/tls.crt"), "1")?;
    reads(&place.path("secret/..2/tls.crt"), "2")
}

fn log_is_written_and_opened_again_after_it_was_moved(place: &Place) -> io::Result<()> {
    let log = place.path("state/log");
    let open = || OpenOptions::new().append(true).create(true).open(&log);
    open()?.write_all(b"x\n")?;
    fs::rename(&log, place.path("state/log.1"))?;
    let mut again = open()?;
    again.write_all(b"y\n")?;
    again.sync_all()?;
    reads(&log, "y\n")?;
    fs::write(&log, "")
}

fn file_is_replaced_as_a_whole(place: &Place) -> io::Result<()> {
    let path = place.path("state/replaced");
    let replaced =
        eyesplice_identity::file::replace(&path, b"z", eyesplice_identity::file::Mode::Secret);
    replaced.map_err(Error::other)?;
    reads(&path, "z")?;
    fs::remove_file(path)
}

fn socket_is_made_and_removed(place: &Place) -> io::Result<()> {
    let path = place.path("sockets/a.sock");
    let made = listen_messages(&path, 1).map_err(Error::other)?;
    expect(path.exists(), "no socket")?;
    drop(made);
    expect(!path.exists(), "the socket stays")
}

fn allowed_port_is_listened_on_by_several_sockets(place: &Place) -> io::Result<()> {
    let group = listen_tcp_group(place.own(place.allowed), 3, 16)?;
    expect(group.len() == 3, "fewer sockets")
}

fn allowed_port_is_connected_to(place: &Place) -> io::Result<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, place.allowed)).map(drop)
}

fn names_are_looked_up(_: &Place) -> io::Result<()> {
    let found = ("localhost", 0).to_socket_addrs()?.count();
    expect(found > 0, "localhost has no address")
}

fn own_descriptors_and_memory_are_read(_: &Place) -> io::Result<()> {
    expect(limits::open_descriptors()? > 2, "few descriptors")?;
    limits::open_files()?;
    for file in ["status", "stat", "statm"] {
        fs::read_to_string(Path::new("/proc/self").join(file))?;
    }
    Ok(())
}

fn runtime_has_threads_timers_and_signals(_: &Place) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut hangup = signal(SignalKind::hangup())?;
        kill(Pid::this(), Signal::SIGHUP)?;
        hangup.recv().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::task::spawn_blocking(eyesplice_sys::memory::give_back)
            .await
            .map_err(Error::other)
    })
}

fn ring_waits(_: &Place) -> io::Result<()> {
    let (reader, mut writer) = io::pipe()?;
    let waited = uring::run(&UringConfig::default(), async move {
        let fd = uring::Fd::from(OwnedFd::from(reader));
        let waiting = uring::poll(&fd, Interest::READ);
        writer.write_all(b"x")?;
        waiting.await
    })?;
    expect(waited.output?.readable(), "nothing to read")
}

fn directory_is_watched(place: &Place) -> io::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(&place.path("state"), AddWatchFlags::IN_CLOSE_WRITE)?;
    let file = place.path("state/seen");
    fs::write(&file, "x")?;
    // The kernel has it by the time that the writer has closed it.
    let seen = inotify.read_events()?;
    fs::remove_file(file)?;
    expect(!seen.is_empty(), "the watch failed")
}
