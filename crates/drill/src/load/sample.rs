//! What became of each request, kept small.

use crate::clock::micros;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    time::Duration,
};
use tidegate_model::{ServiceName, Time};

/// Samples that one load keeps: seven hours at 200 requests per second, 120 MB.
const MAX_SAMPLES: usize = 5_000_000;
/// [`Sample::served`] when nobody said who served.
const NOBODY: u16 = u16::MAX;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// An answer with this status came, whole.
    Status(u16),
    /// A whole answer came, with this status of gRPC, which is not OK.
    Grpc(u16),
    /// No whole answer came in time.
    Timeout,
    /// No connection could be opened.
    Connect,
    /// The connection ended, or broke the protocol, before the answer was whole.
    Broken,
    /// It was not sent, because too many were unanswered already.
    Overload,
}

impl Outcome {
    /// Whether the client got what it asked for: a status below 400.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Status(..400))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.pad(&status.to_string()),
            Self::Grpc(status) => f.pad(&format!("grpc-{status}")),
            Self::Timeout => f.pad("timeout"),
            Self::Connect => f.pad("connect"),
            Self::Broken => f.pad("broken"),
            Self::Overload => f.pad("overload"),
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let of = |text: &str| text.parse::<u16>().ok();
        let known = [Self::Timeout, Self::Connect, Self::Broken, Self::Overload];
        let read = match text.strip_prefix("grpc-") {
            Some(status) => of(status).map(Self::Grpc),
            None => {
                known.into_iter().find(|it| it.to_string() == text).or_else(|| of(&text).map(Self::Status))
            }
        };
        read.ok_or_else(|| D::Error::custom(format!("{text:?} is not what becomes of a request")))
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When it was due, in microseconds of lab time.
    pub due_us: u64,
    /// From then until its end, in microseconds; at most 71 minutes.
    pub latency_us: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// Which service it asked for: an index into [`Samples::services`].
    pub service: u16,
    /// Who served it: an index into [`Samples::served`], or none.
    served: u16,
}

impl Sample {
    /// A sample made by hand, served by nobody known.
    #[must_use]
    pub fn new(due: Time, latency: Duration, outcome: Outcome) -> Self {
        let latency_us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        Self { due_us: micros(due.since_origin()), latency_us, outcome, service: 0, served: NOBODY }
    }

    /// A sample of a target, by its index.
    pub(crate) fn of(due_us: u64, latency: Duration, outcome: Outcome, target: u16) -> Self {
        let latency_us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        Self { due_us, latency_us, outcome, service: target, served: NOBODY }
    }

    /// The same sample, served by who has this index in [`Samples::served`].
    #[must_use]
    pub const fn by(self, served: u16) -> Self {
        Self { served, ..self }
    }

    /// When it was due.
    #[must_use]
    pub const fn due(&self) -> Time {
        Time::from_origin(Duration::from_micros(self.due_us))
    }

    /// From when it was due until its end.
    #[must_use]
    pub const fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_us as u64)
    }

    /// When it ended.
    #[must_use]
    pub fn ended(&self) -> Time {
        self.due() + self.latency()
    }
}

/// Who served requests, from the headers of the answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Served {
    /// The endpoint.
    pub endpoint: String,
    /// Its zone.
    pub zone: String,
    /// Its cluster.
    pub cluster: String,
}

/// What became of the requests of one load.
#[derive(Clone, Debug, Serialize)]
pub struct Samples {
    /// The load.
    pub label: String,
    /// The services that it asks for.
    pub services: Vec<ServiceName>,
    /// Who served.
    pub served: Vec<Served>,
    /// The requests, in the order in which they ended.
    pub requests: Vec<Sample>,
    /// Requests that were in flight when this was taken.
    pub in_flight: usize,
    /// Requests that are not in it because it was full.
    pub dropped: u64,
    /// The longest time that the generator itself was late, in microseconds: latencies are too long by up to so much.
    pub late_us: u64,
}

impl Samples {
    /// Who served a request, if its answer said so.
    #[must_use]
    pub fn served_by(&self, sample: &Sample) -> Option<&Served> {
        self.served.get(usize::from(sample.served))
    }
}

/// The books of a running load.
#[derive(Debug)]
pub(super) struct Record {
    requests: Vec<Sample>,
    served: Vec<Served>,
    by_served: HashMap<Served, u16>,
    /// By (due, number), so that the earliest comes first.
    in_flight: BTreeSet<(u64, u64)>,
    /// Everything due before it has been started.
    started_us: u64,
    dropped: u64,
    late_us: u64,
}

impl Record {
    pub(super) fn new(start: Time) -> Self {
        Self {
            requests: Vec::new(),
            served: Vec::new(),
            by_served: HashMap::new(),
            in_flight: BTreeSet::new(),
            started_us: micros(start.since_origin()),
            dropped: 0,
            late_us: 0,
        }
    }

    /// Books that a request is started now.
    pub(super) fn start(&mut self, due_us: u64, number: u64, now: Time) {
        self.in_flight.insert((due_us, number));
        self.started_us = due_us;
        self.late_us = self.late_us.max(micros(now.since_origin()).saturating_sub(due_us));
    }

    pub(super) fn end(
        &mut self,
        request: (u64, u64),
        latency: Duration,
        outcome: Outcome,
        service: usize,
        served: Option<Served>,
    ) {
        self.in_flight.remove(&request);
        if self.requests.len() >= MAX_SAMPLES {
            self.dropped += 1;
            return;
        }
        let latency_us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        let service = u16::try_from(service).unwrap_or(u16::MAX);
        let served = served.map_or(NOBODY, |served| self.index(served));
        self.requests.push(Sample { due_us: request.0, latency_us, outcome, service, served });
    }

    fn index(&mut self, served: Served) -> u16 {
        if let Some(index) = self.by_served.get(&served) {
            return *index;
        }
        // Beyond 65,534 different endpoints nobody is named.
        match u16::try_from(self.served.len()) {
            Ok(index) if index < NOBODY => {
                self.served.push(served.clone());
                self.by_served.insert(served, index);
                index
            }
            _ => NOBODY,
        }
    }

    /// Whether everything that was due before `until_us` has started and ended.
    pub(super) fn is_settled(&self, until_us: u64) -> bool {
        self.started_us >= until_us && self.in_flight.first().is_none_or(|(due_us, _)| *due_us >= until_us)
    }

    pub(super) fn samples(&self, label: String, services: Vec<ServiceName>) -> Samples {
        Samples {
            label,
            services,
            served: self.served.clone(),
            requests: self.requests.clone(),
            in_flight: self.in_flight.len(),
            dropped: self.dropped,
            late_us: self.late_us,
        }
    }
}
