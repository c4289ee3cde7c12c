//! One worker's buffers and pipes: lent to streams that move bytes, taken back when they wait.

use crate::counters::WorkerCounters;
use crate::limits::{BUFFER, BUFFERS_KEPT, PIPE, PIPE_MIN};
use eyesplice_sys::buffer::AlignedBuf;
use eyesplice_sys::pipe::Pipe;
use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

/// The pools of a worker.
pub(crate) struct Pools {
    buffers: RefCell<Vec<AlignedBuf>>,
    pipes: RefCell<Vec<Pipe>>,
    pipes_open: Cell<usize>,
    max_pipes: usize,
    counters: Arc<WorkerCounters>,
}

impl Pools {
    pub(crate) fn new(max_pipes: usize, counters: Arc<WorkerCounters>) -> Rc<Self> {
        Rc::new(Self {
            buffers: RefCell::default(),
            pipes: RefCell::default(),
            pipes_open: Cell::new(0),
            max_pipes,
            counters,
        })
    }

    /// Lends a buffer of [`BUFFER`] bytes. Streams are bounded, and each holds at most two per
    /// direction, so buffers are too.
    pub(crate) fn buffer(self: &Rc<Self>) -> Buffer {
        let kept = self.buffers.borrow_mut().pop();
        let inner = kept.unwrap_or_else(|| {
            self.counters.buffers_open.inc();
            AlignedBuf::new(BUFFER)
        });
        self.counters.buffers_in_use.inc();
        Buffer {
            inner: Some(inner),
            pools: Rc::clone(self),
        }
    }

    /// Lends an empty pipe, unless all are lent or the kernel gives none of useful size.
    pub(crate) fn pipe(self: &Rc<Self>) -> Option<LentPipe> {
        let kept = self.pipes.borrow_mut().pop();
        let inner = match kept {
            Some(pipe) => pipe,
            None if self.pipes_open.get() >= self.max_pipes => {
                self.counters.pipe_shortages.inc();
                return None;
            }
            None => match Pipe::new(PIPE).map(useful) {
                Ok(Some(pipe)) => {
                    self.pipes_open.set(self.pipes_open.get() + 1);
                    self.counters.pipes_open.inc();
                    pipe
                }
                // Out of descriptors, or of what pipe-user-pages-soft allows this user.
                Ok(None) | Err(_) => {
                    self.counters.pipe_shortages.inc();
                    return None;
                }
            },
        };
        self.counters.pipes_in_use.inc();
        Some(LentPipe {
            inner: Some(inner),
            filled: 0,
            pools: Rc::clone(self),
        })
    }

    /// Frees everything that is not lent.
    pub(crate) fn clear(&self) {
        let buffers = std::mem::take(&mut *self.buffers.borrow_mut());
        for _ in &buffers {
            self.counters.buffers_open.dec();
        }
        let pipes = std::mem::take(&mut *self.pipes.borrow_mut());
        for _ in &pipes {
            self.counters.pipes_open.dec();
        }
        self.pipes_open.set(self.pipes_open.get() - pipes.len());
    }
}

/// Beyond its share of pipe memory a user gets pipes of two pages, with which copying is faster.
fn useful(pipe: Pipe) -> Option<Pipe> {
    (pipe.capacity() >= PIPE_MIN).then_some(pipe)
}

/// A lent buffer; returns to its pool when dropped.
pub(crate) struct Buffer {
    inner: Option<AlignedBuf>,
    pools: Rc<Pools>,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.inner.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.inner.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        let counters = &self.pools.counters;
        counters.buffers_in_use.dec();
        let mut kept = self.pools.buffers.borrow_mut();
        if kept.len() < BUFFERS_KEPT {
            kept.push(inner);
        } else {
            counters.buffers_open.dec();
        }
    }
}

/// A lent pipe. It returns to its pool when dropped empty; bytes of one stream must never reach
/// another, so a pipe that still holds some is closed instead.
pub(crate) struct LentPipe {
    inner: Option<Pipe>,
    /// Bytes in the pipe.
    pub(crate) filled: usize,
    pools: Rc<Pools>,
}

impl LentPipe {
    pub(crate) fn pipe(&self) -> Option<&Pipe> {
        self.inner.as_ref()
    }
}

impl Drop for LentPipe {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        let pools = &self.pools;
        pools.counters.pipes_in_use.dec();
        if self.filled == 0 {
            pools.pipes.borrow_mut().push(inner);
        } else {
            pools.pipes_open.set(pools.pipes_open.get() - 1);
            pools.counters.pipes_open.dec();
        }
    }
}
