//! TLS without sockets: seal, open, many small inputs in one record, and full handshakes.
#![forbid(unsafe_code)]

#[path = "steps/pair.rs"]
mod pair;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eyesplice_proto::tls::provider;
use eyesplice_proto::tls::{RecordLibrary, Session, sealed_bound};
use eyesplice_sys::buffer::AlignedBuf;
use pair::{Pair, ends};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Payload of one call: a line of a log, a burst of a terminal, one record, a full turn of the relay.
const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 128 * 1024];

/// Lines that one read of a busy log brings in, each in a record of its own.
const LINES: usize = 64;

/// What the client would send, in one record for each of `pieces`.
fn sealed(client: &mut Session, piece: &[u8], pieces: usize) -> AlignedBuf {
    let mut out = AlignedBuf::new(pieces * sealed_bound(piece.len()));
    let mut at = 0;
    for _ in 0..pieces {
        at += client.seal(piece, &mut out[at..]).expect("sealed records");
    }
    let mut exact = AlignedBuf::new(at);
    exact.copy_from_slice(&out[..at]);
    exact
}

/// Each size with each library, one after the other.
fn cells() -> impl Iterator<Item = (RecordLibrary, usize)> {
    let each = |size| {
        RecordLibrary::BUILT
            .iter()
            .map(move |library| (*library, size))
    };
    SIZES.into_iter().flat_map(each)
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tls_seal");
    for (library, size) in cells() {
        let mut pair = Pair::of(library);
        let payload = AlignedBuf::new(size);
        let mut out = AlignedBuf::new(sealed_bound(size));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new(library.as_str(), size), |bencher| {
            bencher.iter(|| pair.client.seal(&payload, &mut out));
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tls_open");
    for (library, size) in cells() {
        let mut pair = Pair::of(library);
        let payload = AlignedBuf::new(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new(library.as_str(), size), |bencher| {
            // Records open once and in order: each is sealed for its use, outside of the clock.
            let Pair { client, server } = &mut pair;
            let mut wire = AlignedBuf::new(sealed_bound(size));
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let len = client.seal(&payload, &mut wire).expect("sealed records");
                    let began = Instant::now();
                    let got = server.receive(&mut wire[..len]);
                    spent += began.elapsed();
                    assert_eq!(got.expect("payload").plaintext, size);
                }
                spent
            });
        });
    }
    group.finish();
}

/// One turn of the relay with a log of one line per record: opened together, sealed as one record.
fn coalesce(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tls_coalesce");
    let mut upstream = Pair::new();
    let mut downstream = Pair::new();
    let line = [b'x'; 120];
    let mut out = AlignedBuf::new(sealed_bound(LINES * line.len()));
    group.throughput(Throughput::Bytes((LINES * line.len()) as u64));
    group.bench_function(format!("{LINES}_lines"), |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let mut wire = sealed(&mut upstream.client, &line, LINES);
                let began = Instant::now();
                let got = upstream.server.receive(&mut wire).expect("payload");
                let sealed = downstream
                    .server
                    .seal(&wire[..got.plaintext], &mut out)
                    .expect("one record");
                spent += began.elapsed();
                assert!(sealed < LINES * line.len() + 64);
            }
            spent
        });
    });
    group.finish();
}

/// Both ends of a full handshake in which each shows a certificate (P-256), by key exchange.
fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tls_handshake");
    for exchange in &provider::shared().kx_groups {
        let (client, server) = ends(exchange.name());
        group.bench_function(format!("{:?}", exchange.name()), |bencher| {
            bencher.iter(|| Pair::shaken(Arc::clone(&client), Arc::clone(&server)));
        });
    }
    group.finish();
}

criterion_group!(benches, seal, open, coalesce, handshake);
criterion_main!(benches);
