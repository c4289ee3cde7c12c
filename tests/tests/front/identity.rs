//! Whose request it is: what control is given to find out, and what goes on.

use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::Peer;
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::Ending;
use eyesplice_tests::front::{Front, Judged, Rule, TOKEN, leave, server};
use eyesplice_tests::kubelet;
use eyesplice_tests::matrix;
use eyesplice_tests::pki::{Identity, Leaf, pki};
use eyesplice_tests::variant::{Variant, ktls_policy};
use rustls::client::Resumption;
use std::sync::{Arc, Mutex};

matrix! { tcp:
    identities_of_one_client_never_share_a_connection,
    chain_of_the_client_is_given_as_it_came,
    chain_of_a_client_that_resumes_is_given_again,
    what_control_says_of_the_user_is_what_goes_on,
}

fn identities_of_one_client_never_share_a_connection(variant: Variant) {
    let presented = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&presented);
    let api = server(variant, move |conn, seen| {
        let chain = conn.peer_chain().map_or(0, |chain| chain.len());
        log.lock().unwrap().push(chain);
        kubelet::serve(conn, seen);
    });
    let front = Front::start(variant);
    let (plain, proxied) = (Rule::to(api.address()), api.address());
    let proxied = Rule {
        certificate: true,
        key: Some(2),
        user: Some("jane"),
        headers: vec![("X-Remote-User", "jane")],
        ..Rule::to(proxied)
    };
    front.control.say(move |seen| {
        let token = seen.headers.iter().any(|(name, _)| name == "Authorization");
        Judged::On(match token {
            true => plain.clone(),
            false => proxied.clone(),
        })
    });
    let mut conn = front.client();
    for token in [true, true, false, false, true] {
        let mut ask = Request::get("/api/v1/pods");
        if token {
            ask = ask.header("Authorization", TOKEN);
        }
        assert_eq!(ask.ask(&mut conn).text(), "ok");
        front.assert_passed();
    }
    leave(conn);
    assert_eq!(*presented.lock().unwrap(), [0, 1, 0]);
    assert_eq!(api.ending(), Ending::Clean);
    // What belongs to one of them is in no request of the other.
    for head in api.heads() {
        let token = head.get("authorization").is_some();
        assert_ne!(token, head.get("x-remote-user").is_some(), "{}", head.raw);
    }
    api.finish();
    front.assert_nothing_held();
}

fn chain_of_the_client_is_given_as_it_came(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    // Of an issuer that nobody knows, and one that is over: it is not the handshake that judges.
    let strange = pki().strangers.issue(&Leaf::client("jane"));
    let over = pki().clients.issue(&Leaf {
        from: time::Duration::days(-2),
        until: time::Duration::days(-1),
        ..Leaf::client("jane")
    });
    let own = Identity::self_signed(&Leaf::client("jane"));
    for identity in [None, Some(&strange), Some(&over), Some(&own)] {
        let mut conn = front.client_with(identity);
        assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
        let record = front.assert_passed();
        assert!(
            matches!(record.peer, Peer::Tcp { identity: None, .. }),
            "{record:?}"
        );
        leave(conn);
    }
    api.finish();
    let chains: Vec<_> = front.control.seen().iter().map(|seen| seen.chain).collect();
    assert_eq!(chains, [0, 1, 1, 1]);
    front.assert_nothing_held();
}

fn chain_of_a_client_that_resumes_is_given_again(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::with(variant, |setup| setup.tickets = true);
    let front = front.leads(Rule::to(api.address()));
    let jane = pki().strangers.issue(&Leaf::client("jane"));
    let mut config = front.client_config(Some(&jane));
    config.resumption = Resumption::in_memory_sessions(4);
    let config = Arc::new(config);
    for _ in 0..3 {
        let mut conn = front.client_of(&config);
        assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
        front.assert_passed();
        leave(conn);
    }
    api.finish();
    // Under kernel TLS a ticket may have been given or not.
    if ktls_policy() == KtlsPolicy::Off {
        assert_eq!(front.totals().handshakes_resumed, 2);
    }
    assert!(front.control.seen().iter().all(|seen| seen.chain == 1));
    front.assert_nothing_held();
}

fn what_control_says_of_the_user_is_what_goes_on(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule {
        headers: vec![("X-Remote-User", "jane"), ("X-Remote-Group", "viewers")],
        ..Rule::to(api.address())
    });
    let mut conn = front.client();
    // A client cannot have taken off what control puts there.
    let reply = Request::get("/api")
        .header("Connection", "X-Remote-User, X-Remote-Group")
        .header("X-Remote-User", "admin")
        .ask(&mut conn);
    assert_eq!(reply.text(), "ok");
    leave(conn);
    let heads = api.heads();
    assert_eq!(heads[0].all("x-remote-user"), ["jane"]);
    assert_eq!(heads[0].all("x-remote-group"), ["viewers"]);
    api.finish();
    let seen = front.control.seen();
    let remote = |(name, _): &&(String, String)| name.starts_with("X-Remote");
    assert_eq!(seen[0].headers.iter().find(remote), None);
    front.assert_passed();
    front.assert_nothing_held();
}
