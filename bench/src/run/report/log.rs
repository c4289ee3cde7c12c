//! HdrHistogram logs (version 1.3, V2 histograms with compression), which its tools and plotters
//! read.

use crate::meter::Interval;
use crate::{Attempt, Error, Result};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use std::time::{Duration, SystemTime};

/// Recorded values are nanoseconds; the maximum beside each histogram is in milliseconds, as the
/// format's other writers have it.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

/// The log of one workload; `began` is when its measurement began to count.
pub(super) fn encode(intervals: &[Interval], began: SystemTime) -> Result<Vec<u8>> {
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[eyesplice-load; values in nanoseconds, from when operations were due]")
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND)
        .begin_log_with(&mut log, &mut serializer)
        .attempt("begin a histogram log")?;
    for interval in intervals
        .iter()
        .filter(|interval| interval.length > Duration::ZERO)
    {
        writer
            .write_histogram(&interval.latency, interval.start, interval.length, None)
            .map_err(|error| Error::Unfit(format!("cannot write a histogram: {error:?}")))?;
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn log_is_read_as_it_was_written() {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        latency.record_n(1_000_000, 99).unwrap();
        latency.record(2_000_000_000).unwrap();
        let intervals = [0, 1].map(|second| Interval {
            start: Duration::from_secs(second),
            length: Duration::from_secs(1),
            latency: latency.clone(),
        });
        let log = encode(&intervals, SystemTime::now()).unwrap();
        let read: Vec<_> = IntervalLogIterator::new(&log)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].start_timestamp(), Duration::from_secs(1));
        assert!((read[1].max() - 2000.0).abs() < 10.0, "{}", read[1].max());
        let bytes = data_encoding::BASE64.decode(read[1].encoded_histogram().as_bytes());
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.unwrap().as_slice())
            .unwrap();
        assert_eq!(histogram, latency);
    }
}
