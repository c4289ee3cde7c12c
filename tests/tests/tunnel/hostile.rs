//! Peers that break the protocol, at each point of it, from either end.

use eyesplice_dataplane::seam::Reason;
use eyesplice_proto::tunnel::{FailReason, Instance, OpenId, Registered, ToAgent, ToGateway};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::kubelet::{Kubelet, echo};
use eyesplice_tests::tunnel::{
    AGENT, Agent, Wire, assert_gateway_back, client, gateway, grant, limits, peer, subject,
};
use eyesplice_tests::variant::UNIX_TLS13;
use std::net::TcpListener;
use std::time::Duration;

/// A frame of a length that none has, a message that is none, and an end inside of one.
const GARBAGE: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\n\r\n",
    &[0, 0],
    &[0, 3, 0xff, 0xff, 0xff],
    &[0, 4, 1],
];

fn parking() -> Gateway {
    gateway(UNIX_TLS13, |setup| {
        let mut limits = limits();
        limits.parked = 0..=4;
        setup.tunnel = Some(limits);
    })
}

/// Sends bytes and the end of a direction, and waits until the other side has ended, too.
fn spoil(conn: &mut Conn, bytes: &[u8]) {
    conn.write_all(bytes).unwrap();
    // It may have been closed before.
    let _ = conn.shut();
    conn.read_to_end();
}

fn ask(gateway: &Gateway) -> Conn {
    let mut conn = gateway.api_server().reach();
    conn.write_all(b"CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .unwrap();
    conn
}

#[test]
fn garbage_in_place_of_the_first_frame_is_closed_and_counted() {
    let gateway = gateway(UNIX_TLS13, |_| {});
    let tls = client(AGENT);
    for garbage in GARBAGE {
        spoil(&mut Wire::agent(&gateway, &tls).conn, garbage);
    }
    for wrong in [ToGateway::Accepted, ToGateway::Pong(1), ToGateway::Draining] {
        let mut wire = Wire::agent(&gateway, &tls);
        wire.say(&wrong);
        wire.conn.read_to_end();
    }
    gateway.until("all are refused", |totals| totals.tunnel_refused == 7);
    assert_gateway_back(&gateway);
}

#[test]
fn garbage_on_a_control_connection_ends_the_registration() {
    let gateway = gateway(UNIX_TLS13, |_| {});
    let tls = client(AGENT);
    for garbage in GARBAGE {
        let mut wire = Wire::register(&gateway, &tls, 1);
        spoil(&mut wire.conn, garbage);
        gateway.until("no agent", |totals| totals.tunnel_agents == 0);
    }
    for wrong in [
        ToGateway::Accepted,
        ToGateway::Data {
            instance: Instance([1; 16]),
            id: None,
        },
    ] {
        let mut wire = Wire::register(&gateway, &tls, 1);
        wire.say(&wrong);
        while !wire.conn.read_to_end().0.is_empty() {}
        gateway.until("no agent", |totals| totals.tunnel_agents == 0);
    }
    assert_gateway_back(&gateway);
}

#[test]
fn parked_connection_that_speaks_or_ends_is_closed() {
    let gateway = parking();
    let tls = client(AGENT);
    let control = Wire::register(&gateway, &tls, 1);
    for garbage in GARBAGE {
        let mut wire = Wire::data(&gateway, &tls, 1, None);
        gateway.until("a parked one", |totals| totals.tunnel_parked == 1);
        spoil(&mut wire.conn, garbage);
        gateway.until("none parked", |totals| totals.tunnel_parked == 0);
    }
    let mut early = Wire::agent(&gateway, &tls);
    let data = ToGateway::Data {
        instance: Instance([1; 16]),
        id: None,
    };
    early.say_with(&data, b"early");
    early.conn.read_to_end();
    drop(control);
    assert_gateway_back(&gateway);
}

#[test]
fn garbage_in_place_of_an_answer_fails_the_open() {
    let gateway = gateway(UNIX_TLS13, |_| {});
    let tls = client(AGENT);
    let connected = ToGateway::Connected {
        address: "127.0.0.1:1".parse().unwrap(),
        inner_only: false,
    };
    for accepted in [false, true] {
        for garbage in GARBAGE {
            let mut control = Wire::register(&gateway, &tls, 1);
            let mut conn = ask(&gateway);
            let id = control.dial();
            let mut data = Wire::data(&gateway, &tls, 1, Some(id));
            data.hear();
            if accepted {
                data.say(&ToGateway::Accepted);
            }
            spoil(&mut data.conn, garbage);
            let head = eyesplice_tests::http::read_head(&mut conn).unwrap();
            assert!(matches!(head.status(), 502..=504), "{}", head.raw);
            drop(conn);
            gateway.ended();
        }
    }
    // In the wrong order.
    let mut control = Wire::register(&gateway, &tls, 1);
    let mut conn = ask(&gateway);
    let id = control.dial();
    let mut data = Wire::data(&gateway, &tls, 1, Some(id));
    data.hear();
    data.say(&connected);
    data.conn.read_to_end();
    let head = eyesplice_tests::http::read_head(&mut conn).unwrap();
    assert!(matches!(head.status(), 502..=504), "{}", head.raw);
    drop(conn);
    gateway.ended();
    drop(control);
    assert_gateway_back(&gateway);
}

#[test]
fn data_connection_of_another_identity_instance_or_open_is_refused() {
    let gateway = parking();
    let other = "edge-2";
    gateway
        .control
        .grant(&subject(other), Some(grant(other, "worker-4")));
    let (tls, theirs, nobody) = (client(AGENT), client(other), client("stranger"));
    let mut control = Wire::register(&gateway, &tls, 1);
    let foreign = Wire::register(&gateway, &theirs, 1);
    let mut conn = ask(&gateway);
    let id = control.dial();
    let unknown = OpenId([7; 16]);
    let mut refused = [
        Wire::data(&gateway, &theirs, 1, Some(id)),
        Wire::data(&gateway, &tls, 2, Some(id)),
        Wire::data(&gateway, &nobody, 1, Some(id)),
        Wire::data(&gateway, &tls, 1, Some(unknown)),
        Wire::data(&gateway, &tls, 2, None),
        Wire::data(&gateway, &nobody, 1, None),
    ];
    for wire in &mut refused {
        wire.conn.read_to_end();
    }
    gateway.until("all are refused", |totals| totals.tunnel_refused == 6);
    // None of them has used up the id.
    let mut data = Wire::data(&gateway, &tls, 1, Some(id));
    data.hear();
    data.say(&ToGateway::Accepted);
    data.say(&ToGateway::Connected {
        address: "127.0.0.1:1".parse().unwrap(),
        inner_only: false,
    });
    let head = eyesplice_tests::http::read_head(&mut conn).unwrap();
    assert_eq!(head.status(), 200);
    // It is used up now.
    Wire::data(&gateway, &tls, 1, Some(id)).conn.read_to_end();
    gateway.until("it is refused", |totals| totals.tunnel_refused == 7);
    drop((conn, data, control, foreign));
    gateway.ended();
    assert_gateway_back(&gateway);
}

#[test]
fn agent_without_a_grant_is_refused_with_words() {
    let gateway = gateway(UNIX_TLS13, |_| {});
    let mut wire = Wire::agent(&gateway, &client("stranger"));
    wire.say(&ToGateway::Control(eyesplice_proto::tunnel::Register {
        instance: Instance([1; 16]),
        version: "v0".into(),
        draining: false,
    }));
    let ToAgent::Refused { words } = wire.hear() else {
        panic!("taken")
    };
    assert!(words.as_str().contains("is no agent here"), "{words}");
    assert_eq!(wire.conn.read_to_end().1, Ending::Clean);
    drop(wire);
    let agent = Agent::holding(&[peer("g", gateway.tunnel_address(), client("stranger"))]);
    eyesplice_tests::wait::eventually(
        || {
            let error = agent.gateways().first()?.last_error.clone()?;
            error.contains("is no agent here").then_some(())
        },
        || format!("{:?}", agent.gateways()),
    );
    agent.finish();
    assert_gateway_back(&gateway);
}

#[test]
fn more_agents_and_parked_connections_than_allowed_are_refused() {
    let gateway = gateway(UNIX_TLS13, |setup| {
        let mut limits = limits();
        limits.parked = 0..=1;
        limits.max_agents = 1;
        setup.tunnel = Some(limits);
    });
    let tls = client(AGENT);
    let control = Wire::register(&gateway, &tls, 1);
    let mut second = Wire::agent(&gateway, &tls);
    second.say(&ToGateway::Control(eyesplice_proto::tunnel::Register {
        instance: Instance([2; 16]),
        version: "v0".into(),
        draining: false,
    }));
    let ToAgent::Refused { words } = second.hear() else {
        panic!("taken")
    };
    assert!(words.as_str().contains("limit of 1 agents"), "{words}");
    let parked = Wire::data(&gateway, &tls, 1, None);
    gateway.until("a parked one", |totals| totals.tunnel_parked == 1);
    Wire::data(&gateway, &tls, 1, None).conn.read_to_end();
    gateway.until("two refused", |totals| totals.tunnel_refused == 2);
    drop((control, parked, second));
    assert_gateway_back(&gateway);
}

#[test]
fn address_parks_no_more_than_its_share_of_the_connections() {
    let gateway = gateway(UNIX_TLS13, |setup| {
        let mut limits = limits();
        limits.parked = 0..=4;
        limits.max_parked_per_address = 2;
        setup.tunnel = Some(limits);
    });
    let tls = client(AGENT);
    let controls = [1, 2].map(|instance| Wire::register(&gateway, &tls, instance));
    let first = Wire::data(&gateway, &tls, 1, None);
    let second = Wire::data(&gateway, &tls, 2, None);
    gateway.until("two parked", |totals| totals.tunnel_parked == 2);
    Wire::data(&gateway, &tls, 1, None).conn.read_to_end();
    gateway.until("one refused", |totals| totals.tunnel_refused == 1);
    // Its place is free again.
    drop(first);
    gateway.until("one parked", |totals| totals.tunnel_parked == 1);
    let third = Wire::data(&gateway, &tls, 1, None);
    gateway.until("two parked", |totals| totals.tunnel_parked == 2);
    // So are those of an agent that leaves.
    let [one, two] = controls;
    drop(two);
    gateway.until("one parked", |totals| totals.tunnel_parked == 1);
    let fourth = Wire::data(&gateway, &tls, 1, None);
    gateway.until("two parked", |totals| totals.tunnel_parked == 2);
    assert_eq!(gateway.totals().tunnel_refused, 1);
    drop((one, second, third, fourth));
    assert_gateway_back(&gateway);
}

/// A gateway that says what the test says.
struct Fake(TcpListener);

impl Fake {
    fn new() -> (Self, Agent) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hold = [peer("fake", listener.local_addr().unwrap(), client(AGENT))];
        (Self(listener), Agent::holding(&hold))
    }

    /// A control connection, answered.
    fn control(&self, park: u32) -> Wire {
        let mut wire = Wire::gateway(&self.0);
        let ToGateway::Control(register) = wire.answer() else {
            panic!("no registration")
        };
        assert_eq!(register.instance, Instance([1; 16]));
        wire.order(&registered(park));
        wire
    }

    /// A data connection for an open.
    fn data(&self, control: &mut Wire, id: OpenId) -> Wire {
        let deadline = Duration::from_secs(100);
        control.order(&ToAgent::Dial { id, deadline });
        let mut wire = Wire::gateway(&self.0);
        let asked = ToGateway::Data {
            instance: Instance([1; 16]),
            id: Some(id),
        };
        assert_eq!(wire.answer(), asked);
        wire
    }
}

/// The answer to a registration, which asks for so many parked connections.
fn registered(park: u32) -> ToAgent {
    ToAgent::Registered(Registered {
        gateway: Instance([9; 16]),
        advertise: None,
        ping: Duration::from_secs(100),
        park,
    })
}

fn open(id: OpenId, target: &Kubelet) -> ToAgent {
    ToAgent::Open {
        id,
        target: target.target().parse().unwrap(),
        deadline: Duration::from_secs(100),
        inner_only: false,
    }
}

#[test]
fn replayed_open_is_refused_while_its_stream_runs_and_after_it() {
    let (fake, agent) = Fake::new();
    let mut control = fake.control(0);
    let target = Kubelet::with(None, echo);
    let id = OpenId([3; 16]);
    let mut first = fake.data(&mut control, id);
    first.order(&open(id, &target));
    assert_eq!(first.answer(), ToGateway::Accepted);
    assert!(matches!(first.answer(), ToGateway::Connected { .. }));
    let mut again = fake.data(&mut control, id);
    again.order(&open(id, &target));
    let ToGateway::Failed { reason, .. } = again.answer() else {
        panic!("opened twice")
    };
    assert_eq!(reason, FailReason::Seen);
    assert_eq!(again.conn.read_to_end().1, Ending::Clean);
    drop(again);
    assert_eq!(agent.ended().reason, Reason::Protocol);
    first.conn.write_and_shut(b"x").unwrap();
    assert_eq!(first.conn.read_to_end(), (b"x".to_vec(), Ending::Clean));
    drop(first);
    assert_eq!(agent.ended().reason, Reason::Completed);
    // It is seen until its deadline, whatever became of it.
    let mut later = fake.data(&mut control, id);
    later.order(&open(id, &target));
    let ToGateway::Failed { reason, .. } = later.answer() else {
        panic!("opened twice")
    };
    assert_eq!(reason, FailReason::Seen);
    later.conn.read_to_end();
    drop((later, control, fake));
    assert_eq!(agent.ended().reason, Reason::Protocol);
    assert_eq!(agent.totals().tunnel_replayed, 2);
    assert_eq!(target.connections(), 1);
    target.finish();
    agent.finish();
}

#[test]
fn gateway_that_speaks_garbage_is_left_and_dialled_again() {
    let (fake, agent) = Fake::new();
    for garbage in GARBAGE {
        // In place of an answer to the registration, and after it.
        let mut wire = Wire::gateway(&fake.0);
        wire.answer();
        spoil(&mut wire.conn, garbage);
        let mut wire = fake.control(0);
        agent.until("registered", |totals| totals.tunnel_gateways == 1);
        spoil(&mut wire.conn, garbage);
        agent.until("not registered", |totals| totals.tunnel_gateways == 0);
    }
    drop(fake);
    agent.finish();
}

/// The younger of two holders has registered in the place of the older one. If that registered
/// again, it would end the younger one's connection, and the other way about.
#[test]
fn control_connection_that_another_has_replaced_is_not_made_again() {
    let (fake, agent) = Fake::new();
    let mut first = fake.control(0);
    agent.until("registered", |totals| totals.tunnel_gateways == 1);
    let address = fake.0.local_addr().unwrap();
    agent.hold(&[peer("fake", address, client(AGENT))]);
    // It has registered by now, and does not know yet.
    let mut second = Wire::gateway(&fake.0);
    assert!(matches!(second.answer(), ToGateway::Control(_)));
    first.conn.shut().unwrap();
    assert_eq!(first.conn.read_to_end().1, Ending::Clean);
    drop(first);
    agent.until("not registered", |totals| totals.tunnel_gateways == 0);
    second.order(&registered(0));
    agent.until("registered", |totals| totals.tunnel_gateways == 1);
    assert_eq!(agent.totals().tunnel_backoffs, 0);
    drop((second, fake));
    agent.finish();
}

#[test]
fn gateway_that_speaks_garbage_on_a_data_connection_opens_nothing() {
    let (fake, agent) = Fake::new();
    let mut control = fake.control(0);
    let target = Kubelet::with(None, echo);
    let mut number = 0;
    for garbage in GARBAGE {
        number += 1;
        let mut data = fake.data(&mut control, OpenId([number; 16]));
        spoil(&mut data.conn, garbage);
    }
    // More than the open.
    let id = OpenId([99; 16]);
    let mut data = fake.data(&mut control, id);
    let mut frames = Vec::new();
    open(id, &target).write(&mut frames);
    frames.extend_from_slice(b"early");
    data.conn.write_all(&frames).unwrap();
    data.conn.read_to_end();
    drop((data, control, fake));
    assert_eq!(target.connections(), 0);
    target.finish();
    agent.finish();
}
