use super::super::testing::{Names, control, load, site, write};
use super::*;

fn held(membership: &Membership) -> Vec<String> {
    let snapshot = membership.snapshots.load();
    let duties = snapshot.agent.as_ref().unwrap();
    duties
        .gateways
        .iter()
        .map(|peer| peer.name.to_string())
        .collect()
}

fn membership(control: &Arc<AgentControl>) -> Arc<Membership> {
    Membership::new(Arc::clone(control), Metrics::new(), [7; 16])
}

const ALLOW: &str = "cidrs: [10.0.0.0/8]";

#[tokio::test]
async fn look_every_address_of_a_name_is_a_gateway_and_a_lost_answer_keeps_the_last() {
    let dir = site("addresses: [\"gw.example:1\", \"10.0.0.9:1\"]", ALLOW);
    let names = Names::default();
    let control = control(dir.path(), &names);
    let membership = membership(&control);
    assert_eq!(held(&membership), ["10.0.0.9:1"], "by address alone");
    membership.look().await;
    assert_eq!(held(&membership), ["10.0.0.9:1"], "nobody answers");
    names.set("gw.example", &["10.0.0.1", "fd00::1"]);
    membership.look().await;
    assert_eq!(
        held(&membership),
        ["10.0.0.1:1", "10.0.0.9:1", "[fd00::1]:1"]
    );
    names.forget("gw.example");
    membership.look().await;
    assert_eq!(held(&membership).len(), 3);
    names.set("gw.example", &["10.0.0.9"]);
    membership.look().await;
    assert_eq!(
        held(&membership),
        ["10.0.0.9:1"],
        "one address is one gateway"
    );
}

#[tokio::test]
async fn look_publishes_only_what_changes_and_keeps_the_peers_that_stay() {
    let dir = site(
        "addresses: [\"gw.example:1\"], serverName: gw.example",
        ALLOW,
    );
    let names = Names::default();
    names.set("gw.example", &["10.0.0.1"]);
    let control = control(dir.path(), &names);
    let membership = membership(&control);
    membership.look().await;
    let before = membership.snapshots.load();
    membership.look().await;
    assert_eq!(membership.snapshots.load().generation, before.generation);
    names.set("gw.example", &["10.0.0.1", "10.0.0.2"]);
    membership.look().await;
    let after = membership.snapshots.load();
    assert_eq!(after.generation, before.generation + 1);
    let first = |snapshot: &Snapshot| Arc::clone(&snapshot.agent.as_ref().unwrap().gateways[0]);
    assert!(Arc::ptr_eq(&first(&before), &first(&after)));
    let instances = [&before, &after].map(|snapshot| snapshot.agent.as_ref().unwrap().instance);
    assert_eq!(instances, [[7; 16]; 2]);
    // A new certificate is another peer at the same gateway, and nothing else is.
    let reload = || {
        let loaded = load(dir.path(), 2);
        let material = loaded.material.following(&control.state().material);
        control.publish(State { material, ..loaded });
        membership.reloaded();
        membership.snapshots.load()
    };
    let same = reload();
    assert_eq!(same.generation, after.generation + 1);
    assert!(Arc::ptr_eq(&first(&after), &first(&same)));
    let other = |end: &str| std::fs::read(dir.path().join(format!("egress-client.{end}"))).unwrap();
    for end in ["crt", "key"] {
        let file = dir.path().join(format!("eyesplice-kubelet-client.{end}"));
        std::fs::write(file, other(end)).unwrap();
    }
    assert!(!Arc::ptr_eq(&first(&same), &first(&reload())));
}

#[tokio::test]
async fn reloaded_gateways_that_are_gone_are_not_held() {
    let dir = site("addresses: [\"10.0.0.1:1\", \"10.0.0.2:1\"]", ALLOW);
    let control = control(dir.path(), &Names::default());
    let membership = membership(&control);
    assert_eq!(held(&membership), ["10.0.0.1:1", "10.0.0.2:1"]);
    write(dir.path(), "addresses: [\"10.0.0.2:1\"]", ALLOW);
    control.publish(load(dir.path(), 2));
    membership.reloaded();
    assert_eq!(held(&membership), ["10.0.0.2:1"]);
}

#[tokio::test]
async fn hold_of_many_gateways_is_two_that_stay_when_another_comes() {
    let list = |count: u8| {
        let each = (1..=count).map(|n| format!("\"10.0.0.{n}:1\""));
        format!("addresses: [{}]", each.collect::<Vec<_>>().join(", "))
    };
    let dir = site(&list(20), ALLOW);
    let control = control(dir.path(), &Names::default());
    let membership = membership(&control);
    let before = held(&membership);
    assert_eq!(before.len(), 2);
    write(dir.path(), &list(21), ALLOW);
    control.publish(load(dir.path(), 2));
    membership.reloaded();
    let after = held(&membership);
    assert_eq!(after.len(), 2);
    assert!(
        before.iter().any(|name| after.contains(name)),
        "{before:?} {after:?}"
    );
}

#[tokio::test]
async fn hear_gateways_that_come_late_are_held_and_a_short_list_is_what_there_is() {
    let dir = site("addresses: [\"10.0.0.1:1\"]", ALLOW);
    let control = control(dir.path(), &Names::default());
    let membership = membership(&control);
    let told = |hosts: &[u8]| {
        let address = |host: &u8| SocketAddr::from(([10, 0, 0, *host], 1));
        membership.hear(&hosts.iter().map(address).collect());
        held(&membership)
    };
    assert_eq!(told(&[1, 2]), ["10.0.0.1:1", "10.0.0.2:1"]);
    assert_eq!(told(&[1, 2, 3]).len(), 3);
    assert_eq!(told(&[1, 2, 3, 4]).len(), 2, "two of more than three");
    assert_eq!(told(&[1]), ["10.0.0.1:1"]);
    // What is configured is a gateway, whatever others say.
    assert_eq!(told(&[2]), ["10.0.0.1:1", "10.0.0.2:1"]);
    // Nobody says anything: those that were known last stay.
    let generation = membership.snapshots.load().generation;
    assert_eq!(told(&[]), ["10.0.0.1:1", "10.0.0.2:1"]);
    assert_eq!(told(&[2]).len(), 2);
    assert_eq!(membership.snapshots.load().generation, generation);
    membership.look().await;
    assert_eq!(
        held(&membership).len(),
        2,
        "a look at the names changes nothing"
    );
}

#[tokio::test]
async fn hear_addresses_that_are_nobodys_are_not_dialled() {
    let special = [
        "127.0.0.1:1",
        "169.254.169.254:1",
        "[fe80::1]:1",
        "0.0.0.0:1",
        "224.0.0.1:1",
    ];
    let told = special.map(|address| address.parse().unwrap()).into();
    let dir = site("addresses: [\"10.0.0.1:1\"]", ALLOW);
    let control = control(dir.path(), &Names::default());
    let first = membership(&control);
    first.hear(&told);
    assert_eq!(held(&first), ["10.0.0.1:1"]);
    // Beside a gateway on the agent's own host there may be another one.
    write(dir.path(), "addresses: [\"127.0.0.1:2\"]", ALLOW);
    control.publish(load(dir.path(), 2));
    let second = membership(&control);
    second.hear(&told);
    assert_eq!(held(&second), ["127.0.0.1:1", "127.0.0.1:2"]);
}

#[tokio::test]
async fn hold_through_a_proxy_each_name_is_one_gateway_and_the_proxys_own_is_resolved() {
    let gateways = "addresses: [\"gw-a.example:1\", \"gw-b.example:1\"], \
                    proxy: {url: \"socks5://proxy.example:1080\"}";
    let dir = site(gateways, ALLOW);
    let names = Names::default();
    names.set("gw-a.example", &["10.0.0.1", "10.0.0.2"]);
    let control = control(dir.path(), &names);
    let membership = membership(&control);
    assert!(held(&membership).is_empty(), "the proxy is not known yet");
    membership.look().await;
    assert_eq!(
        held(&membership),
        ["gw-a.example:1", "gw-b.example:1"],
        "what is wrong with the proxy is said by those who dial it"
    );
    names.set("proxy.example", &["10.0.0.9"]);
    let before = membership.snapshots.load().generation;
    membership.look().await;
    let proxy = || Arc::clone(control.state().material.proxy().unwrap());
    assert_eq!(**proxy().at.load(), ["10.0.0.9:1080".parse().unwrap()]);
    assert_eq!(
        membership.snapshots.load().generation,
        before,
        "nothing is connected to again"
    );
    // One of them may be a gateway that has a name.
    membership.hear(&["10.0.0.1:1".parse().unwrap()].into());
    assert_eq!(held(&membership).len(), 2);
    // A reload that changes nothing keeps the proxy, and what it keeps has its addresses.
    let reload = |number| {
        let loaded = load(dir.path(), number);
        let material = loaded.material.following(&control.state().material);
        control.publish(State { material, ..loaded });
        membership.reloaded();
    };
    let first = proxy();
    reload(2);
    assert!(Arc::ptr_eq(&first, &proxy()));
    let other = gateways.replace("socks5", "http");
    write(dir.path(), &other, ALLOW);
    reload(3);
    assert!(!Arc::ptr_eq(&first, &proxy()));
    assert_eq!(**proxy().at.load(), **first.at.load());
}

#[tokio::test]
async fn hear_gateways_that_are_told_are_asked_for_where_none_has_a_name() {
    let gateways = "addresses: [\"10.0.0.1:1\"], proxy: {url: \"http://10.0.0.9:3128\"}";
    let dir = site(gateways, ALLOW);
    let control = control(dir.path(), &Names::default());
    let membership = membership(&control);
    assert_eq!(held(&membership), ["10.0.0.1:1"]);
    membership.hear(&["10.0.0.2:1".parse().unwrap()].into());
    assert_eq!(held(&membership), ["10.0.0.1:1", "10.0.0.2:1"]);
}

#[tokio::test]
async fn duties_name_the_kubelet_whose_streams_may_go_on_without_our_tls() {
    let of = |allow: &str| {
        let dir = site("addresses: [\"10.0.0.1:1\"]", allow);
        let control = control(dir.path(), &Names::default());
        let membership = membership(&control);
        let snapshot = membership.snapshots.load();
        snapshot.agent.as_ref().unwrap().inner_only
    };
    assert_eq!(of("kubelet: {address: 10.0.0.7}"), None);
    assert_eq!(of("kubelet: {address: 10.0.0.7, inner: both}"), None);
    let kubelet = Some("10.0.0.7:10250".parse().unwrap());
    assert_eq!(of("kubelet: {address: 10.0.0.7, inner: only}"), kubelet);
}
