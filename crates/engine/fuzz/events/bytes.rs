//! Bytes as choices: whatever they are, they mean something, and where they end everything is zero.

use crate::fixture::{cluster, region, service, zone};
use std::time::Duration;
use tidegate_model::{ClusterName, Fraction, Locality, Region, ServiceName, Zone};

/// The last name of each list is never told of, unless the bytes say so: whatever is about it is about nothing known.
const SERVICES: [&str; 7] = ["web", "pay", "auth", "cart", "mail", "feed", "ghost"];
const ZONES: [&str; 4] = ["a", "b", "c", "ghost"];
/// The first is the own cluster.
pub(crate) const CLUSTERS: [&str; 5] = ["east", "east-2", "west", "eu-1", "ghost"];
const REGIONS: [&str; 4] = ["us-east", "us-west", "eu", "ghost"];
/// Services that a whole fleet has.
pub(crate) const TOLD_SERVICES: usize = 6;

/// What is left to read.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Below `end`, which fits a byte.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// As many as `most`, each read by `read`.
    pub(crate) fn list<T>(&mut self, most: usize, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| read(self)).collect()
    }

    pub(crate) fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| read(self))
    }

    /// Mostly small, now and then at the limits.
    pub(crate) fn count(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => u32::MAX - 1,
            253 => 1 << 31,
            other => u32::from(other % 12),
        }
    }

    /// The same, of loads in thousandths.
    pub(crate) fn amount(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::MAX / 2,
            253 => 1 << 53,
            252 => 1,
            other => u64::from(other) * 5_000,
        }
    }

    pub(crate) fn duration(&mut self) -> Duration {
        match self.byte() {
            255 => Duration::MAX,
            254 => Duration::from_millis(u64::MAX),
            253 => Duration::from_nanos(1),
            252 => Duration::from_secs(24 * 3600),
            251 => Duration::from_secs(3600),
            other if other >= 200 => Duration::from_millis(u64::from(other - 200) * 7),
            other => Duration::from_millis(u64::from(other) * 500),
        }
    }

    pub(crate) fn fraction(&mut self) -> Fraction {
        let ppm = match self.byte() {
            255 => 1_000_000,
            254 => 999_999,
            253 => 1,
            other => u32::from(other % 101) * 10_000,
        };
        Fraction::from_ppm(ppm).expect("at most a million")
    }

    pub(crate) fn service(&mut self) -> ServiceName {
        service(self.pick(&SERVICES))
    }

    pub(crate) fn zone(&mut self) -> Zone {
        zone(self.pick(&ZONES))
    }

    pub(crate) fn cluster(&mut self) -> ClusterName {
        cluster(self.pick(&CLUSTERS))
    }

    pub(crate) fn region(&mut self) -> Region {
        region(self.pick(&REGIONS))
    }

    pub(crate) fn locality(&mut self) -> Locality {
        Locality { region: self.region(), zone: self.zone() }
    }
}

/// The services that a whole fleet has.
pub(crate) fn told_services() -> impl Iterator<Item = ServiceName> {
    SERVICES[..TOLD_SERVICES].iter().map(|name| service(name))
}
