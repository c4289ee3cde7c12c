//! Outputs whose target fails, fills, stalls and comes back, without a real disk fault.

use super::testing::Script;
use super::*;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const SETTINGS: Settings = Settings {
    name: "test",
    room: 100,
    reserve: 0,
    gap: |lost, why| format!("{lost} lost: {why}\n").into_bytes(),
    tell: |_| {},
};

fn start(target: Target) -> Output {
    Output::start(target, SETTINGS).unwrap()
}

fn push(output: &Output, line: &str) -> bool {
    output.push(format!("{line}\n").as_bytes(), Rank::Ordinary)
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "condition in {PATIENCE:?}");
        std::thread::yield_now();
    }
}

#[test]
fn finish_writes_what_waits_in_order() {
    let script = Script::default();
    let output = start(Target::Scripted(script.clone()));
    for number in 0..10 {
        assert!(push(&output, &number.to_string()));
    }
    assert_eq!(output.finish(PATIENCE), 0);
    assert_eq!(script.file(0), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    let status = output.status();
    assert_eq!((status.written, status.lost, status.failures), (10, 0, 0));
    assert_eq!(status.blocked, None);
}

#[test]
fn full_disk_loses_nothing_and_writes_each_line_once() {
    let script = Script::with_room(5);
    let output = start(Target::Scripted(script.clone()));
    for _ in 0..4 {
        assert!(push(&output, "line"));
    }
    until(|| output.status().failures >= 2);
    let status = output.status();
    assert!(status.blocked.is_some());
    assert_eq!((status.written, status.lines, status.bytes), (1, 3, 15));
    assert!(status.trouble.is_some());
    script.give_room();
    assert_eq!(output.finish(PATIENCE), 0);
    assert_eq!(script.file(0), "line\n".repeat(4));
    assert_eq!(output.status().trouble, None);
}

#[test]
fn write_that_stalls_holds_up_nobody_and_its_loss_is_told_in_place() {
    let script = Script::default();
    script.stall(true);
    let output = start(Target::Scripted(script.clone()));
    let mut taken = 0;
    while push(&output, "123456789") {
        taken += 1;
    }
    assert_eq!(taken, 10, "the room");
    assert!(!push(&output, "123456789"));
    assert!(output.is_full());
    assert!(output.blocked().is_some());
    assert_eq!(output.status().lost, 2);
    script.stall(false);
    until(|| output.status().lines == 0);
    assert!(!output.is_full());
    assert!(push(&output, "after"));
    assert_eq!(output.finish(PATIENCE), 0);
    let text = script.file(0);
    let (before, after) = text.split_at(100);
    assert_eq!(before, "123456789\n".repeat(10));
    assert_eq!(after, "2 lost: its reader took no more\nafter\n");
}

#[test]
fn finish_of_a_stalled_writer_is_bounded_and_counts_what_is_left() {
    let script = Script::default();
    script.stall(true);
    let output = start(Target::Scripted(script.clone()));
    push(&output, "one");
    push(&output, "two");
    assert_eq!(output.finish(Duration::from_millis(10)), 2);
    assert_eq!(output.status().lost, 2);
    script.stall(false);
}

#[test]
fn reopen_after_a_cut_line_writes_it_whole_to_the_new_file() {
    let script = Script::with_room(7);
    let output = start(Target::Scripted(script.clone()));
    push(&output, "line");
    push(&output, "line");
    until(|| output.status().failures > 0);
    script.give_room();
    output.reopen();
    assert_eq!(output.finish(PATIENCE), 0);
    assert_eq!(
        (script.file(0), script.file(1)),
        ("line\nli".into(), "line\n".into())
    );
    assert_eq!(output.status().written, 2);
    assert_eq!(output.status().bytes, 0);
}

#[test]
fn file_that_ends_within_a_line_gets_its_end_first() {
    let dir = tempfile::tempdir().unwrap();
    for (before, after) in [
        ("", "line\n"),
        ("whole\n", "whole\nline\n"),
        ("{\"torn", "{\"torn\nline\n"),
    ] {
        let path = dir.path().join("file");
        std::fs::write(&path, before).unwrap();
        let output = start(Target::path(&path).unwrap());
        push(&output, "line");
        assert_eq!(output.finish(PATIENCE), 0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
    }
}

#[test]
fn line_that_another_process_is_just_writing_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "{\"half").unwrap();
    let output = start(Target::path(&path).unwrap());
    let mut other = OpenOptions::new().append(true).open(&path).unwrap();
    other.write_all(b" and half\"}\n").unwrap();
    push(&output, "line");
    assert_eq!(output.finish(PATIENCE), 0);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"half and half\"}\nline\n");
}

#[test]
fn device_without_room_is_a_failure_that_is_tried_again() {
    let output = start(Target::path(Path::new("/dev/full")).unwrap());
    push(&output, "line");
    until(|| output.status().failures > 1);
    let status = output.status();
    assert!(status.trouble.unwrap().contains("No space left"));
    assert_eq!(output.finish(Duration::from_millis(10)), 1);
}

/// Reads a FIFO for as long as it is written to.
fn reader(path: &Path) -> File {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path);
    file.unwrap()
}

fn read_until(file: &mut File, end: &str) -> String {
    let (mut text, limit) = (String::new(), Instant::now() + PATIENCE);
    let mut buffer = [0; 4096];
    while !text.ends_with(end) {
        match file.read(&mut buffer) {
            Ok(count) => text.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < limit, "{text}");
        std::thread::yield_now();
    }
    text
}

#[test]
fn fifo_waits_for_its_reader_and_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let target = Target::path(&path).unwrap();
    assert!(target.awaits_reader());
    let output = start(target);
    push(&output, "first");
    until(|| output.status().failures > 0);
    let mut file = reader(&path);
    assert_eq!(read_until(&mut file, "first\n"), "first\n");
    drop(file);
    push(&output, "second");
    until(|| output.status().trouble.is_some());
    let mut file = reader(&path);
    assert_eq!(read_until(&mut file, "second\n"), "second\n");
    assert_eq!(output.finish(PATIENCE), 0);
    assert_eq!(output.status().lost, 0);
}

#[test]
fn fifo_whose_reader_stalls_can_be_finished_and_the_process_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let _reader = reader(&path);
    let settings = Settings {
        room: 1 << 20,
        ..SETTINGS
    };
    let output = Output::start(Target::path(&path).unwrap(), settings).unwrap();
    let line = "x".repeat(999);
    let taken = (0..2000).filter(|_| push(&output, &line)).count() as u64;
    // A pipe of 64 KiB, and all the rest waits.
    until(|| output.status().written >= 60);
    let left = output.finish(Duration::from_millis(10));
    assert_eq!(left + output.status().written, taken);
}
