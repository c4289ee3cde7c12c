use super::*;
use crate::apiserver::Act;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// The Lease as an API server keeps it.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
    /// Nobody gets an answer.
    down: bool,
}

impl Server {
    fn put(&mut self, mut lease: Lease) -> Lease {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }

    fn holder(&self) -> String {
        let spec = self.lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| spec.holder_identity.clone());
        holder.unwrap_or_default()
    }
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// On its way there, and back.
    there_ms: u64,
    back_ms: u64,
    /// It is lost before it arrived, or its answer is.
    lost: bool,
    unanswered: bool,
}

const FAIR: Weather = Weather {
    there_ms: 1,
    back_ms: 1,
    lost: false,
    unanswered: false,
};

/// One candidate's way to the server.
struct Link {
    server: Arc<Mutex<Server>>,
    weather: Vec<Weather>,
    sent: Mutex<usize>,
}

impl Link {
    /// Sends a request that arrives even if its sender has given up meanwhile.
    async fn send<T: Send + 'static>(
        &self,
        verb: &'static str,
        act: impl FnOnce(&mut Server) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let resource = RESOURCE;
        let weather = {
            let mut sent = self.sent.lock().unwrap();
            *sent += 1;
            self.weather[*sent % self.weather.len()]
        };
        let server = Arc::clone(&self.server);
        let exchange = tokio::spawn(async move {
            let refused = || CallError::Late(Act(verb, resource));
            sleep(Duration::from_millis(weather.there_ms)).await;
            if weather.lost || server.lock().unwrap().down {
                return Err(refused());
            }
            let done = act(&mut server.lock().unwrap());
            sleep(Duration::from_millis(weather.back_ms)).await;
            if weather.unanswered {
                return Err(refused());
            }
            done
        });
        exchange.await.unwrap()
    }
}

impl Leases for Link {
    async fn get(&self) -> Result<Option<Lease>, CallError> {
        self.send("get", |server| Ok(server.lease.clone())).await
    }

    async fn create(&self, lease: Lease) -> Result<Lease, CallError> {
        self.send("create", move |server| match &server.lease {
            Some(_) => Err(CallError::Conflict(Act("create", RESOURCE))),
            None => Ok(server.put(lease)),
        })
        .await
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, CallError> {
        self.send("update", move |server| {
            let known = server.lease.as_ref();
            let known = known.and_then(|lease| lease.metadata.resource_version.clone());
            if known != lease.metadata.resource_version {
                return Err(CallError::Conflict(Act("update", RESOURCE)));
            }
            Ok(server.put(lease))
        })
        .await
    }
}

struct Candidate {
    leadership: Leadership,
    task: JoinHandle<()>,
}

impl Candidate {
    fn start(server: &Arc<Mutex<Server>>, name: &str, weather: &[Weather]) -> Self {
        let mut elector = elector(server, name, weather);
        let leadership = elector.leadership();
        let task = tokio::spawn(async move { elector.run().await });
        Self { leadership, task }
    }

    /// As a process that dies: nothing is given up.
    fn kill(&self) {
        self.task.abort();
    }

    fn acts(&self) -> bool {
        !self.task.is_finished() && self.leadership.holds()
    }
}

fn elector(server: &Arc<Mutex<Server>>, name: &str, weather: &[Weather]) -> Elector<Link> {
    let link = Link {
        server: Arc::clone(server),
        weather: weather.to_vec(),
        sent: Mutex::new(0),
    };
    Elector::new(link, name.to_owned(), Timing::default(), || 0.5)
}

fn server() -> Arc<Mutex<Server>> {
    Arc::default()
}

#[tokio::test(start_paused = true)]
async fn lease_that_nobody_holds_is_taken_at_once_by_one() {
    let server = server();
    let mut one = Candidate::start(&server, "one", &[FAIR]);
    let two = Candidate::start(&server, "two", &[FAIR]);
    timeout(SECOND, one.leadership.gained()).await.unwrap();
    sleep(60 * SECOND).await;
    assert!(one.acts() && !two.acts());
    assert_eq!(server.lock().unwrap().holder(), "one");
    let spec = server.lock().unwrap().lease.clone().unwrap().spec.unwrap();
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.lease_transitions, Some(0));
}

#[tokio::test(start_paused = true)]
async fn lease_of_a_dead_holder_is_taken_after_its_duration_and_not_before() {
    let server = server();
    let one = Candidate::start(&server, "one", &[FAIR]);
    sleep(20 * SECOND).await;
    let mut two = Candidate::start(&server, "two", &[FAIR]);
    sleep(3 * SECOND).await;
    one.kill();
    let died = Instant::now();
    timeout(60 * SECOND, two.leadership.gained()).await.unwrap();
    let waited = died.elapsed();
    // The last renewal was at most one retry period before the death.
    assert!(waited > 12 * SECOND && waited < 21 * SECOND, "{waited:?}");
    let spec = server.lock().unwrap().lease.clone().unwrap().spec.unwrap();
    assert_eq!(spec.lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn holder_whose_clock_is_wrong_is_not_robbed() {
    let server = server();
    let long_ago = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
    let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(long_ago);
    let spec = k8s_openapi::api::coordination::v1::LeaseSpec {
        holder_identity: Some("other".to_owned()),
        lease_duration_seconds: Some(15),
        renew_time: Some(at.clone()),
        acquire_time: Some(at),
        ..Default::default()
    };
    server.lock().unwrap().put(Lease {
        metadata: ObjectMeta::default(),
        spec: Some(spec),
    });
    let mut one = Candidate::start(&server, "one", &[FAIR]);
    assert!(timeout(14 * SECOND, one.leadership.gained()).await.is_err());
    timeout(10 * SECOND, one.leadership.gained()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn holder_that_cannot_renew_stops_before_the_lease_can_be_taken() {
    let server = server();
    let mut one = Candidate::start(&server, "one", &[FAIR]);
    timeout(SECOND, one.leadership.gained()).await.unwrap();
    sleep(9 * SECOND).await;
    server.lock().unwrap().down = true;
    let cut = Instant::now();
    one.leadership.lost().await;
    assert!(cut.elapsed() <= 10 * SECOND, "{:?}", cut.elapsed());
    assert!(!one.acts());
    server.lock().unwrap().down = false;
    timeout(10 * SECOND, one.leadership.gained()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lease_that_is_given_up_is_taken_at_the_next_try() {
    let server = server();
    let mut one = elector(&server, "one", &[FAIR]);
    let leadership = one.leadership();
    let _ = timeout(SECOND, one.run()).await;
    assert!(leadership.holds());
    let mut two = Candidate::start(&server, "two", &[FAIR]);
    sleep(SECOND).await;
    one.release().await;
    assert!(!leadership.holds());
    assert_eq!(server.lock().unwrap().holder(), "");
    timeout(5 * SECOND, two.leadership.gained()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lease_that_another_took_is_not_given_up_for_it() {
    let server = server();
    let mut one = elector(&server, "one", &[FAIR]);
    let _ = timeout(SECOND, one.run()).await;
    let mut two = Candidate::start(&server, "two", &[FAIR]);
    timeout(30 * SECOND, two.leadership.gained()).await.unwrap();
    one.release().await;
    assert_eq!(server.lock().unwrap().holder(), "two");
}

fn weather() -> impl Strategy<Value = Weather> {
    let delay = || prop_oneof![6 => 0..200u64, 2 => 200..4_000u64, 1 => 4_000..30_000u64];
    let parts = (delay(), delay(), 0..10u8, 0..10u8);
    parts.prop_map(|(there_ms, back_ms, lost, unanswered)| Weather {
        there_ms,
        back_ms,
        lost: lost == 0,
        unanswered: unanswered == 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn two_candidates_never_act_at_the_same_time_whatever_the_network_does(
        skies in prop::collection::vec(prop::collection::vec(weather(), 1..24), 3),
        deaths in prop::collection::vec((0..3usize, 1..90u64), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = server();
            let start = |index: usize, life: usize| {
                Candidate::start(&server, &format!("{index}-{life}"), &skies[index])
            };
            let mut candidates: Vec<Candidate> = (0..3).map(|index| start(index, 0)).collect();
            let watch = async |candidates: &[Candidate], length: Duration| {
                let end = Instant::now() + length;
                while Instant::now() < end {
                    let acting = candidates.iter().filter(|c| c.acts()).count();
                    assert!(acting <= 1, "{acting} candidates act");
                    sleep(Duration::from_millis(40)).await;
                }
            };
            for (life, (index, after)) in deaths.into_iter().enumerate() {
                watch(&candidates, Duration::from_secs(after)).await;
                candidates[index].kill();
                candidates[index] = start(index, life + 1);
            }
            watch(&candidates, 120 * SECOND).await;
            // Whatever was, under fair weather there is a leader soon.
            candidates.iter().for_each(Candidate::kill);
            candidates.push(Candidate::start(&server, "last", &[FAIR]));
            watch(&candidates, 60 * SECOND).await;
            assert!(candidates[3].acts());
        });
    }
}
