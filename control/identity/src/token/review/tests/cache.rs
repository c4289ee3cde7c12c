use crate::token::digest::Digester;
use crate::token::review::cache::Cache;
use crate::user::UserInfo;
use std::time::Duration;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

fn jane() -> Option<(UserInfo, Vec<String>)> {
    let user = UserInfo {
        username: "jane".to_owned(),
        ..UserInfo::default()
    };
    Some((user, Vec::new()))
}

#[test]
fn cache_forgets_accepted_and_refused_tokens_each_in_its_time() {
    let digester = Digester::new();
    let cache = Cache::new(10, 2 * MINUTE, MINUTE / 2);
    let now = Instant::now();
    let (good, bad) = (digester.digest(&["good"]), digester.digest(&["bad"]));
    cache.insert(good, jane(), now);
    cache.insert(bad, None, now);
    assert_eq!(cache.find(&good, now + MINUTE), Some(jane()));
    assert_eq!(cache.find(&bad, now + MINUTE / 4), Some(None));
    assert_eq!(cache.find(&bad, now + MINUTE / 2), None);
    assert_eq!(cache.find(&good, now + 2 * MINUTE), None);
    assert_eq!(cache.len(), 0, "what is over is dropped");
}

#[test]
fn cache_without_a_lifetime_remembers_nothing() {
    let cache = Cache::new(10, MINUTE, Duration::ZERO);
    let key = Digester::new().digest(&["bad"]);
    let now = Instant::now();
    cache.insert(key, None, now);
    assert_eq!(cache.find(&key, now), None);
}

#[test]
fn cache_that_is_full_drops_the_least_recently_used() {
    let digester = Digester::new();
    let cache = Cache::new(3, MINUTE, MINUTE);
    let now = Instant::now();
    let key = |n: usize| digester.digest(&[&n.to_string()]);
    for n in 0..3 {
        cache.insert(key(n), None, now);
    }
    assert!(cache.find(&key(0), now).is_some());
    for n in 3..1000 {
        cache.insert(key(n), None, now);
        assert!(cache.find(&key(0), now).is_some(), "used all the time");
        assert!(cache.len() <= 3);
    }
    assert!(cache.find(&key(1), now).is_none());
}
