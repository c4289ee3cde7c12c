//! Cuts of requests and replies between an API server and a kubelet.

use crate::plan::{Cell, Chance, Cut, Kind};
use crate::play::{Seen, assert_same, cut, push, seen, send, whole_reply};
use eyesplice_dataplane::seam::{Reason, Side, StreamRecord};
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::Conn;
use eyesplice_tests::http::{read_head, read_reply};

/// The length of an upload, and of replies that are cut short.
const LENGTH: &str = "67108864";

/// What a kubelet reads of an upload before it answers.
const READ: usize = 1000;

/// Plays one cut; both ends have done their TLS.
pub(crate) fn play(cell: Cell, chance: &Chance, cutter: Conn, victim: Conn) -> Seen {
    match (cell.kind, cell.cut) {
        (Kind::EarlyAnswer, _) => early_answer(chance, cutter, victim),
        (Kind::TornBody, Cut::Upstream) => torn_reply(chance, cutter, victim),
        (Kind::TornBody, Cut::Downstream) => torn_request(chance, cutter, victim),
        _ if cell.floods() => flooded(cell, chance, cutter, victim),
        (_, Cut::Upstream) => no_reply(cell, chance, cutter, victim),
        (_, Cut::Downstream) => client_leaves(cell, chance, cutter, victim),
    }
}

fn upload() -> Request {
    let upload = Request::new("POST", "/run/default/web/app?cmd=cat");
    upload.header("Content-Length", LENGTH)
}

/// A kubelet that reads a little of an upload, answers and closes.
fn early_answer(chance: &Chance, mut kubelet: Conn, mut client: Conn) -> Seen {
    upload().send(&mut client);
    push(&mut client, 200 * READ);
    read_head(&mut kubelet).unwrap();
    kubelet.read_exact(READ).unwrap();
    let head = format!(
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: {}\r\n\r\n",
        chance.last.len()
    );
    let answer = [head.as_bytes(), &chance.last].concat();
    kubelet.write_all(&answer).unwrap();
    kubelet.wait_input();
    drop(kubelet);
    let (status, body) = whole_reply(&mut client, "POST");
    assert_eq!(status, 413);
    assert_same(&body, &chance.last);
    // The answer is whole, and said that nothing follows it.
    Seen::Cut
}

/// A kubelet that ends cleanly, with less than its head promised.
fn torn_reply(chance: &Chance, mut kubelet: Conn, mut client: Conn) -> Seen {
    Request::logs().send(&mut client);
    read_head(&mut kubelet).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    kubelet.write_all(head.as_bytes()).unwrap();
    read_head(&mut client).unwrap();
    let mut got = send(&mut kubelet, &mut client, &chance.last);
    // It may be cut off before all of its goodbye is out.
    let _ = kubelet.shut();
    let (rest, ending) = client.read_to_end();
    got.extend(rest);
    assert_same(&got, &chance.last);
    assert!(ending.is_cut(), "a silent cut");
    seen(ending)
}

/// A client that ends cleanly, with less than its head promised.
fn torn_request(chance: &Chance, mut client: Conn, mut kubelet: Conn) -> Seen {
    upload().send(&mut client);
    read_head(&mut kubelet).unwrap();
    let mut got = send(&mut client, &mut kubelet, &chance.last);
    let _ = client.shut();
    let (rest, ending) = kubelet.read_to_end();
    got.extend(rest);
    assert_same(&got, &chance.last);
    assert!(ending.is_cut(), "a silent cut");
    seen(ending)
}

/// A client that is cut in its upload while it is sent a reply, which it does not read: the write of the
/// reply is what finds it gone.
fn flooded(cell: Cell, chance: &Chance, mut client: Conn, mut kubelet: Conn) -> Seen {
    upload().send(&mut client);
    read_head(&mut kubelet).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    kubelet.write_all(head.as_bytes()).unwrap();
    read_head(&mut client).unwrap();
    kubelet.write_until_full(&[b'r'; 16 * 1024]);
    let mut got = send(&mut client, &mut kubelet, &chance.last);
    if cell.kind == Kind::Reset {
        client.reset_when_closed();
    }
    drop(client);
    let (rest, ending) = kubelet.read_to_end();
    got.extend(rest);
    assert_same(&got, &chance.last);
    assert!(ending.is_cut(), "a silent cut");
    seen(ending)
}

/// A kubelet that is cut before it has answered: the gateway answers for it, or cuts the client.
fn no_reply(cell: Cell, chance: &Chance, mut kubelet: Conn, mut client: Conn) -> Seen {
    Request::logs().send(&mut client);
    if cell.kind != Kind::Close {
        read_head(&mut kubelet).unwrap();
    }
    let stayed = cut(cell, chance, kubelet, &mut client);
    match read_reply(&mut client, "GET") {
        Ok(reply) => assert_eq!(reply.head.status(), 502, "{reply:?}"),
        Err((head, ending)) => assert!(head.is_empty() && ending.is_cut(), "{head} {ending:?}"),
    }
    drop(stayed);
    Seen::Cut
}

/// A client that is cut while it waits.
fn client_leaves(cell: Cell, chance: &Chance, mut client: Conn, mut kubelet: Conn) -> Seen {
    Request::logs().send(&mut client);
    read_head(&mut kubelet).unwrap();
    if cell.kind == Kind::Close {
        // There must be something that it has not read.
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        kubelet.write_all(head).unwrap();
    }
    let stayed = cut(cell, chance, client, &mut kubelet);
    let (rest, ending) = kubelet.read_to_end();
    drop(stayed);
    assert!(rest.is_empty() && ending.is_cut(), "a silent cut");
    seen(ending)
}

/// The record must say what happened, and who did it.
pub(crate) fn judge(cell: Cell, record: &StreamRecord) {
    let found = (record.reason, record.side);
    let truth = match (cell.kind, cell.cut) {
        (Kind::EarlyAnswer, _) => {
            record.status == Some(413) && found == (Reason::Completed, Side::Upstream)
        }
        (Kind::TornBody, Cut::Upstream) => found == (Reason::Truncated, Side::Upstream),
        (Kind::TornBody, Cut::Downstream) => found == (Reason::Truncated, Side::Downstream),
        (_, Cut::Upstream) => {
            matches!(found.0, Reason::Reset | Reason::Truncated) && found.1 == Side::Upstream
        }
        (_, Cut::Downstream) => {
            let cut = matches!(
                found.0,
                Reason::Reset | Reason::Truncated | Reason::Cancelled
            );
            cut && found.1 == Side::Downstream
        }
    };
    assert!(truth, "{record:?}");
}
