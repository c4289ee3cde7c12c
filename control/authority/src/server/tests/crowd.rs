//! Crowds of connections that show nothing, and refusals that must be read.

use super::*;
use crate::limits;

/// More than one address may hold.
const CROWD: usize = limits::STRANGERS_PER_SOURCE + 100;

async fn crowd(bench: &Bench) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(TcpStream::connect(bench.address).await.unwrap());
    }
    crowd
}

fn is_open(stream: &TcpStream) -> bool {
    let nothing = stream.try_read(&mut [0; 1]);
    nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out_and_end_no_watch() {
    let bench = Bench::new().await;
    let (admin, node) = (bench.admin(), bench.node("w"));
    let mut watch = Watcher::start(&bench, &node, "").await;
    let mut crowd = crowd(&bench).await;
    let health = "GET /readyz HTTP/1.1\r\n";
    assert_eq!(bench.send(None, health, b"").await.code, 200);
    assert_eq!(bench.get(&admin, "").await.code, 200);
    // The latest still have their places: nobody had to wait until they were over.
    assert!(crowd[CROWD - 50..].iter().all(is_open));
    assert_eq!(crowd[0].read(&mut [0; 1]).await.unwrap_or(0), 0);
    let text = bench.metrics.render().unwrap();
    let closed = "server_connections_closed_total{server=\"authority\",reason=\"source\"}";
    assert!(text.contains(closed), "{text}");
    // Who is known stays.
    assert_eq!(bench.ask(&node, "POST", "", serving("a")).await.code, 201);
    assert_eq!(watch.next().await.unwrap().0, "ADDED");
}

/// Far more than the sockets between the two hold.
const LONG: usize = 4 << 20;

async fn refused(bench: &Bench, user: Option<&Made>, head: &str) -> u16 {
    let mut stream = bench.connect(user).await;
    let request =
        format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n{head}content-length: {LONG}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'a'; LONG]).await.unwrap();
    stream.flush().await.unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_of_a_body_that_is_still_coming_is_read() {
    let bench = Bench::new().await;
    let node = bench.node("w");
    let json = "content-type: application/json\r\n";
    assert_eq!(refused(&bench, Some(&node), json).await, 413);
    assert_eq!(refused(&bench, None, json).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body_that_is_announced_too_long_is_not_asked_for() {
    let bench = Bench::new().await;
    let node = bench.node("w");
    let mut stream = bench.connect(Some(&node)).await;
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {LONG}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
