//! The least that a splicing proxy on this runtime can do: per direction one pipe, splice in, splice
//! out, and a one-shot POLL_ADD when a socket has nothing or takes nothing. No limits, no deadlines,
//! no counters, no record of what happened.

use super::Door;
use super::preamble::{ESTABLISHED, HEAD, target};
use crate::{Attempt, Result};
use eyesplice_sys::pipe::Pipe;
use eyesplice_sys::splice;
use io_uring::opcode::PollAdd;
use io_uring::types::Fd;
use socket2::{Domain, Socket};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;
use tokio::time::sleep;
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

/// Bytes of a pipe, as in the engine.
const PIPE: usize = 1 << 20;

/// Before it accepts again, where it could not.
const REFUSED: Duration = Duration::from_millis(10);

/// Starts the proxy on a thread of its own.
///
/// # Errors
/// If it cannot listen or start a thread.
pub fn start(door: &Door) -> Result<()> {
    let listener = match door {
        Door::Unix(path) => UnixListener::bind(path).map(Socket::from),
        Door::Tcp(address) => TcpListener::bind(address).map(Socket::from),
    };
    let listener = listener.attempt("listen for the bare loop")?;
    listener
        .set_nonblocking(true)
        .attempt("set the listener non-blocking")?;
    thread::Builder::new()
        .name("bare".into())
        .spawn(move || serve(&listener))
        .attempt("start the bare loop")?;
    Ok(())
}

fn serve(listener: &Socket) {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun()
        .setup_single_issuer()
        .setup_cqsize(4096);
    let mut builder = tokio_uring::builder();
    builder.entries(256).uring_builder(&ring);
    builder.start(async {
        loop {
            match listener.accept() {
                Ok((downstream, _)) => drop(tokio_uring::spawn(async move {
                    if let Err(error) = stream(downstream).await {
                        eprintln!("bare splice loop: {error}");
                    }
                })),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready(listener, libc_poll::IN).await;
                }
                // Its streams have used up the descriptors: those that end give some back.
                Err(error) => {
                    eprintln!("bare splice loop: cannot accept: {error}");
                    sleep(REFUSED).await;
                }
            }
        }
    });
}

async fn stream(mut downstream: Socket) -> io::Result<()> {
    downstream.set_nonblocking(true)?;
    if downstream.domain()? != Domain::UNIX {
        downstream.set_tcp_nodelay(true)?;
    }
    ready(&downstream, libc_poll::IN).await;
    let mut head = [0; HEAD];
    let read = downstream.read(&mut head)?;
    // On loopback this does not wait.
    let upstream = TcpStream::connect(target(&head[..read])?)?;
    upstream.set_nonblocking(true)?;
    upstream.set_nodelay(true)?;
    downstream.write_all(ESTABLISHED)?;
    let upstream = Socket::from(upstream);
    tokio::try_join!(
        direction(&downstream, &upstream),
        direction(&upstream, &downstream)
    )?;
    Ok(())
}

async fn direction(from: &Socket, to: &Socket) -> io::Result<()> {
    let pipe = Pipe::new(PIPE)?;
    if pipe.capacity() < PIPE {
        eprintln!(
            "bare splice loop: this user's pipes are used up (fs.pipe-user-pages-soft), so the \
             baseline is slower than it should be"
        );
    }
    loop {
        let mut held = match splice::from_socket(from.as_fd(), &pipe, PIPE) {
            Ok(0) => break,
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready(from, libc_poll::IN | libc_poll::RDHUP).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        while held > 0 {
            match splice::to_socket(&pipe, to.as_fd(), held) {
                Ok(moved) => held -= moved,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready(to, libc_poll::OUT).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
    to.shutdown(Shutdown::Write)
}

/// Event bits of poll(2) as IORING_OP_POLL_ADD takes them.
mod libc_poll {
    pub(super) const IN: u32 = 0x1;
    pub(super) const OUT: u32 = 0x4;
    pub(super) const RDHUP: u32 = 0x2000;
}

struct Nothing;

impl OneshotOutputTransform for Nothing {
    type Output = ();
    type StoredData = ();

    fn transform_oneshot_output(self, (): (), _: io_uring::cqueue::Entry) {}
}

async fn ready(fd: &impl AsRawFd, events: u32) {
    let sqe = PollAdd::new(Fd(fd.as_raw_fd()), events).build();
    UnsubmittedOneshot::new((), Nothing, sqe).submit().await;
}
