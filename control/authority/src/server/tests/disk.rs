//! A real disk that is full, or read-only, under an authority that serves.

use super::{Bench, serving};
use crate::object::Timestamp;
use crate::store::{Store, StoreError};
use crate::testing::Site;
use eyesplice_identity::authn::Sources;
use eyesplice_identity::testing::SmallDisk;
use serde_json::{Value, json};
use std::time::SystemTime;

/// Room for a store and the files of a site.
const ROOM: usize = 8 << 20;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work)
}

/// A CSR that takes more room than the store has in reserve.
fn large(name: &str) -> Value {
    let mut body = serving(name);
    body["metadata"]["annotations"] = json!({"a": "x".repeat(200_000)});
    body
}

#[test]
fn full_disk_is_a_503_that_names_a_time_and_reading_goes_on() {
    SmallDisk::run("full disk under the authority", ROOM, |disk| {
        block_on(async {
            let mut bench = Bench::at(Site::below(disk.path()), Sources::default()).await;
            let node = bench.node("w");
            assert_eq!(bench.ask(&node, "POST", "", serving("a")).await.code, 201);
            let filled = disk.fill();
            let mut taken = 0;
            let refused = loop {
                let name = format!("b{taken}");
                let answer = bench.ask(&node, "POST", "", large(&name)).await;
                if answer.code != 201 {
                    break answer;
                }
                taken += 1;
            };
            assert_eq!(refused.code, 503, "{}", refused.body);
            assert_eq!(refused.body["kind"], "Status");
            assert_eq!(refused.body["reason"], "ServiceUnavailable");
            assert!(refused.head.contains("retry-after: "), "{}", refused.head);
            let message = refused.body["message"].as_str().unwrap();
            assert!(message.contains("disk is full"), "{message}");
            // The controller waits, too, and nothing that was there is lost.
            let turned = bench.controller.turn(SystemTime::now());
            let list = bench.get(&node, "").await;
            assert_eq!(list.code, 200);
            let count = list.body["items"].as_array().unwrap().len();
            assert_eq!(count, taken + 1);
            drop(turned);

            drop(filled);
            let name = format!("b{taken}");
            let again = bench.ask(&node, "POST", "", large(&name)).await;
            assert_eq!(again.code, 201, "{}", again.body);
            bench.turn();
            let signed = bench.get(&node, "/a").await.body;
            assert!(signed["status"]["certificate"].is_string(), "{signed}");
        });
    });
}

#[test]
fn read_only_disk_is_refused_by_name_and_an_open_store_goes_on_after_it() {
    SmallDisk::run("read-only disk under the authority", ROOM, |disk| {
        let site = Site::below(disk.path());
        let open = || {
            let now = Timestamp::from(SystemTime::now());
            Store::open(&site.path("authority.redb"), now)
        };
        disk.read_only(true);
        let error = open().unwrap_err();
        assert!(matches!(error, StoreError::File { .. }), "{error}");
        assert!(error.to_string().contains("authority.redb"), "{error}");
        disk.read_only(false);
        drop(open().unwrap());
        disk.read_only(true);
        let error = open().unwrap_err();
        assert!(
            error.to_string().contains("check path, permissions"),
            "{error}"
        );
        disk.read_only(false);
        drop(open().unwrap());
    });
}
