//! Dials a target: all its addresses in order, staggered, first connection wins (RFC 8305).

use crate::context::StreamContext;
use crate::end::{End, exhausted};
use crate::limits::ATTEMPT_DELAY;
use crate::seam::{Phase, Reason, Side};
use eyesplice_sys::socket;
use eyesplice_sys::uring::{self, Fd, Interest, Op, Readiness};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// A connected socket and where it leads.
pub(crate) struct Dialled {
    pub(crate) fd: Fd,
    pub(crate) address: SocketAddr,
}

struct Attempt {
    fd: Fd,
    address: SocketAddr,
    writable: Op<io::Result<Readiness>>,
}

impl Attempt {
    /// How it ended, once it has.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writable)
            .poll(task)
            .map(|writable| writable.and_then(|_| socket::connected(self.fd.as_fd())))
    }
}

/// Connects to the first of `addresses` that answers within `timeout`.
pub(crate) async fn dial(
    cx: &StreamContext,
    addresses: &[SocketAddr],
    timeout: Duration,
) -> Result<Dialled, End> {
    cx.counters().dials.inc();
    let result = race(addresses, timeout).await;
    match result {
        Ok(dialled) => {
            // Its other options wait until it is watched. Without this one it works too.
            let _ = socket::nodelay(dialled.fd.as_fd());
            Ok(dialled)
        }
        Err(failure) => {
            cx.counters().dial_failures.inc();
            if failure.reason == Reason::Exhausted {
                cx.counters().exhausted.inc();
                // What no stream uses makes room for the next.
                cx.desk().spares.shrink(0);
            }
            Err(failure)
        }
    }
}

/// Connects to a UNIX socket, which answers within the call.
pub(super) fn dial_unix(cx: &StreamContext, path: &Path) -> Result<Fd, End> {
    cx.counters().dials.inc();
    socket::connect_unix(path).map(Fd::from).map_err(|error| {
        cx.counters().dial_failures.inc();
        let at = path.display();
        let failure = End::new(Reason::DialFailed, Side::Upstream, Phase::Dial);
        failure.status(503).detail(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no socket {at}; is the proxy running?"),
            io::ErrorKind::ConnectionRefused => {
                format!("nobody listens at {at}; is the proxy running?")
            }
            io::ErrorKind::WouldBlock => format!("too many connections wait at {at}"),
            _ => format!("cannot connect to {at}: {error}"),
        })
    })
}

async fn race(addresses: &[SocketAddr], timeout: Duration) -> Result<Dialled, End> {
    let start = Instant::now();
    let mut end = pin!(sleep_until((start + timeout).into()));
    let mut stagger = pin!(sleep_until(start.into()));
    let mut left = addresses.iter().copied().peekable();
    let mut attempts: SmallVec<[Attempt; 2]> = SmallVec::new();
    let mut last_error: Option<(SocketAddr, io::Error)> = None;
    // Attempts that lose are dropped, which cancels them.
    poll_fn(|task| {
        loop {
            let mut index = 0;
            while let Some(attempt) = attempts.get_mut(index) {
                match attempt.poll(task) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Ok(())) => {
                        let won = attempts.swap_remove(index);
                        return Poll::Ready(Ok(Dialled {
                            fd: won.fd,
                            address: won.address,
                        }));
                    }
                    Poll::Ready(Err(error)) => {
                        let lost = attempts.swap_remove(index);
                        last_error = Some((lost.address, error));
                        stagger.as_mut().reset(Instant::now().into());
                    }
                }
            }
            if end.as_mut().poll(task).is_ready() {
                return Poll::Ready(Err(timed_out(addresses, timeout)));
            }
            if left.peek().is_none() {
                return match attempts.is_empty() {
                    true => Poll::Ready(Err(failed(addresses, last_error.take()))),
                    false => Poll::Pending,
                };
            }
            // A timer that is due fires with the runtime's next millisecond, so the clock is asked first.
            let later = stagger.deadline().into_std() > Instant::now();
            if later && stagger.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            let Some(address) = left.next() else { continue };
            match socket::connect(address) {
                Ok(begun) => {
                    let fd = Fd::from(begun.fd);
                    if begun.done {
                        return Poll::Ready(Ok(Dialled { fd, address }));
                    }
                    let writable = uring::poll(&fd, Interest::WRITE);
                    attempts.push(Attempt {
                        fd,
                        address,
                        writable,
                    });
                    stagger
                        .as_mut()
                        .reset((Instant::now() + ATTEMPT_DELAY).into());
                }
                Err(error) => {
                    last_error = Some((address, error));
                    stagger.as_mut().reset(Instant::now().into());
                }
            }
        }
    })
    .await
}

fn timed_out(addresses: &[SocketAddr], timeout: Duration) -> End {
    let target = first(addresses);
    End::new(Reason::Timeout, Side::Upstream, Phase::Dial).status(504).detail(format!(
        "{target} did not answer within {} ms; check routes, firewalls and NetworkPolicies between \
         this gateway and the target",
        timeout.as_millis()
    ))
}

fn failed(addresses: &[SocketAddr], last: Option<(SocketAddr, io::Error)>) -> End {
    let failure = End::new(Reason::DialFailed, Side::Upstream, Phase::Dial);
    let Some((address, error)) = last else {
        return failure
            .status(503)
            .detail(format!("no address to dial for {}", first(addresses)));
    };
    if exhausted(&error) {
        return End::new(Reason::Exhausted, Side::Local, Phase::Dial)
            .status(503)
            .detail(format!(
                "gateway is out of resources: {error}; raise LimitNOFILE or add gateways"
            ));
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => failure.status(502).detail(format!(
            "{address} refused the connection; is anything listening on that port?"
        )),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            failure.status(503).detail(format!(
                "no route from this gateway to {address}; check routes and the node's state"
            ))
        }
        io::ErrorKind::TimedOut => End::new(Reason::Timeout, Side::Upstream, Phase::Dial)
            .status(504)
            .detail(format!(
                "{address} did not answer; check firewalls and the node's state"
            )),
        // A firewall of this machine, say: it is not the target that spoke.
        _ => End::new(Reason::DialFailed, Side::Local, Phase::Dial)
            .status(502)
            .detail(format!("cannot connect to {address}: {error}")),
    }
}

fn first(addresses: &[SocketAddr]) -> String {
    addresses
        .first()
        .map_or_else(|| "the target".into(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_sys::uring::UringConfig;
    use std::net::TcpListener;
    use std::task::{Context, Waker};

    #[test]
    fn first_attempt_begins_with_the_first_poll() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [listener.local_addr().unwrap()];
        let finished = uring::run(&UringConfig::default(), async {
            let mut racing = pin!(race(&addresses, Duration::from_secs(20)));
            let mut once = Context::from_waker(Waker::noop());
            let first = racing.as_mut().poll(&mut once);
            let begun = uring::ops_in_flight();
            assert!(first.is_ready() || begun == 1, "{begun} operations");
            if first.is_pending() {
                assert_eq!(racing.await.unwrap().address, addresses[0]);
            }
        });
        assert_eq!(finished.unwrap().stray_ops, 0);
    }

    #[test]
    fn failure_of_a_dial_says_what_to_look_at() {
        let address: SocketAddr = "10.0.0.7:10250".parse().unwrap();
        /// Of errno(3), on every architecture of Linux.
        const EMFILE: i32 = 24;
        let of = |error: io::Error| failed(&[address], Some((address, error)));
        let silent = timed_out(&[address], Duration::from_secs(5));
        for (end, status, reason, words) in [
            (
                silent,
                504,
                Reason::Timeout,
                "10.0.0.7:10250 did not answer within 5000 ms; check routes, firewalls",
            ),
            (
                of(io::ErrorKind::ConnectionRefused.into()),
                502,
                Reason::DialFailed,
                "10.0.0.7:10250 refused the connection; is anything listening on that port?",
            ),
            (
                of(io::ErrorKind::HostUnreachable.into()),
                503,
                Reason::DialFailed,
                "no route from this gateway to 10.0.0.7:10250; check routes and the node's state",
            ),
            (
                of(io::ErrorKind::TimedOut.into()),
                504,
                Reason::Timeout,
                "10.0.0.7:10250 did not answer; check firewalls",
            ),
            (
                of(io::Error::from_raw_os_error(EMFILE)),
                503,
                Reason::Exhausted,
                "gateway is out of resources: ",
            ),
        ] {
            assert_eq!((end.status, end.reason), (Some(status), reason), "{words}");
            let detail = end.detail.unwrap();
            assert!(detail.starts_with(words), "{detail}");
        }
    }

    #[test]
    fn next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [gone.local_addr().unwrap(), listener.local_addr().unwrap()];
        drop(gone);
        let finished = uring::run(&UringConfig::default(), async {
            race(&addresses, Duration::from_secs(20))
                .await
                .unwrap()
                .address
        });
        assert_eq!(finished.unwrap().output, addresses[1]);
    }
}
