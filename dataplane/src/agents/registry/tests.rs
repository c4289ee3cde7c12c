use super::*;
use eyesplice_proto::stream::Side;
use eyesplice_proto::tls::provider;
use eyesplice_proto::tunnel::Patience;
use rustls::crypto::GetRandomFailed;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;

/// A door at which nobody waits.
struct Quiet;

impl Door for Quiet {
    fn is_crowded(&self) -> bool {
        false
    }
}

/// Gives random bits so often, and then fails.
#[derive(Debug)]
struct Dries(AtomicUsize);

impl SecureRandom for Dries {
    fn fill(&self, bits: &mut [u8]) -> Result<(), GetRandomFailed> {
        let left = self.0.load(Relaxed);
        self.0.store(left.saturating_sub(1), Relaxed);
        bits.fill(left.to_le_bytes()[0]);
        if left > 0 {
            Ok(())
        } else {
            Err(GetRandomFailed)
        }
    }
}

fn drying(fills: usize) -> Result<Registry, NoRandomness> {
    let source = Box::leak(Box::new(Dries(AtomicUsize::new(fills))));
    Registry::new(Arc::new(Quiet), source)
}

#[test]
fn registry_without_randomness_has_no_name_and_opens_nothing() {
    assert_eq!(drying(0).map(|_| ()), Err(NoRandomness));
    let registry = drying(2).unwrap();
    assert_eq!(registry.open_id(), Ok(OpenId([1; 16])));
    assert_eq!(registry.open_id(), Err(NoRandomness), "not a zero");
}

fn limits() -> TunnelLimits {
    TunnelLimits {
        max_agents: 1,
        parked: 0..=1,
        max_parked: 1,
        max_parked_per_address: 1,
        advertise: None,
        ping: Duration::from_secs(10),
        patience: Patience::default(),
    }
}

#[test]
fn connection_that_comes_while_its_open_gives_up_is_closed_and_not_overlooked() {
    let source = provider::shared().secure_random;
    let registry = Arc::new(Registry::new(Arc::new(Quiet), source).unwrap());
    let newcomer = Newcomer {
        register: Register {
            instance: Instance([1; 16]),
            version: "v0".into(),
            draining: false,
        },
        grant: Arc::new(AgentGrant {
            name: "edge-1".into(),
            nodes: Arc::default(),
            networks: Arc::default(),
            suffixes: Arc::default(),
        }),
        address: ([127, 0, 0, 1], 1).into(),
    };
    let (orders, mut heard) = mpsc::channel(2);
    let seat = registry.register(newcomer, orders, &limits()).unwrap();
    for comes in [false, true] {
        let id = registry.open_id().unwrap();
        let within = Duration::from_secs(1);
        let asked = registry.dial_back(seat.key(), id, within).unwrap();
        assert!(matches!(heard.try_recv(), Ok(Order::Dial { .. })));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let connection = Connection {
            leg: Parts::new(ours.into(), Side::Upstream),
            chain: Arc::from([]),
        };
        let kept = if comes {
            registry.deliver(seat.key(), id, connection).unwrap();
            None
        } else {
            Some(connection)
        };
        assert_eq!(asked.void(), comes);
        drop(kept);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "it is closed");
        let over = Err(Unregistered::NoOpen("edge-1".into()));
        assert_eq!(registry.awaits(seat.key(), id), over);
    }
}
