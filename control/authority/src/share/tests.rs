//! Shares of the room for CSRs.

use super::super::held::Held;
use super::super::object::{Blob, Condition};
use super::super::testing::Site;
use super::*;
use eyesplice_identity::pki::testing::NOW;
use std::collections::BTreeMap;
use std::sync::Arc;
use time::Duration;

const TOKEN: &str = "system:bootstrap:abcdef";
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

struct Bench {
    material: AuthorityMaterial,
    objects: BTreeMap<String, Object>,
    holders: Holders,
}

impl Bench {
    fn new(max: usize, user: usize, token: usize) -> Self {
        let mut material = Site::new().material();
        material.config.limits.max_csrs = max;
        material.config.limits.max_csrs_per_user = user;
        material.config.limits.max_csrs_per_token = token;
        Self {
            material,
            objects: BTreeMap::new(),
            holders: Holders::new(),
        }
    }

    /// A CSR of a user in a state, as old as so many seconds.
    fn add(&mut self, name: &str, user: &str, kinds: &[&str], age: i64) {
        let mut object = CertificateSigningRequest::default();
        let at = Timestamp::new(NOW - Duration::seconds(age));
        object.metadata.name = name.to_owned();
        object.metadata.creation_timestamp = Some(at);
        object.spec.username = user.to_owned();
        for kind in kinds.iter().filter(|kind| **kind != "issued") {
            let condition = Condition::new(kind, "", String::new(), at);
            object.status.conditions.push(condition);
        }
        if kinds.contains(&"issued") {
            object.status.certificate = Blob(b"x".to_vec());
        }
        self.objects.insert(name.to_owned(), Object::new(object));
    }

    /// A node holds a certificate, which a token brought.
    fn brought(&mut self, node: &str) {
        let held = Held {
            issued: Timestamp::new(NOW),
            not_after: Timestamp::new(NOW + Duration::days(1)),
            key: String::new(),
            brought_by: TOKEN.to_owned(),
            seen: String::new(),
        };
        self.holders.insert(node.to_owned(), Arc::new(held));
    }

    fn fits(&self, user: &str, group: &str) -> Result<Vec<String>, Full> {
        let user = UserInfo {
            username: user.to_owned(),
            groups: vec![group.to_owned()],
            ..UserInfo::default()
        };
        let held = self.holders.get(&user.username);
        let brought_by = held.map(|held| held.brought_by.as_str());
        let asker = Asker::of(&self.material, &user, brought_by);
        let view = View {
            objects: &self.objects,
            holders: &self.holders,
        };
        asker.fits(view, &self.material, NOW)
    }
}

#[test]
fn oldest_decided_goes_first_and_what_waits_stays() {
    let mut bench = Bench::new(10, 10, 10);
    bench.add("waits", "u", &[], 900);
    bench.add("unsigned", "u", &[APPROVED], 800);
    bench.add("issued", "u", &[APPROVED, "issued"], 700);
    bench.add("denied", "u", &[DENIED], 600);
    bench.add("failed", "u", &[APPROVED, FAILED], 500);
    for index in 0..3 {
        assert_eq!(bench.fits("other", "g"), Ok(vec![]), "{index}");
        bench.add(&format!("more{index}"), "v", &[], 0);
    }
    bench.add("more3", "v", &[], 0);
    // Nine of ten: the last one is kept free.
    for gone in ["issued", "denied", "failed"] {
        assert_eq!(bench.fits("other", "g"), Ok(vec![gone.to_owned()]));
        bench.objects.remove(gone);
        bench.add(&format!("in place of {gone}"), "w", &[], 0);
    }
    assert_eq!(bench.fits("other", "g"), Err(Full::All(9)));
    let told = Full::All(9).error(&UserInfo::default());
    assert_eq!((told.code.as_u16(), told.retry_after_s()), (429, Some(60)));
}

#[test]
fn certificate_that_was_just_issued_is_left_for_its_requester() {
    let mut bench = Bench::new(2, 10, 10);
    bench.add("fresh", "u", &[APPROVED, "issued"], 59);
    assert_eq!(bench.fits("other", "g"), Err(Full::All(1)));
    bench.add("fresh", "u", &[APPROVED, "issued"], 61);
    assert_eq!(bench.fits("other", "g"), Ok(vec!["fresh".to_owned()]));
}

#[test]
fn share_of_a_user_is_its_own_and_makes_its_own_room() {
    let mut bench = Bench::new(100, 2, 100);
    bench.add("a", "u", &[DENIED], 20);
    bench.add("b", "u", &[DENIED], 10);
    bench.add("older", "v", &[DENIED], 99);
    assert_eq!(bench.fits("u", "g"), Ok(vec!["a".to_owned()]));
    bench.add("a", "u", &[], 20);
    bench.add("b", "u", &[], 10);
    let full = bench.fits("u", "g").unwrap_err();
    assert_eq!(full, Full::User(2));
    assert_eq!(full.error(&UserInfo::default()).code.as_u16(), 403);
    assert_eq!(bench.fits("v", "g"), Ok(vec![]));
}

#[test]
fn token_answers_for_the_nodes_that_it_brought_and_nobody_lists() {
    let mut bench = Bench::new(100, 100, 4);
    let invented = ["system:node:x1", "system:node:x2"];
    for (index, node) in invented.iter().enumerate() {
        bench.brought(node);
        bench.add(&format!("s{index}"), node, &[], 0);
    }
    // The inventory lists this one.
    bench.brought("system:node:w");
    bench.add("w", "system:node:w", &[], 0);
    bench.add("t0", TOKEN, &[], 0);
    assert_eq!(bench.fits(TOKEN, GROUP), Ok(vec![]));
    bench.add("t1", TOKEN, &[], 0);
    let full = Err(Full::Token(TOKEN.to_owned(), 4));
    assert_eq!(bench.fits(TOKEN, GROUP), full);
    assert_eq!(bench.fits(invented[0], "system:nodes"), full);
    assert_eq!(bench.fits("system:node:w", "system:nodes"), Ok(vec![]));
    assert_eq!(bench.fits("system:bootstrap:other1", GROUP), Ok(vec![]));
}

#[test]
fn reserve_is_for_those_who_renew_a_few_at_a_time_and_for_administrators() {
    let mut bench = Bench::new(20, 100, 100);
    for index in 0..18 {
        bench.add(&format!("f{index}"), "flood", &[], 0);
    }
    for (user, group) in [
        (TOKEN, GROUP),
        ("jane", "users"),
        // A name that nobody lists and nobody has given a certificate to.
        ("system:node:x", "system:nodes"),
    ] {
        assert_eq!(bench.fits(user, group), Err(Full::All(18)), "{user}");
    }
    for (user, group) in [
        ("system:node:w", "system:nodes"),
        ("eyesplice:gateway:gw", "eyesplice:gateways"),
        ("admin", "system:masters"),
    ] {
        assert_eq!(bench.fits(user, group), Ok(vec![]), "{user}");
    }
    bench.add("last", "admin", &[], 0);
    bench.add("very last", "admin", &[], 0);
    assert_eq!(bench.fits("admin", "system:masters"), Err(Full::All(20)));
    // One node does not use it up.
    let mut bench = Bench::new(200, 100, 100);
    for index in 0..180 {
        let user = if index < 10 { "system:node:w" } else { "flood" };
        bench.add(&format!("f{index}"), user, &[], 0);
    }
    let full = Err(Full::All(180));
    assert_eq!(bench.fits("system:node:w", "system:nodes"), full);
}

#[test]
fn payers_are_the_user_and_the_token_behind_it() {
    let mut bench = Bench::new(10, 10, 10);
    bench.brought("system:node:x");
    let payers = |user: &str, group: &str, brought_by: Option<&str>| {
        let user = UserInfo {
            username: user.to_owned(),
            groups: vec![group.to_owned()],
            ..UserInfo::default()
        };
        let asker = Asker::of(&bench.material, &user, brought_by);
        let payers = asker.payers();
        payers.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(payers(TOKEN, GROUP, None), [TOKEN]);
    let nodes = "system:nodes";
    assert_eq!(
        payers("system:node:x", nodes, Some(TOKEN)),
        [TOKEN, "system:node:x"]
    );
    assert_eq!(
        payers("system:node:w", nodes, Some(TOKEN)),
        ["system:node:w"]
    );
}
