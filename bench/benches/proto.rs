//! What a stream's set-up costs before any byte of it is relayed: parsing, routing, rewriting.
#![forbid(unsafe_code)]

#[path = "steps/heads.rs"]
mod heads;
#[path = "steps/life.rs"]
mod life;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use eyesplice_proto::connect::parse_connect;
use eyesplice_proto::head::RequestTarget;
use eyesplice_proto::parse::{HeadLimits, Parsed, Progress, parse_request};
use eyesplice_proto::route::route;
use heads::{CONNECT, EXEC, parsed, rewritten};
use life::lived;
use std::hint::black_box;

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    group.throughput(Throughput::Bytes(EXEC.len() as u64));
    group.bench_function("parse_exec", |bencher| {
        bencher.iter(|| parsed(black_box(EXEC)));
    });
    // As a hostile or far client sends it: the search must not start again each time.
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
        bencher.iter_batched(|| head.clone(), rewritten, BatchSize::SmallInput);
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
        let target = RequestTarget::new(target).expect("a target");
        group.bench_function(name, |bencher| bencher.iter(|| route(black_box(&target))));
    }
    group.finish();
}

fn states(criterion: &mut Criterion) {
    criterion.bench_function("stream_state/open_to_finished", |bencher| {
        bencher.iter(|| lived().is_finished());
    });
}

criterion_group!(benches, parsing, routes, states);
criterion_main!(benches);
