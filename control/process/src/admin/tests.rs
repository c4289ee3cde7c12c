//! The endpoint over a real loopback socket.

use super::*;
use crate::metrics::TunnelReport;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Answer {
    status: u16,
    head: String,
    body: String,
}

struct Server {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let admin = Admin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = admin.address();
        let readiness = Arc::new(Readiness::default());
        let metrics = Metrics::new();
        let serving = admin.serve(Arc::clone(&metrics), Arc::clone(&readiness));
        let task = tokio::spawn(serving);
        Self {
            address,
            readiness,
            metrics,
            task,
        }
    }

    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ))
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn livez_and_healthz_answer_ok() {
    let server = Server::start().await;
    for path in ["/livez", "/healthz"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{path}");
    }
    assert_eq!(
        server.get("/livez?verbose").await.body,
        "[+]ping ok\nlivez check passed\n"
    );
}

#[tokio::test]
async fn readyz_names_what_is_missing_and_follows_the_process() {
    let server = Server::start().await;
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 500);
    assert!(
        answer
            .body
            .contains("[-]listeners failed: listeners are not bound\n")
    );
    assert!(
        answer.body.contains("[-]material failed"),
        "{}",
        answer.body
    );
    assert!(answer.body.ends_with("readyz check failed\n"));

    server.readiness.material_loaded();
    server.readiness.listeners_bound();
    let answer = server.get("/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    let answer = server.get("/readyz?verbose").await;
    assert!(answer.body.contains("[+]shutdown ok\n"), "{}", answer.body);

    server.readiness.draining();
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 500);
    assert!(
        answer
            .body
            .contains("[-]shutdown failed: process is draining\n")
    );
}

#[tokio::test]
async fn metrics_are_in_the_form_that_is_asked_for() {
    let server = Server::start().await;
    for (accept, form) in [
        ("", Form::Text),
        ("accept: */*\r\n", Form::Text),
        (
            "accept: text/html\r\naccept: application/openmetrics-text\r\n",
            Form::OpenMetrics,
        ),
    ] {
        let rest = "host: x\r\nconnection: close\r\n\r\n";
        let asked = format!("GET /metrics HTTP/1.1\r\n{accept}{rest}");
        let answer = server.ask(&asked).await;
        assert_eq!(answer.status, 200);
        let wanted = format!("content-type: {}", form.media_type());
        assert!(answer.head.contains(&wanted), "{}", answer.head);
        assert!(answer.head.contains("vary: accept"), "{}", answer.head);
        let openmetrics = answer.body.ends_with("# EOF\n");
        assert_eq!(openmetrics, form == Form::OpenMetrics, "{accept}");
    }
}

#[tokio::test]
async fn requests_that_are_not_for_us_are_refused() {
    let server = Server::start().await;
    assert_eq!(server.get("/").await.status, 404);
    assert_eq!(server.get("/debug/pprof/").await.status, 404);
    let post =
        "POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let answer = server.ask(post).await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    let head = "HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = server.ask(head).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn oversized_head_is_refused() {
    let server = Server::start().await;
    let request = format!(
        "GET /livez HTTP/1.1\r\nx: {}\r\n\r\n",
        "a".repeat(2 * MAX_HEAD)
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may answer and close before it read all.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn silent_connection_is_closed() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // Time is paused: it jumps to the timeout as soon as every task waits.
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

fn is_open(stream: &TcpStream) -> bool {
    let nothing = stream.try_read(&mut [0; 1]);
    nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn crowd_of_idle_connections_keeps_no_probe_out() {
    let server = Server::start().await;
    let scraper = TcpStream::connect(server.address).await.unwrap();
    let mut scraper = tokio::io::BufStream::new(scraper);
    let mut idle = Vec::new();
    for round in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if round % 2 == 0 {
            stream.write_all(b"G").await.unwrap();
        }
        idle.push(stream);
        if round == 20 {
            let scrape = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
            scraper.write_all(scrape).await.unwrap();
            scraper.flush().await.unwrap();
            let mut answer = [0; 12];
            scraper.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
    }
    for path in ["/livez", "/metrics"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // The latest still have their places: nobody had to wait until they were over.
    assert!(idle[160..].iter().all(is_open));
    // The first have none; what they find is an end, or a reset for the byte that nobody read.
    assert!(!idle[0].read(&mut [0; 1]).await.is_ok_and(|read| read > 0));
    assert!(is_open(scraper.get_ref()), "who has asked goes later");
}

#[tokio::test]
async fn tunnels_are_json_once_the_process_has_any() {
    let server = Server::start().await;
    let answer = server.get("/tunnels").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (404, "this process has no tunnels\n")
    );
    server.metrics.tunnels.attach(|| TunnelReport {
        agents: Some(Vec::new()),
        gateways: None,
    });
    let answer = server.get("/tunnels").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("content-type: application/json"),
        "{}",
        answer.head
    );
    assert!(
        answer.body.starts_with("{\"agents\":[],\"time\":\""),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn break_glass_and_its_drill_are_answered_once_the_process_has_it() {
    let server = Server::start().await;
    for path in ["/break-glass", "/break-glass/drill?user=jane"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("front.breakGlass"), "{}", answer.body);
    }
    server.metrics.break_glass.attach(|drill| match drill {
        None => BreakGlassAnswer::Known("{}\n".to_owned()),
        Some("") => BreakGlassAnswer::Unclear("no user".to_owned()),
        Some(question) => BreakGlassAnswer::Known(format!("{question:?}\n")),
    });
    for (path, status, body) in [
        ("/break-glass", 200, "{}\n"),
        ("/break-glass/drill", 400, "no user\n"),
        ("/break-glass/drill?user=jane", 200, "\"user=jane\"\n"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, &*answer.body), (status, body), "{path}");
    }
    let post = "POST /break-glass/drill HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(server.ask(post).await.status, 405);
}

#[tokio::test]
async fn readyz_of_a_process_that_dials_out_follows_its_gateways() {
    let server = Server::start().await;
    server.readiness.material_loaded();
    let (held, now) = (
        Arc::new(AtomicBool::new(false)),
        Condition::Failed("none is held".into()),
    );
    let seen = Arc::clone(&held);
    server.readiness.dials(move || {
        if seen.load(Ordering::Relaxed) {
            Condition::Good
        } else {
            now.clone()
        }
    });
    let answer = server.get("/readyz").await;
    assert!(
        answer.body.contains("[-]gateways failed: none is held\n"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("listeners"), "{}", answer.body);
    held.store(true, Ordering::Relaxed);
    assert_eq!(server.get("/readyz").await.status, 200);
}
