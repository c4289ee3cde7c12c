//! Sends and receives the pattern, in frames or without, and checks all that arrives.

use super::frame::HEADER;
use super::{Content, Frame, Record, hello};
use crate::{Attempt, Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Up to here header and payload leave in one write; above it payload is not copied first.
const ONE_WRITE: usize = 64 * 1024;

/// Most bytes of one write.
const WRITE: u64 = 256 * 1024;

/// What one side of a stream shares with the other streams of its kind.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Who this is, for errors.
    pub(crate) name: &'static str,
    /// The pattern.
    pub(crate) content: Arc<Content>,
    /// Bytes so far, of all streams: payload, and the headers of frames.
    pub(crate) moved: Arc<AtomicU64>,
}

impl Side {
    /// A side that has moved nothing yet.
    pub(crate) fn new(name: &'static str, content: Arc<Content>) -> Self {
        Self {
            name,
            content,
            moved: Arc::default(),
        }
    }

    fn count(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The half of a stream that sends.
#[derive(Debug)]
pub(crate) struct Outgoing<W> {
    io: W,
    side: Side,
    offset: u64,
    sent: u64,
    queued: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Outgoing<W> {
    /// Sends from `offset` of the pattern on.
    pub(crate) fn new(io: W, side: Side, offset: u64) -> Self {
        Self {
            io,
            side,
            offset,
            sent: 0,
            queued: Vec::new(),
        }
    }

    /// From here on sends what is at `offset`.
    pub(crate) fn begin(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Payload bytes sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Puts text in front of what is sent next.
    pub(crate) fn queue(&mut self, text: &str) {
        self.queued.extend_from_slice(text.as_bytes());
    }

    /// Sends a frame.
    pub(crate) async fn frame(&mut self, frame: Frame) -> Result<()> {
        self.queued.extend_from_slice(&frame.encode());
        self.side.count(HEADER);
        self.payload(frame.len).await
    }

    /// Sends the next `len` bytes of the pattern.
    pub(crate) async fn payload(&mut self, len: u32) -> Result<()> {
        let mut rest = u64::from(len);
        if self.queued.len() + len as usize <= ONE_WRITE {
            while rest > 0 {
                let piece = self.side.content.at(self.offset, rest);
                self.queued.extend_from_slice(piece);
                self.offset += piece.len() as u64;
                rest -= piece.len() as u64;
            }
        }
        self.io.write_all(&self.queued).await.attempt(SEND)?;
        self.queued.clear();
        while rest > 0 {
            let piece = self.side.content.at(self.offset, rest.min(WRITE));
            self.io.write_all(piece).await.attempt(SEND)?;
            self.offset += piece.len() as u64;
            rest -= piece.len() as u64;
        }
        self.io.flush().await.attempt(SEND)?;
        self.sent += u64::from(len);
        self.side.count(len as usize);
        Ok(())
    }

    /// Ends this direction.
    pub(crate) async fn close(&mut self) -> Result<()> {
        self.io.shutdown().await.attempt("close a stream")
    }
}

const SEND: &str = "send payload";

/// The half of a stream that receives. Its futures may be dropped at any time: what was received
/// stays.
#[derive(Debug)]
pub(crate) struct Incoming<R> {
    io: R,
    side: Side,
    offset: u64,
    received: u64,
    buffer: Vec<u8>,
    unread: std::ops::Range<usize>,
    /// A frame of which payload is missing, and how much.
    open: Option<(Frame, u32)>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Expects what is at `offset` of the pattern, through a buffer of `capacity` bytes.
    pub(crate) fn new(io: R, side: Side, offset: u64, capacity: usize) -> Self {
        Self {
            io,
            side,
            offset,
            received: 0,
            buffer: vec![0; capacity.max(HEADER)],
            unread: 0..0,
            open: None,
        }
    }

    /// Payload bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// From here on the bytes are those at `offset`.
    pub(crate) fn expect(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Changes the size of the buffer.
    pub(crate) fn resize(&mut self, capacity: usize) {
        self.compact();
        self.buffer
            .resize(capacity.max(HEADER).max(self.unread.end), 0);
    }

    /// Receives a frame and all of its payload; none at a clean end between two frames.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>> {
        if self.open.is_none() {
            match self.header().await? {
                Some(frame) => self.open = Some((frame, frame.len)),
                None => return Ok(None),
            }
        }
        while let Some((frame, rest)) = self.open {
            if rest == 0 {
                self.open = None;
                return Ok(Some(frame));
            }
            let got = self.some(rest).await?;
            self.open = Some((frame, rest - got));
        }
        Ok(None)
    }

    /// Receives exactly `len` bytes of payload.
    pub(crate) async fn payload(&mut self, len: u32) -> Result<()> {
        let mut rest = len;
        while rest > 0 {
            rest -= self.some(rest).await?;
        }
        Ok(())
    }

    /// Receives up to a message of `len` bytes; false at a clean end before its first byte.
    pub(crate) async fn message(&mut self, len: u32) -> Result<bool> {
        if self.unread.is_empty() && self.fill().await? == 0 {
            return Ok(false);
        }
        self.payload(len).await?;
        Ok(true)
    }

    /// Receives the end, and nothing before it. All bytes were counted by then, so an end without a
    /// close_notify, or a reset, is one too: OpenSSL's proxies often close so.
    pub(crate) async fn end(&mut self) -> Result<()> {
        if self.unread.is_empty() && self.fill().await.unwrap_or(0) == 0 {
            return Ok(());
        }
        Err(Error::Bytes {
            side: self.side.name,
            received: self.received + self.unread.len() as u64,
            expected: self.received,
        })
    }

    /// Receives a line of text without its end; none at a clean end before it.
    pub(crate) async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            let unread = &self.buffer[self.unread.clone()];
            if let Some(at) = unread.iter().position(|&byte| byte == b'\n') {
                line.extend_from_slice(&unread[..at]);
                self.unread.start += at + 1;
                return Ok(Some(line));
            }
            line.extend_from_slice(unread);
            self.unread = 0..0;
            if line.len() > hello::LONGEST {
                return Err(self.foreign());
            }
            if self.fill().await? == 0 {
                return if line.is_empty() {
                    Ok(None)
                } else {
                    Err(self.missing(1))
                };
            }
        }
    }

    /// Receives a line of a pod's log.
    pub(crate) async fn record(&mut self) -> Result<Record> {
        let line = self.line().await?.ok_or(Error::Ended("log"))?;
        let record = Record::decode(&line, &self.side.content).ok_or_else(|| self.foreign())?;
        self.received += line.len() as u64 + 1;
        self.side.count(line.len() + 1);
        Ok(record)
    }

    async fn header(&mut self) -> Result<Option<Frame>> {
        while self.unread.len() < HEADER {
            if self.fill().await? == 0 {
                return if self.unread.is_empty() {
                    Ok(None)
                } else {
                    Err(self.missing(HEADER - self.unread.len()))
                };
            }
        }
        let bytes = &self.buffer[self.unread.clone()];
        let frame = bytes.first_chunk().and_then(Frame::decode);
        self.unread.start += HEADER;
        self.side.count(HEADER);
        frame.map(Some).ok_or_else(|| self.foreign())
    }

    /// Takes and checks some payload, `most` bytes at most.
    async fn some(&mut self, most: u32) -> Result<u32> {
        if self.unread.is_empty() && self.fill().await? == 0 {
            return Err(self.missing(most as usize));
        }
        let len = self.unread.len().min(most as usize);
        let bytes = &self.buffer[self.unread.start..self.unread.start + len];
        if !self.side.content.matches(self.offset, bytes) {
            return Err(self.foreign());
        }
        self.unread.start += len;
        self.offset += len as u64;
        self.received += len as u64;
        self.side.count(len);
        // `len` is at most `most`.
        Ok(u32::try_from(len).unwrap_or(most))
    }

    /// Reads once; 0 is the end.
    async fn fill(&mut self) -> Result<usize> {
        self.compact();
        let room = &mut self.buffer[self.unread.end..];
        let read = self.io.read(room).await.attempt("receive payload")?;
        self.unread.end += read;
        Ok(read)
    }

    fn compact(&mut self) {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
    }

    /// Compares what arrived with what the other side's End says that it sent.
    pub(crate) fn check(&self, end: Frame) -> Result<()> {
        if end.id == self.received {
            return Ok(());
        }
        Err(Error::Count {
            side: self.side.name,
            received: self.received,
            sent: end.id,
        })
    }

    fn foreign(&self) -> Error {
        Error::Content {
            side: self.side.name,
            offset: self.received,
        }
    }

    fn missing(&self, bytes: usize) -> Error {
        Error::Bytes {
            side: self.side.name,
            received: self.received,
            expected: self.received + bytes as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;
    use std::sync::LazyLock;

    fn side() -> Side {
        static CONTENT: LazyLock<Arc<Content>> = LazyLock::new(|| Arc::new(Content::new()));
        Side::new("test", Arc::clone(&CONTENT))
    }

    /// What two frames of different sizes look like on the wire.
    async fn frames() -> Vec<u8> {
        let mut wire = Vec::new();
        let mut out = Outgoing::new(&mut wire, side(), 77);
        out.frame(Frame::new(Kind::Data, 300)).await.unwrap();
        out.frame(Frame::new(Kind::Data, 200_000)).await.unwrap();
        assert_eq!(out.sent(), 200_300);
        wire
    }

    async fn read(wire: &[u8]) -> Result<Vec<u32>> {
        let mut incoming = Incoming::new(wire, side(), 77, 1000);
        let mut lengths = Vec::new();
        while let Some(frame) = incoming.frame().await? {
            lengths.push(frame.len);
        }
        Ok(lengths)
    }

    #[tokio::test]
    async fn frames_arrive_as_sent() {
        assert_eq!(read(&frames().await).await.unwrap(), [300, 200_000]);
    }

    #[tokio::test]
    async fn byte_that_is_changed_lost_or_doubled_is_noticed_wherever_it_is() {
        let good = frames().await;
        for at in [0, 5, 30, 323, 324, 330, 400, 100_000, good.len() - 1] {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let mut lost = good.clone();
            lost.remove(at);
            let mut doubled = good.clone();
            doubled.insert(at, good[at]);
            for (what, bad) in [("changed", changed), ("lost", lost), ("doubled", doubled)] {
                assert!(read(&bad).await.is_err(), "{what} {at}");
            }
        }
    }

    #[tokio::test]
    async fn payload_of_another_stream_is_noticed() {
        let wire = frames().await;
        let mut incoming = Incoming::new(&wire[..], side(), 78, 1000);
        assert!(matches!(incoming.frame().await, Err(Error::Content { .. })));
    }

    #[tokio::test]
    async fn every_prefix_ends_in_an_error_unless_it_ends_between_frames() {
        let wire = frames().await;
        for len in (0..400).chain([wire.len() - 1]) {
            let complete = len == 0 || len == 24 + 300;
            assert_eq!(
                read(&wire[..len]).await.is_ok(),
                complete,
                "prefix of {len}"
            );
        }
    }
}
