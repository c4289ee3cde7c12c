//! Runs one io_uring per thread: ops that own what the kernel touches.
//!
//! This is the only place that knows io_uring. It is written on tokio-uring, of which only the
//! runtime and its single-completion submission are used. Where a sandbox denies io_uring, epoll
//! does the same work behind the same functions ([`Backend`]).
//!
//! # How to use an op
//!
//! A function such as [`poll`] queues the op at once and returns an [`Op`], a future that is
//! `Unpin` and `'static`. While the kernel works on it the op owns a clone of its [`Fd`], so that
//! the number cannot be reused.
//!
//! An op can be asked to stop ([`Op::cancel`], exactly this op and no other on the same descriptor)
//! and then completes, usually with `ECANCELED` ([`is_cancelled`]). [`until`] does that at a
//! deadline. **Dropping** an op in flight cancels it too; what it owned is freed when its completion
//! arrived. No op here moves bytes, so that loses nothing: all may be dropped, raced in `select!` and
//! put under a `timeout`.
//!
//! The shape of I/O is a one-shot [`poll`] and then inline calls from
//! [`crate::socket`] and [`crate::splice`] until they say `WouldBlock`. Where messages are small and
//! come again and again, a [`Watch`] spares the poll for each of them. A future that loops over
//! `yield_now` starves the ring: what waits must wait on an op or a timer.

mod accept;
mod epoll;
mod fd;
mod flight;
mod op;
mod poll;
mod ring;
mod run;
mod wait;
mod watch;

pub use accept::accept;
pub use fd::Fd;
pub use op::{Op, is_cancelled, ops_in_flight, watch_ops};
pub use poll::{Interest, Readiness, poll};
pub(crate) use run::attempt;
pub use run::{Backend, Finished, UringConfig, drained, run, spawn};
pub use wait::until;
pub use watch::Watch;

#[cfg(test)]
mod tests;
