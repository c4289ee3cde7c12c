//! What every part of one stream shares: its worker's desk, its idle clock, its abort.

use crate::agents::{Carried, Via};
use crate::counters::WorkerCounters;
use crate::desk::Desk;
use crate::end::End;
use crate::leg::Leg;
use crate::liveness::{Loss, Mortal};
use crate::pool::Pools;
use crate::seam::{Phase, Reason, Side as Culprit, StreamBytes, StreamId, StreamLimits};
use eyesplice_proto::stream::{Actions, Event, Side, Stream};
use eyesplice_sys::uring;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

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
    /// The agent that it runs through.
    via: RefCell<Option<Box<Via>>>,
    /// Counts it for the gateway that it came from, at an agent.
    carried: RefCell<Option<Carried>>,
    /// Of the stream's task, which alone waits for an abort or a drain.
    task: RefCell<Option<Waker>>,
    /// Ends it when its time has come.
    alarm: RefCell<Option<JoinHandle<()>>>,
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
            via: RefCell::default(),
            carried: RefCell::default(),
            task: RefCell::default(),
            alarm: RefCell::default(),
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

    /// The context of work for another stream than this one, under its number.
    pub(crate) fn aside(&self) -> Rc<Self> {
        Self::new(self.id, Instant::now(), Rc::clone(&self.desk))
    }

    /// Watches the peer of a leg from now on: its death ends the stream.
    pub(crate) fn watch(self: &Rc<Self>, leg: &Leg) {
        let stream = Rc::clone(self);
        let pulse = self.desk.sweep.pulse(stream, leg.fd(), leg.side().into());
        leg.set_pulse(pulse);
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

    /// Puts the idle limit in force of what is to come; none: it may take as long as it likes.
    pub(crate) fn set_idle(&self, limit: Option<Duration>) {
        self.idle_timeout.set(limit);
        self.touch();
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

    /// Starts the idle clock again for what is no payload: a request, a reply.
    pub(crate) fn touch(&self) {
        if self.idle_timeout.get().is_some() {
            self.last_moved.set(Instant::now());
        }
    }

    /// Waits until the stream has moved nothing for its idle limit; for ever if it has none.
    pub(crate) async fn idle(&self) {
        loop {
            // Who sets a limit is polled along with this.
            let limit = poll_fn(|_| match self.idle_timeout.get() {
                Some(limit) => Poll::Ready(limit),
                None => Poll::Pending,
            })
            .await;
            let deadline = self.last_moved.get() + limit;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline.into()).await;
        }
    }

    /// Ends the stream from outside of its task; says whether nothing had ended it so before.
    pub(crate) fn abort(&self, reason: Reason) -> bool {
        let is_first = self.abort.get().is_none();
        if is_first {
            self.abort.set(Some(reason));
        }
        self.wake();
        is_first
    }

    /// Whether [`StreamContext::abort`] was called.
    pub(crate) fn is_aborted(&self) -> bool {
        self.abort.get().is_some()
    }

    /// Ends it at a time, whatever moves then; `None`: it has no such end any more.
    pub(crate) fn end_at(self: &Rc<Self>, time: Option<SystemTime>) {
        let alarm = time.map(|time| {
            let left = time.duration_since(SystemTime::now()).unwrap_or_default();
            let stream = Rc::downgrade(self);
            uring::spawn(async move {
                sleep(left).await;
                if let Some(stream) = stream.upgrade() {
                    stream.abort(Reason::Expired);
                }
            })
        });
        if let Some(before) = self.alarm.replace(alarm) {
            before.abort();
        }
    }

    /// It runs through this agent from now on, or through none.
    pub(crate) fn set_via(&self, via: Option<Via>) {
        *self.via.borrow_mut() = via.map(Box::new);
    }

    /// Counts it among the streams of its agent for as long as it runs through that.
    pub(crate) fn keep_via(&self, carried: Carried) {
        if let Some(via) = &mut *self.via.borrow_mut() {
            via.carried = Some(carried);
        }
    }

    /// Lets `look` see the agent that it runs through.
    pub(crate) fn with_via<T>(&self, look: impl FnOnce(&Via) -> T) -> Option<T> {
        self.via.borrow().as_deref().map(look)
    }

    /// Counts it among the streams of its gateway for as long as it lasts.
    pub(crate) fn set_carried(&self, carried: Option<Carried>) {
        *self.carried.borrow_mut() = carried;
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

impl Drop for StreamContext {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            alarm.abort();
        }
    }
}

impl Mortal for StreamContext {
    fn lose(&self, loss: Loss) {
        self.lost.set(Some(loss));
        self.abort(Reason::PeerLost);
    }
}
