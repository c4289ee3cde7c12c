//! How long leaves live, and how many are kept.

use super::*;

#[test]
fn leaf_is_renewed_after_two_thirds_of_its_life() {
    let issuer = issuer_of(&authority("egress-ca").self_signed(), 4, None);
    let name = host("10.0.0.7");
    let config = |at: OffsetDateTime| {
        issuer
            .tls_server(&name, None, ClientAuth::None, at.into())
            .unwrap()
            .config
    };
    let first = config(NOW);
    assert!(Arc::ptr_eq(
        &first,
        &config(NOW + Span::hours(16) - Span::SECOND)
    ));
    let second = config(NOW + Span::hours(16));
    assert!(!Arc::ptr_eq(&first, &second), "not renewed");
    assert!(Arc::ptr_eq(&second, &config(NOW + Span::hours(17))));
    // A clock that is set back far enough makes the leaf one of the future.
    assert!(!Arc::ptr_eq(&second, &config(NOW)));
    assert_eq!(issuer.cached_leaves(), 1);
}

#[test]
fn leaf_never_outlives_its_ca() {
    let ca = authority("egress-ca")
        .valid(-Span::days(1), Span::hours(6))
        .self_signed();
    let issuer = issuer_of(&ca, 4, None);
    assert_eq!(
        facts(&issuer, "10.0.0.7", now()).not_after,
        NOW + Span::hours(6)
    );
    let name = host("10.0.0.7");
    let config = |at: OffsetDateTime| {
        let served = issuer.tls_server(&name, None, ClientAuth::None, at.into());
        served.map(|tls| tls.config)
    };
    let first = config(NOW).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &config(NOW + Span::hours(4) - Span::SECOND).unwrap()
    ));
    assert!(!Arc::ptr_eq(&first, &config(NOW + Span::hours(4)).unwrap()));
    let error = config(NOW + Span::hours(6)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot issue a certificate for 10.0.0.7: the egress CA CN=egress-ca expired \
         2026-11-22T14:00:00Z; renew it"
    );
}

#[test]
fn leaf_cache_drops_the_least_recently_used() {
    let issuer = issuer_of(&authority("egress-ca").self_signed(), 3, None);
    let get = |name: &str| {
        issuer
            .tls_server(&host(name), None, ClientAuth::None, now())
            .unwrap()
            .config
    };
    let is_kept = |name: &str| {
        issuer
            .cached(&host(name), None, ClientAuth::None, now())
            .is_some()
    };
    for name in ["a.x", "b.x", "c.x", "a.x", "d.x"] {
        get(name);
    }
    assert_eq!(issuer.cached_leaves(), 3);
    assert!(!is_kept("b.x"));
    assert!(is_kept("a.x") && is_kept("c.x") && is_kept("d.x"));
    for index in 0..100 {
        get(&format!("n{index}.x"));
    }
    assert_eq!(issuer.cached_leaves(), 3);
}

#[test]
fn leaf_cache_tells_client_authentication_apart() {
    let clients = authority("ca").self_signed();
    let issuer = issuer_of(&authority("egress-ca").self_signed(), 3, Some(&clients));
    let name = host("10.0.0.7");
    let open = issuer
        .tls_server(&name, None, ClientAuth::None, now())
        .unwrap()
        .config;
    let closed = issuer
        .tls_server(&name, None, ClientAuth::Required, now())
        .unwrap()
        .config;
    assert!(!Arc::ptr_eq(&open, &closed));
    assert_eq!(issuer.cached_leaves(), 2);
}

#[test]
fn leaf_cache_is_bounded_under_threads() {
    let issuer = issuer_of(&authority("egress-ca").self_signed(), 8, None);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let issuer = &issuer;
            scope.spawn(move || {
                for index in 0..50 {
                    let name = host(&format!("n{}.x", (thread * 7 + index) % 20));
                    issuer
                        .tls_server(&name, None, ClientAuth::None, now())
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(issuer.cached_leaves(), 8);
}
