//! Every workload end to end in short form, through a good proxy, through the engine, and through
//! proxies that damage what they carry.

use super::command::attempt;
use super::measure::{Running, gathered};
use super::report::RunReport;
use super::*;
use crate::crypto::Group;
use crate::identity::{Identity, Suite};
use crate::meter::Window;
use crate::proxy::eyesplice::{Gateway, Plan as Carries};
use crate::route::{Route, RouteOptions};
use crate::work::Work;
use clap::Parser;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long a run lasts at first.
const SHORT: Duration = Duration::from_millis(150);

/// How long it lasts at last: then what did not happen does not happen.
const LONG: Duration = Duration::from_secs(30);

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

/// Runs for longer and longer until `enough`: on a busy machine little happens in a short time.
/// `run` takes the option with the time.
async fn patiently(
    enough: impl Fn(&RunReport) -> bool,
    run: impl AsyncFn(&str) -> RunReport,
) -> RunReport {
    let mut window = SHORT;
    loop {
        let report = run(&format!("--duration {}ms", window.as_millis())).await;
        if enough(&report) || window >= LONG {
            return report;
        }
        window *= 4;
    }
}

/// Whether bytes moved in every run, and the first `counted` workloads have operations.
fn moved(report: &RunReport, counted: usize) -> bool {
    report.runs.iter().all(|run| {
        let mut counted = run.outcome.parts.iter().take(counted);
        run.outcome.bytes() > 0 && counted.all(|part| part.latency.count > 0)
    })
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
        "--workload rr --reply 1KiB --reply-to 80KiB --connections 3",
        "--workload rr --reply 1KiB --reply-to 80KiB --connections 40 --gather",
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
        let counted = usize::from(!line.contains("bulk"));
        let report = patiently(
            |report| moved(report, counted),
            async |time| through(Manner::Good, false, &format!("{line} {time}")).await,
        )
        .await;
        report
            .verdict()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(moved(&report, counted), "{line}: nothing moved or recorded");
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
            let report = patiently(
                |report| report.verdict().is_err(),
                async |time| {
                    let patient = format!("{line} --patience 300ms {time}");
                    through(manner, upload, &patient).await
                },
            )
            .await;
            let verdict = report.verdict();
            assert!(verdict.is_err(), "{manner:?} upload {upload}: {line}");
        }
    }
}

#[tokio::test]
async fn gathered_streams_have_their_first_turn_behind_them_and_nothing_was_recorded() {
    let options = options("--workload rr --connections 20 --size 3B --gather");
    let ends = Ends::start(None, Suite::default(), [None, None], &options.line, 1).unwrap();
    let target = ends.target(FarEnd::Plain, None);
    let route = Route::new(&options.route, &target, &ends.identity).unwrap();
    let gathers = options.work.resolve().unwrap();
    let comes_alone = Work {
        gather: false,
        ..gathers.clone()
    };
    let window = Window::new(Duration::ZERO, Duration::ZERO);
    let runs = [gathers, comes_alone].map(|work| Running::new(&work, &ends.bench, window));
    let opened = gathered(&ends.bench, &route.into(), &runs).await.unwrap();
    let counts: Vec<_> = opened.iter().map(Vec::len).collect();
    assert_eq!(counts, [20, 0]);
    assert_eq!(runs.each_ref().map(Running::moved), [[120, 0], [0, 0]]);
}

#[tokio::test]
async fn far_end_takes_the_group_that_clients_ask_for_and_no_other() {
    let options = options("--workload setup --tls --connections 1");
    let mut ends = Ends::start(None, Suite::default(), [None, None], &options.line, 1).unwrap();
    ends.offer(Group::X25519, None).unwrap();
    let usual = ends.target(FarEnd::Tls, None);
    assert_eq!(ends.target(FarEnd::Tls, Some(Group::X25519)), usual);
    if !cfg!(feature = "aws-lc") {
        assert!(ends.offer(Group::X25519Mlkem768, None).is_err());
        return;
    }
    ends.offer(Group::X25519Mlkem768, None).unwrap();
    let hybrid = ends.target(FarEnd::Tls, Some(Group::X25519Mlkem768));
    assert_ne!(hybrid, usual);
    for (group, target, opens) in [
        (None, &usual, true),
        (None, &hybrid, false),
        (Some(Group::X25519Mlkem768), &usual, false),
        (Some(Group::X25519Mlkem768), &hybrid, true),
    ] {
        let route = RouteOptions {
            group,
            ..options.route.clone()
        };
        let route = Route::new(&route, target, &ends.identity).unwrap();
        assert_eq!(route.open().await.is_ok(), opens, "{group:?}");
    }
}

#[tokio::test]
async fn mix_reports_each_of_its_workloads() {
    let report = patiently(
        |report| moved(report, 2),
        async |time| {
            let mut options = options(&format!("--workload rr --connections 2 {time}"));
            options.others = vec!["--workload log --connections 2 --rate 500".into()];
            attempt(&options, 1).await.unwrap()
        },
    )
    .await;
    report.verdict().unwrap();
    assert!(moved(&report, 2));
    assert_eq!(report.runs[0].outcome.parts.len(), 2);
}

#[tokio::test]
async fn sessions_are_resumed_where_that_is_wanted() {
    let line = "--workload setup --connections 1 --tls";
    let full = patiently(
        |report| report.runs[0].outcome.parts[0].full_handshakes > 1,
        async |time| report(&format!("{line} {time}")).await,
    )
    .await;
    let full = &full.runs[0].outcome.parts[0];
    assert!(full.full_handshakes > 1 && full.resumed_handshakes == 0);
    let resumed = patiently(
        |report| report.runs[0].outcome.parts[0].resumed_handshakes > 1,
        async |time| report(&format!("{line} --resume {time}")).await,
    )
    .await;
    let resumed = &resumed.runs[0].outcome.parts[0];
    assert_eq!(resumed.full_handshakes, 1);
    assert!(resumed.resumed_handshakes > 1);
}

#[tokio::test]
async fn report_folder_has_table_json_log_and_plots() {
    let report = patiently(
        |report| moved(report, 1),
        async |time| report(&format!("--workload rr --connections 2 {time}")).await,
    )
    .await;
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
        // The first handshake of a thread waits until aws-lc has gathered entropy from the clock.
        (
            &splice,
            "--workload setup --tls --connections 2 --duration 2s",
        ),
        (&kubelet, "--workload exec --rate 500 --tls --upgrade spdy"),
        (&kubelet, "--workload bulk --tls --upgrade websocket"),
    ] {
        let via = format!("--via connect-unix:{}", socket.display());
        let options = format!("{via} --certificates {certificates} {line}");
        let report = patiently(
            |report| moved(report, 0),
            async |time| report(&format!("{options} {time}")).await,
        )
        .await;
        report
            .verdict()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(moved(&report, 0), "{line}");
    }
}
