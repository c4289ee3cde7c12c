//! Several API servers: one that fails is left alone, and its return is noticed.

use eyesplice_tests::closed::Closed;
use eyesplice_tests::cluster::{Client, Cluster, Server};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::front_stack::{Front, KUBECTL, NODES, Settings};
use eyesplice_tests::tls;
use eyesplice_tests::wait::eventually;
use rustls::version::TLS13;
use std::net::TcpStream;
use std::sync::Arc;

/// A look may take a second, so that a busy machine takes no server for one that fails.
const FAST: &str = ", healthInterval: 100ms, healthFailures: 5, balance: roundRobin";

fn ask_once(cluster: &Cluster, front: &Front) {
    let mut client = Client::connect(cluster, front.address(KUBECTL), None);
    let reply = client.ask("/api", &[]);
    assert_eq!(reply.head.status(), 200, "{}", reply.text());
    client.leave();
}

fn served(server: &Server) -> usize {
    server.heads().len()
}

fn until_up(front: &Front, server: &Server, up: bool) {
    eventually(
        || (front.shows_up(server.address()) == Some(up)).then_some(()),
        || format!("{server:?} to be shown as {up}"),
    );
}

#[test]
fn clients_are_spread_and_a_failing_server_is_left_alone_until_it_is_back() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.api_server(), cluster.api_server());
    let settings = Settings {
        apiservers: FAST,
        ..Settings::of(&[&one, &two])
    };
    let front = Front::start(&cluster, &settings);
    front.watch();
    for _ in 0..4 {
        ask_once(&cluster, &front);
    }
    assert_eq!((served(&one), served(&two)), (2, 2));
    until_up(&front, &two, true);
    // A connection that is kept moves on with its next request.
    let mut kept: Vec<Client> = (0..2)
        .map(|_| Client::connect(&cluster, front.address(KUBECTL), None))
        .collect();
    for client in &mut kept {
        assert_eq!(client.ask("/api", &[]).head.status(), 200);
    }
    two.set_ready(500);
    until_up(&front, &two, false);
    let (before, left) = (served(&one), served(&two));
    for client in &mut kept {
        assert_eq!(client.ask("/api", &[]).head.status(), 200);
    }
    for _ in 0..4 {
        ask_once(&cluster, &front);
    }
    assert_eq!((served(&one), served(&two)), (before + 6, left));
    two.set_ready(403);
    until_up(&front, &two, true);
    for _ in 0..2 {
        ask_once(&cluster, &front);
    }
    assert_eq!(served(&two), left + 1, "who lets nobody look is well");
    for client in kept {
        client.leave();
    }
}

#[test]
fn server_that_is_gone_costs_no_request_before_anybody_noticed() {
    let cluster = Cluster::new();
    let (gone, well) = (Closed::port(), cluster.api_server());
    let settings = Settings {
        servers: vec![format!("https://{}", gone.address()), well.url()],
        ..Settings::of(&[])
    };
    let front = Front::start(&cluster, &settings);
    for _ in 0..4 {
        ask_once(&cluster, &front);
    }
    assert_eq!(served(&well), 4);
}

#[test]
fn request_while_all_servers_are_gone_is_answered_with_the_reason() {
    let cluster = Cluster::new();
    let gone = Closed::port();
    let address = gone.address();
    let settings = Settings {
        servers: vec![format!("https://{address}")],
        apiservers: FAST,
        ..Settings::of(&[])
    };
    let front = Front::start(&cluster, &settings);
    front.watch();
    eventually(
        || (front.shows_up(address) == Some(false)).then_some(()),
        || format!("{address} to be shown as down"),
    );
    let mut client = Client::connect(&cluster, front.address(KUBECTL), None);
    let reply = client.ask("/api", &[]);
    assert!(reply.head.status() >= 502, "{}", reply.head.raw);
    assert!(
        reply.text().starts_with("{\"kind\":\"Status\""),
        "{}",
        reply.text()
    );
    assert!(
        reply.text().contains(&address.to_string()),
        "{}",
        reply.text()
    );
    client.leave();
}

#[test]
fn server_of_another_ca_is_sent_nothing() {
    let cluster = Cluster::new();
    let impostor = Cluster::new().api_server();
    let front = Front::start(&cluster, &Settings::of(&[&impostor]));
    let mut client = Client::connect(&cluster, front.address(KUBECTL), None);
    let reply = client.ask("/api", &[("Authorization", "Bearer secret")]);
    assert_eq!(reply.head.status(), 502, "{}", reply.head.raw);
    assert!(
        reply.text().contains("apiservers.caFile"),
        "{}",
        reply.text()
    );
    assert!(!reply.text().contains("secret"));
    assert_eq!(served(&impostor), 0);
    client.leave();
}

#[test]
fn server_name_is_validated_in_place_of_the_address() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let settings = Settings {
        apiservers: ", serverName: kubernetes",
        ..Settings::of(&[&server])
    };
    let front = Front::start(&cluster, &settings);
    let mut client = Client::connect(&cluster, front.address(KUBECTL), None);
    let reply = client.ask("/api", &[]);
    assert_eq!(reply.head.status(), 502, "{}", reply.text());
    assert!(reply.text().contains("kubernetes"), "{}", reply.text());
    client.leave();
}

/// A kubelet's connection through the listener for nodes: TLS is the API server's own.
fn node(cluster: &Cluster, front: &Front) -> Client {
    let mut conn = Conn::new(TcpStream::connect(front.address(NODES)).unwrap());
    let kubelet = cluster.user("system:node:worker-3", "system:nodes");
    let config = tls::client(Some(&kubelet), &cluster.servers, &TLS13);
    let name = eyesplice_tests::api_server::name_of("127.0.0.1:443");
    conn.start_client(&Arc::new(config), name).unwrap();
    Client(conn)
}

#[test]
fn nodes_reach_a_healthy_server_with_their_own_tls() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.api_server(), cluster.api_server());
    let settings = Settings {
        apiservers: FAST,
        ..Settings::of(&[&one, &two])
    };
    let front = Front::start(&cluster, &settings);
    front.watch();
    one.set_ready(503);
    until_up(&front, &one, false);
    for count in 1..=3 {
        let mut client = node(&cluster, &front);
        let reply = client.ask("/api", &[]);
        assert_eq!(reply.text(), "system:node:worker-3 [system:nodes] directly");
        assert_eq!((served(&one), served(&two)), (0, count));
        client.leave();
        front.ended();
    }
    front.running().assert_nothing_held();
}

#[test]
fn server_that_speaks_the_proxy_protocol_is_told_who_comes() {
    let cluster = Cluster::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        servers: vec![format!("https://{}", listener.local_addr().unwrap())],
        apiservers: "",
        certificates: false,
        nodes: ", proxyProtocol: true",
        short_way: None,
        files: Vec::new(),
    };
    let front = Front::start(&cluster, &settings);
    let client = TcpStream::connect(front.address(NODES)).unwrap();
    let from = client.local_addr().unwrap();
    let mut client = Conn::new(client);
    // Who says nothing is led nowhere.
    client.write_all(b"hello").unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let mut server = Conn::new(accepted);
    let header = server.read_exact(28).unwrap();
    assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(
        header[12..16],
        [0x21, 0x11, 0, 12],
        "version 2, TCP over IPv4"
    );
    assert_eq!(header[16..20], [127, 0, 0, 1]);
    assert_eq!(header[24..26], from.port().to_be_bytes());
    assert_eq!(header[26..28], front.address(NODES).port().to_be_bytes());
    assert_eq!(server.read_exact(5).unwrap(), b"hello");
    client.shut().unwrap();
    assert_eq!(server.read_to_end().1, Ending::Clean);
    server.shut().unwrap();
    client.read_to_end();
    front.ended();
}

#[test]
fn server_with_the_fewest_connections_is_next() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.api_server(), cluster.api_server());
    let settings = Settings {
        apiservers: ", balance: leastStreams",
        ..Settings::of(&[&one, &two])
    };
    let front = Front::start(&cluster, &settings);
    let connect = || {
        let mut client = Client::connect(&cluster, front.address(KUBECTL), None);
        assert_eq!(client.ask("/api", &[]).head.status(), 200);
        client
    };
    let mut clients: Vec<Client> = (0..4).map(|_| connect()).collect();
    assert_eq!((served(&one), served(&two)), (2, 2));
    // Those of the first server leave: the next ones are its.
    for index in [2, 0] {
        clients.remove(index).leave();
    }
    front
        .running()
        .until("two are left", |totals| totals.streams_live == 2);
    let kubelet = node(&cluster, &front);
    clients.push(connect());
    // A server counts a connection when it has shaken hands, which its client may know before.
    let counts = || (one.connections(), two.connections());
    eventually(
        || (counts() == (4, 2)).then_some(()),
        || format!("a node's to count as well ({:?})", counts()),
    );
    kubelet.leave();
    for client in clients {
        client.leave();
    }
}
