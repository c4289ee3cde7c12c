//! What every part of one stream shares: its worker's desk, its idle clock, its abort.

use crate::counters::WorkerCounters;
use crate::desk::Desk;
use crate::end::End;
use crate::liveness::{Loss, Mortal};
use crate::pool::Pools;
use crate::seam::{Phase, Reason, Side as Culprit, StreamBytes, StreamId, StreamLimits};
use eyesplice_proto::stream::{Actions, Event, Side, Stream};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// The shared part of one stream; lives on one worker.
pub(crate) struct StreamContext {
    id: StreamId,
    desk: Rc<Desk>,
    started: Instant,
    /// Where its legs are.
    life: Cell<Stream>,
    bytes_up: Cell<u64>,
    bytes_down: Cell<u64>,
    idle_timeout: Cell<Option<Duration>>,
    half_closed_timeout: Cell<Option<Duration>>,
    last_moved: Cell<Instant>,
    abort: Cell<Option<Reason>>,
    /// The peer whose death aborts it.
    lost: Cell<Option<Loss>>,
    draining: Cell<bool>,
    /// Of the stream's task, which alone waits for an abort or a drain.
    task: RefCell<Option<Waker>>,
}

impl StreamContext {
    pub(crate) fn new(id: StreamId, started: Instant, desk: Rc<Desk>) -> Rc<Self> {
        Rc::new(Self {
            id,
            desk,
            started,
            life: Cell::new(Stream::new()),
            bytes_up: Cell::new(0),
            bytes_down: Cell::new(0),
            idle_timeout: Cell::new(None),
            half_closed_timeout: Cell::new(None),
            last_moved: Cell::new(Instant::now()),
            abort: Cell::new(None),
            lost: Cell::new(None),
            draining: Cell::new(false),
            task: RefCell::default(),
        })
    }

    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    /// When it began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// What the streams of its worker share.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(crate) fn pools(&self) -> &Rc<Pools> {
        &self.desk.pools
    }

    pub(crate) fn counters(&self) -> &WorkerCounters {
        &self.desk.counters
    }

    /// Refuses the connection: it will be no stream.
    pub(crate) fn refuse(&self) {
        self.life.set(Stream::refused());
    }

    /// Reports what the legs met, and returns what is to be done about it.
    pub(crate) fn on(&self, event: Event) -> Actions {
        let mut life = self.life.get();
        let todo = life.on(event).unwrap_or_else(|illegal| {
            tracing::error!(stream = %self.id, "{illegal}; this is a bug");
            debug_assert!(false, "{illegal}");
            Actions::new()
        });
        self.life.set(life);
        todo
    }

    /// Puts the limits of an established stream in force.
    pub(crate) fn set_limits(&self, limits: &StreamLimits) {
        self.idle_timeout.set(limits.idle_timeout);
        self.half_closed_timeout.set(limits.half_closed_timeout);
        self.last_moved.set(Instant::now());
    }

    /// How long the open direction of a half-closed stream may bring nothing.
    pub(crate) fn half_closed_timeout(&self) -> Option<Duration> {
        self.half_closed_timeout.get()
    }

    /// Counts payload that was delivered to the other leg.
    pub(crate) fn moved(&self, from: Side, bytes: usize, spliced: bool) {
        let bytes = bytes as u64;
        let (own, all) = match from {
            Side::Downstream => (&self.bytes_up, &self.desk.counters.bytes_up),
            Side::Upstream => (&self.bytes_down, &self.desk.counters.bytes_down),
        };
        own.set(own.get() + bytes);
        all.add(bytes);
        let how = if spliced {
            &self.desk.counters.bytes_spliced
        } else {
            &self.desk.counters.bytes_copied
        };
        how.add(bytes);
        self.touch();
    }

    /// Payload of one leg that was delivered so far.
    pub(crate) fn delivered(&self, from: Side) -> u64 {
        match from {
            Side::Downstream => self.bytes_up.get(),
            Side::Upstream => self.bytes_down.get(),
        }
    }

    /// Payload delivered so far.
    pub(crate) fn bytes(&self) -> StreamBytes {
        StreamBytes {
            up: self.bytes_up.get(),
            down: self.bytes_down.get(),
        }
    }

    /// Starts the idle clock anew for what is no payload: a request, a reply.
    pub(crate) fn touch(&self) {
        if self.idle_timeout.get().is_some() {
            self.last_moved.set(Instant::now());
        }
    }

    /// Waits until the stream has moved nothing for its idle limit; for ever if it has none.
    pub(crate) async fn idle(&self) {
        loop {
            let Some(limit) = self.idle_timeout.get() else {
                return pending().await;
            };
            let deadline = self.last_moved.get() + limit;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline.into()).await;
        }
    }

    /// Ends the stream from outside of its task.
    pub(crate) fn abort(&self, reason: Reason) {
        if self.abort.get().is_none() {
            self.abort.set(Some(reason));
        }
        self.wake();
    }

    /// The peer whose death ended the stream.
    pub(crate) fn lost(&self) -> Option<Loss> {
        self.lost.get()
    }

    /// Waits for [`StreamContext::abort`]; for the stream's own task.
    pub(crate) async fn aborted(&self) -> Reason {
        poll_fn(|task| self.told(task, || self.abort.get())).await
    }

    /// Runs `work` unless the stream is aborted or moves nothing for too long; whatever drops it then
    /// cancels its operations.
    pub(crate) async fn until_aborted<T>(
        &self,
        phase: Phase,
        work: Pin<&mut impl Future<Output = Result<T, End>>>,
    ) -> Result<T, End> {
        tokio::select! {
            biased;
            result = work => result,
            reason = self.aborted() => Err(self.lost().map_or_else(
                || End::new(reason, Culprit::Local, phase),
                |loss| loss.at(phase),
            )),
            () = self.idle() => Err(End::new(Reason::Idle, Culprit::Local, phase)),
        }
    }

    /// Tells the stream that the process stops: what runs may go on, nothing new should begin.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    /// Whether [`StreamContext::drain`] was called.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Waits for [`StreamContext::drain`]; for the stream's own task.
    pub(crate) async fn draining(&self) {
        poll_fn(|task| self.told(task, || self.draining.get().then_some(()))).await;
    }

    /// Lets the stream's task look again at what it waits for with [`StreamContext::until`].
    pub(crate) fn nudge(&self) {
        self.wake();
    }

    /// Waits until something holds that changes only before a nudge; for the stream's own task.
    pub(crate) async fn until(&self, holds: impl Fn() -> bool) {
        poll_fn(|task| self.told(task, || holds().then_some(()))).await;
    }

    fn told<T>(&self, task: &mut Context<'_>, what: impl Fn() -> Option<T>) -> Poll<T> {
        if let Some(what) = what() {
            return Poll::Ready(what);
        }
        match &mut *self.task.borrow_mut() {
            Some(known) => known.clone_from(task.waker()),
            nobody => *nobody = Some(task.waker().clone()),
        }
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl Mortal for StreamContext {
    fn lose(&self, loss: Loss) {
        self.lost.set(Some(loss));
        self.abort(Reason::PeerLost);
    }
}
