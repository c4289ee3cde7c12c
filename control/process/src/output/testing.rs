//! A target of an output that takes what a test lets it take.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::io;
use std::sync::{Arc, Condvar, Mutex};

/// A target that takes what a test lets it take.
#[derive(Clone, Debug, Default)]
pub struct Script(Arc<Scripted>);

#[derive(Debug, Default)]
struct Scripted {
    state: Mutex<Disk>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Disk {
    /// Bytes that the "disk" still takes; none is unlimited.
    room: Option<usize>,
    /// A write that begins does not end.
    stalled: bool,
    files: Vec<Vec<u8>>,
    writes: usize,
}

impl Script {
    /// Takes so many bytes, then no more.
    pub fn with_room(room: usize) -> Self {
        let script = Self::default();
        script.change(|disk| disk.room = Some(room));
        script
    }

    /// Takes what comes again.
    pub fn give_room(&self) {
        self.change(|disk| disk.room = None);
    }

    /// Begins or ends not to return from a write.
    pub fn stall(&self, stalled: bool) {
        self.change(|disk| disk.stalled = stalled);
    }

    /// How many writes there were.
    pub fn writes(&self) -> usize {
        self.0.state.lock().unwrap().writes
    }

    /// What was written between two reopenings.
    pub fn file(&self, index: usize) -> String {
        let disk = self.0.state.lock().unwrap();
        String::from_utf8(disk.files.get(index).cloned().unwrap_or_default()).unwrap()
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let disk = self.0.state.lock().unwrap();
        let stalled = |disk: &mut Disk| disk.stalled;
        let mut disk = self.0.changed.wait_while(disk, stalled).unwrap();
        disk.writes += 1;
        let count = disk.room.unwrap_or(usize::MAX).min(bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.room = disk.room.map(|room| room - count);
        if disk.files.is_empty() {
            disk.files.push(Vec::new());
        }
        let file = disk.files.last_mut().unwrap();
        file.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        self.change(|disk| disk.files.push(Vec::new()));
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Disk)) {
        change(&mut self.0.state.lock().unwrap());
        self.0.changed.notify_all();
    }
}
