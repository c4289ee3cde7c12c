//! Says whether the generator, and not the proxy, was what limited a run.

use serde::{Deserialize, Serialize};

/// From this share of its cores on the generator has no room left.
const BUSY: f64 = 0.95;

/// From this share of the direct throughput on a proxy is as fast as the generator can see.
const AS_DIRECT: f64 = 0.9;

/// An open loop that did this share of what was due kept up.
const KEPT_UP: f64 = 0.99;

/// What is known about a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    /// CPU seconds of the generator per second and core that it may use.
    pub(crate) generator_share: f64,
    /// CPU seconds per second of the proxy; none if it is not watched.
    pub(crate) proxy_cores: Option<f64>,
    /// Throughput through the proxy by that of the direct connection; none if that was not measured.
    pub(crate) of_direct: Option<f64>,
    /// Operations done by operations due; none in a closed loop.
    pub(crate) done: Option<f64>,
}

/// What limited the throughput of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// The arrival rate: latencies and CPU figures hold.
    Rate,
    /// The proxy, as it should be.
    Proxy,
    /// The generator: throughput is its own; CPU figures of the proxy are those of a proxy that
    /// waits now and then.
    Generator,
    /// Waiting: neither was busy, as with one request at a time.
    Latency,
}

impl Limit {
    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Rate => "the arrival rate",
            Self::Proxy => "the proxy",
            Self::Generator => {
                "THE GENERATOR: throughput is the generator's and not the proxy's; add cores or \
                 lower the rate"
            }
            Self::Latency => "waiting for answers, neither CPU",
        }
    }
}

/// What limited a run with these bounds.
pub(crate) fn judge(bounds: Bounds) -> Limit {
    let proxy_busy = bounds.proxy_cores.is_some_and(|cores| cores >= BUSY);
    let generator_busy = bounds.generator_share >= BUSY;
    let as_direct = bounds.of_direct.is_some_and(|share| share >= AS_DIRECT);
    match bounds.done {
        Some(done) if done >= KEPT_UP => Limit::Rate,
        _ if proxy_busy => Limit::Proxy,
        _ if generator_busy || as_direct => Limit::Generator,
        // Not watched, and the generator had room: what else was there to wait for.
        _ if bounds.proxy_cores.is_none() && bounds.of_direct.is_some() => Limit::Proxy,
        _ => Limit::Latency,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_whoever_had_no_room_left() {
        let bounds = |generator_share, proxy_cores, of_direct, done| Bounds {
            generator_share,
            proxy_cores,
            of_direct,
            done,
        };
        for (given, limit) in [
            (bounds(0.5, Some(0.99), Some(0.4), None), Limit::Proxy),
            (bounds(0.99, Some(0.5), Some(0.4), None), Limit::Generator),
            (bounds(0.6, Some(0.5), Some(0.97), None), Limit::Generator),
            // Both busy: the proxy could not do more.
            (bounds(0.99, Some(0.99), Some(0.95), None), Limit::Proxy),
            (bounds(0.3, Some(0.2), Some(0.5), None), Limit::Latency),
            (bounds(0.99, Some(0.2), None, Some(1.0)), Limit::Rate),
            (bounds(0.99, Some(0.2), None, Some(0.7)), Limit::Generator),
            (bounds(0.3, None, Some(0.5), None), Limit::Proxy),
            (bounds(0.3, None, None, None), Limit::Latency),
        ] {
            assert_eq!(judge(given), limit, "{given:?}");
        }
    }
}
