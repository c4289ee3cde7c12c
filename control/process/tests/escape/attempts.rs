//! The ways out.

use super::place::Place;
use super::{Attempt, By, CONFINED, Denied, FILES, PORTS, SCOPES};
use nix::fcntl::{OFlag, openat};
use nix::libc::{EACCES, EPERM};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::kill;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, execv};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::Command;

/// Of a process that waits by epoll.
pub(crate) const RING: &str = "ring_where_none_is_wanted";

macro_rules! attempts {
    ($($by:expr, $denied:expr, $make:ident;)+) => {
        &[$(Attempt {
            name: stringify!($make),
            by: $by,
            denied: $denied,
            make: $make,
        }),+]
    };
}

const ACCESS: Denied = Denied::By(EACCES);
const PERMISSION: Denied = Denied::By(EPERM);

pub(crate) const ALL: &[Attempt] = attempts![
    FILES, ACCESS, read_a_file_elsewhere;
    FILES, ACCESS, read_a_file_elsewhere_from_a_new_thread;
    FILES, ACCESS, read_a_file_elsewhere_by_ring;
    FILES, ACCESS, read_a_file_elsewhere_by_link;
    FILES, ACCESS, read_a_file_elsewhere_by_proc;
    FILES, ACCESS, read_a_file_elsewhere_by_dots;
    FILES, ACCESS, list_a_directory_elsewhere;
    FILES, ACCESS, read_the_memory_map_of_another_process;
    FILES, ACCESS, write_a_file_elsewhere;
    FILES, ACCESS, write_a_configuration;
    FILES, ACCESS, remove_a_configuration;
    FILES, ACCESS, move_a_file_out;
    PORTS, ACCESS, listen_on_another_port;
    PORTS, ACCESS, connect_to_another_port;
    PORTS, ACCESS, connect_to_another_port_by_ring;
    SCOPES, PERMISSION, connect_to_an_abstract_socket;
    By::Seccomp, PERMISSION, make_a_link_that_leads_out;
    By::Seccomp, PERMISSION, make_a_fifo;
    By::Seccomp, Denied::Killed, run_a_program;
    By::Seccomp, PERMISSION, start_a_program;
    By::Seccomp, Denied::Killed, trace_another_process;
    By::Seccomp, PERMISSION, signal_another_process;
    By::Seccomp, Denied::Killed, unshare_what_threads_share;
    By::Seccomp, PERMISSION, ask_the_kernel_for_routes;
    By::Seccomp, PERMISSION, ring_where_none_is_wanted;
    By::Process, Denied::NoCore, die_with_a_core;
];

fn read(place: &Place, name: &str) -> io::Result<()> {
    File::open(place.path(name)).map(drop)
}

fn read_a_file_elsewhere(place: &Place) -> io::Result<()> {
    read(place, "outside/secret")
}

fn read_a_file_elsewhere_from_a_new_thread(place: &Place) -> io::Result<()> {
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(place, "outside/secret"));
        reading.join().unwrap()
    })
}

fn read_a_file_elsewhere_by_ring(place: &Place) -> io::Result<()> {
    let path = place.path("outside/secret");
    tokio_uring::start(async move {
        let file = tokio_uring::fs::File::open(path).await?;
        file.close().await
    })
}

fn read_a_file_elsewhere_by_link(place: &Place) -> io::Result<()> {
    read(place, "config/link")
}

fn read_a_file_elsewhere_by_proc(place: &Place) -> io::Result<()> {
    let path = place.path("outside/secret");
    let path = path.strip_prefix("/").unwrap();
    File::open(Path::new("/proc/self/root").join(path)).map(drop)
}

fn read_a_file_elsewhere_by_dots(place: &Place) -> io::Result<()> {
    let config = OpenOptions::new().read(true).open(place.path("config"))?;
    let opened = openat(
        &config,
        "../outside/secret",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    );
    Ok(opened.map(drop)?)
}

fn list_a_directory_elsewhere(place: &Place) -> io::Result<()> {
    fs::read_dir(place.path("outside")).map(drop)
}

fn read_the_memory_map_of_another_process(place: &Place) -> io::Result<()> {
    File::open(format!("/proc/{}/maps", place.bystander)).map(drop)
}

fn write_a_file_elsewhere(place: &Place) -> io::Result<()> {
    fs::write(place.path("outside/new"), "x")
}

fn write_a_configuration(place: &Place) -> io::Result<()> {
    fs::write(place.path("config/file"), "1")
}

fn remove_a_configuration(place: &Place) -> io::Result<()> {
    let name = place.path("config/gone");
    // Free, it is there; confined, it need not be: the directory is what denies.
    if std::env::var_os(CONFINED).is_none() {
        fs::write(&name, "x")?;
        return fs::remove_file(&name);
    }
    fs::remove_file(place.path("config/file"))
}

fn move_a_file_out(place: &Place) -> io::Result<()> {
    fs::write(place.path("state/moved"), "x")?;
    fs::rename(place.path("state/moved"), place.path("outside/moved"))
}

fn make_a_link_that_leads_out(place: &Place) -> io::Result<()> {
    let link = place.path("state/link");
    symlink("../outside/secret", &link)?;
    fs::remove_file(link)
}

fn make_a_fifo(place: &Place) -> io::Result<()> {
    let name = place.path("state/fifo");
    nix::unistd::mkfifo(&name, Mode::from_bits_truncate(0o600))?;
    fs::remove_file(name)
}

fn listen_on_another_port(place: &Place) -> io::Result<()> {
    TcpListener::bind(place.own(place.other)).map(drop)
}

fn connect_to_another_port(place: &Place) -> io::Result<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, place.other)).map(drop)
}

fn connect_to_another_port_by_ring(place: &Place) -> io::Result<()> {
    let address = (Ipv4Addr::LOCALHOST, place.other).into();
    tokio_uring::start(async move {
        tokio_uring::net::TcpStream::connect(address)
            .await
            .map(drop)
    })
}

fn connect_to_an_abstract_socket(place: &Place) -> io::Result<()> {
    let address = SocketAddr::from_abstract_name(&place.abstract_name)?;
    UnixStream::connect_addr(&address).map(drop)
}

fn run_a_program(_: &Place) -> io::Result<()> {
    let program = CString::new("/bin/true").unwrap();
    match execv(&program, &[&program]) {
        Ok(never) => match never {},
        Err(errno) => Err(errno.into()),
    }
}

fn start_a_program(_: &Place) -> io::Result<()> {
    Command::new("/bin/true").status().map(drop)
}

fn trace_another_process(place: &Place) -> io::Result<()> {
    let other = Pid::from_raw(place.bystander);
    ptrace::attach(other)?;
    waitpid(other, None)?;
    Ok(ptrace::detach(other, None)?)
}

fn signal_another_process(place: &Place) -> io::Result<()> {
    Ok(kill(Pid::from_raw(place.bystander), None)?)
}

/// As for another namespace, and allowed to everybody.
fn unshare_what_threads_share(_: &Place) -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_FS)?)
}

fn ask_the_kernel_for_routes(_: &Place) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    Ok(socket.map(drop)?)
}

fn ring_where_none_is_wanted(_: &Place) -> io::Result<()> {
    let config = eyesplice_sys::uring::UringConfig::default();
    eyesplice_sys::uring::run(&config, async {}).map(drop)
}

fn die_with_a_core(_: &Place) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, hard, hard)?;
    std::process::abort();
}
