//! Clients and servers of idle streams: they open, and then hold nothing but their sockets.

use crate::identity::{Identity, Suite};
use crate::tunnel::{connect, patient, read_head};
use crate::{Attempt, Error, Result, child};
use clap::{Args, ValueEnum};
use eyesplice_sys::limits;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, Stream};
use socket2::Socket;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// Threads of either side: enough that the gateway is never idle while streams are opened.
const THREADS: usize = 8;

const REQUEST: &[u8] = b"POST /exec/default/web/main?command=sh&input=1&output=1 HTTP/1.1\r\n\
    Host: 127.0.0.1:10250\r\nUser-Agent: eyesplice-bench\r\nContent-Length: 0\r\n\
    Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";

const SWITCHED: &str = "HTTP/1.1 101 ";

const REPLY: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";

/// What the servers' process is told.
#[derive(Args, Clone, Debug)]
pub struct ServerSpec {
    /// Directory of the certificates.
    #[arg(long)]
    identity: PathBuf,
    /// The cipher suite.
    #[arg(long)]
    suite: Suite,
    /// Whether streams are TLS around an exec.
    #[arg(long)]
    tls: bool,
}

/// What the clients' process is told.
#[derive(Args, Clone, Debug)]
pub struct ClientSpec {
    /// What it shares with the servers.
    #[command(flatten)]
    common: ServerSpec,
    /// The gateway's socket.
    #[arg(long)]
    socket: PathBuf,
    /// Where the servers listen.
    #[arg(long)]
    target: SocketAddr,
    /// How many streams to open.
    #[arg(long)]
    count: usize,
}

pub(super) fn server_arguments(identity: &Path, suite: Suite, tls: bool) -> Vec<String> {
    let mut arguments = vec!["idle-servers".into()];
    arguments.extend(common(identity, suite, tls));
    arguments
}

pub(super) fn client_arguments(
    identity: &Path,
    socket: &Path,
    target: &str,
    suite: Suite,
    tls: bool,
    count: usize,
) -> Vec<String> {
    let mut arguments = vec![
        "idle-clients".into(),
        format!("--socket={}", socket.display()),
        format!("--target={target}"),
        format!("--count={count}"),
    ];
    arguments.extend(common(identity, suite, tls));
    arguments
}

fn common(identity: &Path, suite: Suite, tls: bool) -> impl Iterator<Item = String> {
    let suite = suite.to_possible_value();
    let suite = suite.map_or_else(String::new, |suite| suite.get_name().to_string());
    [
        Some(format!("--identity={}", identity.display())),
        Some(format!("--suite={suite}")),
        tls.then(|| "--tls".into()),
    ]
    .into_iter()
    .flatten()
}

/// Serves streams until the parent process has enough of it.
///
/// # Errors
/// If it cannot listen.
pub fn servers(spec: &ServerSpec) -> Result<()> {
    limits::raise_open_files().attempt("raise the limit of open files")?;
    let listener = TcpListener::bind("127.0.0.1:0").attempt("listen on loopback")?;
    let address = listener.local_addr().attempt("read the server's address")?;
    let tls = spec
        .tls
        .then(|| Identity::open(&spec.identity, spec.suite).server())
        .transpose()?;
    for _ in 0..THREADS {
        let listener = listener.try_clone().attempt("share the listener")?;
        let tls = tls.clone();
        thread::spawn(move || {
            let mut held = Vec::new();
            while let Ok((socket, _)) = listener.accept() {
                match serve(Socket::from(socket), tls.as_ref()) {
                    Ok(socket) => held.push(socket),
                    Err(error) => eprintln!("idle server: {error}"),
                }
            }
        });
    }
    child::say_ready(&address.to_string())?;
    child::until_dismissed()
}

fn serve(mut socket: Socket, tls: Option<&Arc<ServerConfig>>) -> Result<Socket> {
    patient(&socket)?;
    if let Some(config) = tls {
        let mut session = ServerConnection::new(Arc::clone(config))?;
        let mut stream = Stream::new(&mut session, &mut socket);
        read_head(&mut stream).attempt("read an exec")?;
        stream.write_all(REPLY).attempt("answer an exec")?;
    }
    Ok(socket)
}

/// Opens streams, says so, and holds them until the parent process has enough of it.
///
/// # Errors
/// If a stream cannot be opened.
pub fn clients(spec: &ClientSpec) -> Result<()> {
    limits::raise_open_files().attempt("raise the limit of open files")?;
    let tls = spec
        .common
        .tls
        .then(|| Identity::open(&spec.common.identity, spec.common.suite).client())
        .transpose()?;
    let threads: Vec<_> = (0..THREADS)
        .map(|index| {
            let (spec, tls) = (spec.clone(), tls.clone());
            let share = (spec.count + index) / THREADS;
            thread::spawn(move || {
                (0..share)
                    .map(|_| open(&spec, tls.as_ref()))
                    .collect::<Result<Vec<_>>>()
            })
        })
        .collect();
    let mut held = Vec::new();
    for opened in threads {
        held.extend(opened.join().map_err(|_| Error::Ended("client"))??);
    }
    child::say_ready("")?;
    child::until_dismissed()
}

fn open(spec: &ClientSpec, tls: Option<&Arc<ClientConfig>>) -> Result<Socket> {
    let mut socket = connect(&spec.socket, spec.target)?;
    if let Some(config) = tls {
        let mut session = ClientConnection::new(Arc::clone(config), Identity::name())?;
        let mut stream = Stream::new(&mut session, &mut socket);
        stream.write_all(REQUEST).attempt("ask for an exec")?;
        let answer = read_head(&mut stream).attempt("read the answer to an exec")?;
        if !answer.starts_with(SWITCHED) {
            return Err(Error::Answer {
                who: "gateway",
                answer,
                expected: SWITCHED,
            });
        }
    }
    Ok(socket)
}
