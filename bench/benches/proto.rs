//! What a stream's set-up costs before any byte of it is relayed: parsing, routing, rewriting.
#![forbid(unsafe_code)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use eyesplice_proto::connect::parse_connect;
use eyesplice_proto::framing::{Framing, request_framing};
use eyesplice_proto::head::{RequestHead, Target};
use eyesplice_proto::hop::{Identity, keeps_alive, rewrite_request, strip_identity};
use eyesplice_proto::parse::{HeadLimits, Parsed, Progress, parse_request};
use eyesplice_proto::route::route;
use eyesplice_proto::serialize::write_request;
use eyesplice_proto::stream::{End, Event, Stream};
use eyesplice_proto::upgrade::asked;
use std::hint::black_box;

const CONNECT: &[u8] = b"CONNECT 10.20.30.40:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// What kube-apiserver sends for `kubectl exec`.
const EXEC: &[u8] =
    b"POST /exec/default/web-5d4b8c9f7-x2x7k/main?command=sh&input=1&output=1&tty=1 \
    HTTP/1.1\r\nHost: 10.20.30.40:10250\r\nUser-Agent: kubectl/v1.33.1 (linux/amd64) \
    kubernetes/8adc0f0\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
    X-Stream-Protocol-Version: v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\
    \r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\nKubectl-Command: kubectl exec\r\n\
    Kubectl-Session: 0b5f0b0e-5f0a-4d3c-8f3e-6f0f2a9a7c11\r\nAccept-Encoding: gzip\r\n\r\n";

fn parsed(bytes: &[u8]) -> RequestHead {
    match parse_request(bytes, &mut Progress::default(), &HeadLimits::REQUEST) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("a good head: {other:?}"),
    }
}

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    group.throughput(Throughput::Bytes(EXEC.len() as u64));
    group.bench_function("parse_exec", |bencher| {
        bencher.iter(|| parsed(black_box(EXEC)));
    });
    // As a hostile or far client sends it: the search must not start anew each time.
    group.bench_function("parse_exec_by_16_bytes", |bencher| {
        bencher.iter(|| {
            let mut progress = Progress::default();
            let mut got = 0;
            loop {
                got = (got + 16).min(EXEC.len());
                let now = &black_box(EXEC)[..got];
                match parse_request(now, &mut progress, &HeadLimits::REQUEST) {
                    Ok(Parsed::Incomplete) => {}
                    done => break done,
                }
            }
        });
    });
    group.throughput(Throughput::Bytes(CONNECT.len() as u64));
    group.bench_function("parse_connect", |bencher| {
        bencher.iter(|| {
            parse_connect(
                black_box(CONNECT),
                &mut Progress::default(),
                &HeadLimits::CONNECT,
            )
        });
    });
    group.bench_function("rewrite_and_write_exec", |bencher| {
        let head = parsed(EXEC);
        bencher.iter_batched(
            || head.clone(),
            |mut head| {
                let framing = request_framing(&head).unwrap_or(Framing::Length(0));
                let upgrade = asked(&head, framing).ok().flatten();
                black_box(keeps_alive(head.version, &head.headers));
                strip_identity(
                    &mut head.headers,
                    &[Identity::Remote, Identity::Impersonate],
                );
                let rewritten = rewrite_request(&mut head, framing, upgrade.as_ref());
                let mut out = Vec::new();
                write_request(&head, &mut out);
                (rewritten, out)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for (name, target) in [
        (
            "exec",
            "/exec/default/web-5d4b8c9f7-x2x7k/main?command=sh&input=1",
        ),
        ("logs", "/containerLogs/default/web/main?follow=true"),
        ("metrics", "/metrics/cadvisor"),
        ("refused_dots", "/exec/../metrics"),
    ] {
        let target = Target::new(target).expect("a target");
        group.bench_function(name, |bencher| bencher.iter(|| route(black_box(&target))));
    }
    group.finish();
}

fn states(criterion: &mut Criterion) {
    criterion.bench_function("stream_state/open_to_finished", |bencher| {
        bencher.iter(|| {
            let mut stream = Stream::new();
            let first = stream.on(black_box(Event::DownstreamEnd(End::Clean)));
            let second = stream.on(black_box(Event::UpstreamEnd(End::Clean)));
            (first, second, stream.outcome())
        });
    });
}

criterion_group!(benches, heads, routes, states);
criterion_main!(benches);
