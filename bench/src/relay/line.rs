//! A line between two network namespaces: a TUN device in each, and two threads that carry packets.

use super::direction::Direction;
use super::queue::Queue;
use super::space::{Space, ip};
use super::{LineOptions, losses};
use crate::{Attempt, Error, Result};
use eyesplice_proto::causes::chain;
use socket2::{Domain, Socket, Type};
use std::io::{PipeReader, PipeWriter};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tun_rs::{DeviceBuilder, SyncDevice};

/// As on Ethernet, so that windows and segments are those of a network and not of loopback.
const MTU: u16 = 1500;

/// Packets that the kernel holds for us until we read them; 64 KiB each at most.
const BACKLOG: u32 = 1000;

/// Connections that wait to be accepted: as tokio has it.
const PENDING: i32 = 1024;

/// Lines that this process has laid.
static LAID: AtomicU32 = AtomicU32::new(0);

/// A line that is up; gone when dropped.
#[derive(Debug)]
pub(crate) struct Line {
    near: Ipv4Addr,
    far: Ipv4Addr,
    /// Names of the devices.
    names: [String; 2],
    lost: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
    /// Ends the threads when it is closed.
    stop: Option<PipeWriter>,
    space: Space,
}

impl Line {
    /// Lays a line from this thread's network namespace to a new one.
    pub(crate) fn lay(options: &LineOptions) -> Result<Self> {
        let [near, far] = addresses();
        let space = Space::new()?;
        let (near_device, near_name) = device(near, far)?;
        let (far_device, far_name) = space.run(move || device(far, near))?;
        let (stop, stopped) = pipe()?;
        let lost = Arc::new(AtomicU64::new(0));
        let delay = options.delay.unwrap_or(Duration::ZERO) / 2;
        let mut threads = Vec::new();
        for (from, to) in [(&near_device, &far_device), (&far_device, &near_device)] {
            let direction = Direction {
                from: Arc::clone(from),
                to: Arc::clone(to),
                queue: Queue::new(delay, options.bandwidth, options.window()),
                lost: Arc::clone(&lost),
                stop: stopped.try_clone().attempt("share a pipe")?,
            };
            let thread = std::thread::Builder::new()
                .name("delayed line".into())
                .spawn(move || direction.run())
                .attempt("start a thread for a delayed line")?;
            threads.push(thread);
        }
        Ok(Self {
            near,
            far,
            names: [near_name, far_name],
            lost,
            threads,
            stop: Some(stop),
            space,
        })
    }

    /// The address of this side.
    pub(crate) fn near(&self) -> Ipv4Addr {
        self.near
    }

    /// The address of the other side.
    pub(crate) fn far(&self) -> Ipv4Addr {
        self.far
    }

    /// Does something on the other side.
    pub(crate) fn beyond<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.space.run(job)
    }

    /// Listens on the other side.
    pub(crate) fn listen(&self, port: u16) -> Result<TcpListener> {
        let address = SocketAddr::from((self.far, port));
        self.beyond(move || listener(address).attempt(format!("listen on {address}")))
    }

    /// Packets that were lost so far, in either direction, by us or by the devices.
    ///
    /// # Errors
    /// If the devices' counters cannot be read, or a direction has failed.
    pub(crate) fn lost(&self) -> Result<u64> {
        if self.threads.iter().any(JoinHandle::is_finished) {
            return Err(Error::Ended("delayed line"));
        }
        let [near, far] = self.names.clone();
        let devices = losses::of(&near)? + self.beyond(move || losses::of(&far))?;
        Ok(self.lost.load(Ordering::Relaxed) + devices)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            if let Ok(Err(error)) = thread.join() {
                eprintln!("the delayed line failed: {}", chain(&error));
            }
        }
    }
}

/// A listener of this thread's namespace, for tokio.
pub(crate) fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(PENDING)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn pipe() -> Result<(PipeWriter, PipeReader)> {
    let (reader, writer) = std::io::pipe().attempt("make a pipe")?;
    Ok((writer, reader))
}

/// A pair of addresses of RFC 2544's network for benchmarks that no other line of this machine has, as
/// far as process ids tell.
fn addresses() -> [Ipv4Addr; 2] {
    const NETWORK: u32 = u32::from_be_bytes([198, 18, 0, 0]);
    let laid = LAID.fetch_add(1, Ordering::Relaxed) % 64;
    let pair = std::process::id() % 512 * 64 + laid;
    [1, 2].map(|host| Ipv4Addr::from(NETWORK + pair * 4 + host))
}

/// A device of this thread's namespace.
fn device(own: Ipv4Addr, other: Ipv4Addr) -> Result<(Arc<SyncDevice>, String)> {
    // The kernel's large segments are carried whole, with their virtio header before them.
    let device = DeviceBuilder::new()
        .mtu(MTU)
        .tx_queue_len(BACKLOG)
        .offload(true)
        .build_sync()
        .attempt("make a TUN device, which needs root and /dev/net/tun")?;
    device
        .set_nonblocking(true)
        .attempt("read a TUN device without waiting")?;
    let name = device.name().attempt("read a TUN device's name")?;
    let [own, other] = [own, other].map(|address| format!("{address}/32"));
    ip(&["address", "add", &own, "peer", &other, "dev", &name])?;
    ip(&["link", "set", &name, "up"])?;
    Ok((Arc::new(device), name))
}
