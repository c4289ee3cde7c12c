//! Every workload end to end in short form, through a good proxy, through the engine, and through
//! proxies that damage what they carry.

use super::command::attempt;
use super::*;
use crate::identity::{Identity, Suite};
use crate::proxy::eyesplice::{Gateway, Plan as Carries};
use crate::report::RunReport;
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Parser)]
#[command(args_override_self = true)]
struct Line {
    #[command(flatten)]
    run: RunOptions,
}

fn options(line: &str) -> RunOptions {
    let short = "--duration 150ms --warm-up 20ms --interval 50ms --patience 20s --no-ceiling";
    let words = format!("test {short} {line}");
    Line::try_parse_from(words.split_whitespace()).unwrap().run
}

async fn report(line: &str) -> RunReport {
    attempt(&options(line), 1).await.unwrap()
}

/// What a proxy does to the bytes from the far end to the client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Good,
    Flips,
    Drops,
    Doubles,
    Cuts,
}

/// The damage happens behind so many bytes.
const BEHIND: usize = 100_000;

/// A proxy to `target`; damages one direction of each stream.
async fn proxy(target: std::net::SocketAddr, manner: Manner, upload: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = TcpStream::connect(target).await.unwrap();
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                let (up, down) = match upload {
                    true => (manner, Manner::Good),
                    false => (Manner::Good, manner),
                };
                tokio::join!(
                    carry(client_read, server_write, up),
                    carry(server_read, client_write, down)
                );
            });
        }
    });
    address
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    manner: Manner,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut seen = 0;
    let mut done = manner == Manner::Good;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mut piece = buffer[..read].to_vec();
        if !done && seen + read > BEHIND {
            done = true;
            let at = BEHIND - seen;
            match manner {
                Manner::Good => {}
                Manner::Flips => piece[at] ^= 0x10,
                Manner::Drops => drop(piece.remove(at)),
                Manner::Doubles => piece.insert(at, piece[at]),
                Manner::Cuts => piece.truncate(at),
            }
        }
        seen += read;
        if to.write_all(&piece).await.is_err() || (done && manner == Manner::Cuts) {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// A run over a proxy; the far end's port is found first, since the proxy must know it.
async fn through(manner: Manner, upload: bool, line: &str) -> RunReport {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = free.local_addr().unwrap();
    drop(free);
    let address = proxy(target, manner, upload).await;
    report(&format!(
        "--via tcp:{address} --far-end-listen {target} {line}"
    ))
    .await
}

#[tokio::test]
async fn every_workload_ends_well_through_a_good_proxy() {
    for line in [
        "--workload bulk --direction down --connections 2",
        "--workload bulk --direction up --size 10KiB",
        "--workload bulk --direction both",
        "--workload rr --size 1B --connections 2",
        "--workload rr --size 64KiB --reply 1B --rate 500",
        "--workload rr --rate 500 --arrivals poisson",
        "--workload log --connections 3 --rate 3000",
        "--workload log --connections 2 --rate 0 --size 24B",
        "--workload exec --connections 2 --rate 2000 --reply 8KiB",
        "--workload forward --connections 2 --size 100B",
        "--workload forward --connections 1 --rate 1000",
        "--workload setup --connections 2",
        "--workload setup --connections 2 --tls",
        "--workload churn --connections 3",
        "--workload idle --connections 24",
        "--workload stall --connections 4 --rate 400",
    ] {
        let report = through(Manner::Good, false, line).await;
        report
            .verdict()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        for run in &report.runs {
            assert!(run.outcome.bytes() > 0, "{line}: nothing moved");
            let part = &run.outcome.parts[0];
            let bulk = line.contains("bulk");
            assert!(bulk || part.latency.count > 0, "{line}: nothing recorded");
        }
        let stall = line.contains("stall");
        assert_eq!(report.runs.len(), if stall { 2 } else { 1 }, "{line}");
    }
}

#[tokio::test]
async fn damage_in_either_direction_fails_the_run() {
    for manner in [Manner::Flips, Manner::Drops, Manner::Doubles, Manner::Cuts] {
        for (line, upload) in [
            ("--workload bulk --direction down", false),
            ("--workload bulk --direction up", true),
            ("--workload rr --size 1KiB --connections 1", false),
            ("--workload rr --size 1KiB --connections 1", true),
            ("--workload forward --size 1KiB --reply 1KiB", true),
            ("--workload log --rate 0 --connections 1", false),
        ] {
            // A byte less is noticed by who waits for it, or by the next one's place.
            let patient = format!("{line} --patience 300ms --duration 1s");
            let report = through(manner, upload, &patient).await;
            let verdict = report.verdict();
            assert!(verdict.is_err(), "{manner:?} upload {upload}: {line}");
        }
    }
}

#[tokio::test]
async fn mix_reports_each_of_its_workloads() {
    let mut options = options("--workload rr --connections 2");
    options.others = vec!["--workload log --connections 2 --rate 500".into()];
    let report = attempt(&options, 1).await.unwrap();
    report.verdict().unwrap();
    let parts = &report.runs[0].outcome.parts;
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|part| part.latency.count > 0));
}

#[tokio::test]
async fn sessions_are_resumed_where_that_is_wanted() {
    let line = "--workload setup --connections 1 --tls --duration 400ms";
    let full = report(line).await;
    let full = &full.runs[0].outcome.parts[0];
    assert!(full.full_handshakes > 1 && full.resumed_handshakes == 0);
    let resumed = report(&format!("{line} --resume")).await;
    let resumed = &resumed.runs[0].outcome.parts[0];
    assert_eq!(resumed.full_handshakes, 1);
    assert!(resumed.resumed_handshakes > 1);
}

#[tokio::test]
async fn report_folder_has_table_json_log_and_plots() {
    let report = report("--workload rr --connections 2").await;
    let directory = tempfile::tempdir().unwrap();
    let paths = report.write(directory.path()).unwrap();
    let names: Vec<_> = paths
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "report.json",
            "report.md",
            "latency-1-rr.hlog",
            "throughput.svg",
            "operations.svg",
            "latency.svg"
        ]
    );
}

#[tokio::test]
async fn unreachable_proxy_fails_the_run_at_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let report = report(&format!("--workload rr --via tcp:{address}")).await;
    let error = report.verdict().unwrap_err().to_string();
    assert!(
        error.contains(&format!("cannot connect to {address}")),
        "{error}"
    );
}

/// Runs over the engine in both of its modes, with upgrades as kubectl asks for them.
#[tokio::test]
async fn engine_carries_streams_and_upgrades() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::create(directory.path(), Suite::default()).unwrap();
    let splice = directory.path().join("splice.sock");
    let kubelet = directory.path().join("kubelet.sock");
    let _splice = Gateway::start(&splice, Carries::Splice).unwrap();
    let plan = Carries::kubelet(&identity).unwrap();
    let _kubelet = Gateway::start(&kubelet, plan).unwrap();
    let certificates = directory.path().display();
    for (socket, line) in [
        (&splice, "--workload rr"),
        (&splice, "--workload bulk --direction both"),
        (&splice, "--workload setup --tls --connections 2"),
        (&kubelet, "--workload exec --rate 500 --tls --upgrade spdy"),
        (&kubelet, "--workload bulk --tls --upgrade websocket"),
    ] {
        let via = format!("--via connect-unix:{}", socket.display());
        let report = report(&format!("{via} --certificates {certificates} {line}")).await;
        report
            .verdict()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(report.runs[0].outcome.bytes() > 0, "{line}");
    }
}
