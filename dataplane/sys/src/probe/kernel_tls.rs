//! Finds out which kernel TLS works here, over a connection to itself.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Capability, Direction, Finding, State, optional};
use crate::ktls::{Cipher, InstallError, Keys, Obstacle, Version, install_rx, install_tx, set_ulp};

/// How long a byte may take over loopback.
const PATIENCE: Duration = Duration::from_secs(1);

/// Secrets for a connection that carries one byte of no meaning.
const KEY: [u8; 32] = [0x5a; 32];
const IV: [u8; 12] = [0xa5; 12];

pub(super) fn probe() -> Vec<Finding> {
    let mut findings = Vec::new();
    for version in Version::ALL {
        for cipher in Cipher::ALL {
            let (send, receive) = suite(version, cipher);
            let finding = |direction, state| {
                optional(
                    Capability::KernelTls {
                        version,
                        cipher,
                        direction,
                    },
                    state,
                )
            };
            findings.push(finding(Direction::Send, send));
            findings.push(finding(Direction::Receive, receive));
        }
    }
    let works = |finding: &Finding| {
        finding.present() && matches!(finding.capability, Capability::KernelTls { .. })
    };
    let poll = match findings
        .iter()
        .find(|finding| works(finding))
        .map(|f| f.capability)
    {
        Some(Capability::KernelTls {
            version, cipher, ..
        }) => record_poll(version, cipher)
            .unwrap_or_else(|error| failed("poll half a record", &error)),
        _ => State::missing("no kernel TLS works", None),
    };
    findings.push(optional(Capability::KernelTlsRecordPoll, poll));
    findings
}

/// Sends one byte from kernel TLS to kernel TLS; returns the states of sending and receiving.
fn suite(version: Version, cipher: Cipher) -> (State, State) {
    let (sender, receiver) = match pair() {
        Ok(pair) => pair,
        Err(error) => {
            let state = failed("connect to itself over loopback", &error);
            return (state.clone(), state);
        }
    };
    let keys = keys(version, cipher);
    let send = set_ulp(sender.as_fd()).and_then(|()| install_tx(sender.as_fd(), &keys));
    let receive = set_ulp(receiver.as_fd()).and_then(|()| install_rx(receiver.as_fd(), &keys));
    match (&send, &receive) {
        (Ok(()), Ok(())) => match one_byte(&sender, &receiver) {
            Ok(()) => (State::Present, State::Present),
            Err(error) => {
                let state = failed("send one byte to itself", &error);
                (state.clone(), state)
            }
        },
        _ => (installed(&send), installed(&receive)),
    }
}

fn keys(version: Version, cipher: Cipher) -> Keys {
    Keys::new(version, cipher, &KEY[..cipher.key_len()], &IV, 0).expect("the cipher's length")
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))?;
    let address: SocketAddr = listener.local_addr()?;
    let one = TcpStream::connect_timeout(&address, PATIENCE)?;
    let (other, _) = listener.accept()?;
    for stream in [&one, &other] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
    }
    Ok((one, other))
}

fn one_byte(mut sender: &TcpStream, mut receiver: &TcpStream) -> io::Result<()> {
    let mut byte = [0];
    sender.write_all(b"x")?;
    receiver.read_exact(&mut byte)?;
    if byte == *b"x" {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Finds out whether half a record makes a socket readable.
fn record_poll(version: Version, cipher: Cipher) -> io::Result<State> {
    let (mut peer, receiver) = pair()?;
    set_ulp(receiver.as_fd()).map_err(io::Error::other)?;
    peer.write_all(&[23])?;
    if !readable(&receiver, PATIENCE)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    install_rx(receiver.as_fd(), &keys(version, cipher)).map_err(io::Error::other)?;
    Ok(if readable(&receiver, Duration::ZERO)? {
        State::missing(
            "half a record makes a socket readable; the low-water mark is used instead",
            None,
        )
    } else {
        State::Present
    })
}

fn readable(socket: &TcpStream, patience: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut fds, timeout)? > 0)
}

fn failed(attempt: &str, error: &io::Error) -> State {
    State::missing(format!("cannot {attempt}: {error}"), None)
}

fn installed(outcome: &Result<(), InstallError>) -> State {
    let Err(error) = outcome else {
        return State::Present;
    };
    let why = match error.obstacle {
        Obstacle::Other => format!("cannot {}: {}", error.step, error.source),
        obstacle => obstacle.to_string(),
    };
    State::missing(why, error.obstacle.remedy())
}
