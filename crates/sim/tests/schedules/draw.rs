//! A schedule, drawn from a seed: a fleet, and what breaks in it.

use crate::fleets::{SERVICES, Shape};
use std::{fmt::Write, path::Path};
use tidegate_sim::{Fault, FaultKind, Scenario};

/// All faults strike from here on; the fleet has settled before.
pub(crate) const SETTLED_MS: u64 = 5_000;
/// All is whole from here on at the latest.
const HEALED_MS: u64 = 18_000;
/// By then all traffic is home again: three relapses make a hold-down 16 s, the ramp takes 2, and the rest is what checks take.
const DURATION_MS: u64 = HEALED_MS + 24_000;
const LONGEST_MS: u64 = 6_000;
/// A cluster's only gateway may stand still for so long unnoticed: with a beat's interval before it and one after, it is short
/// of the 300 ms of silence that requests without an answer confirm.
const BLIP_MS: u64 = 90;

/// Numbers from a seed: the congruence of Knuth's MMIX.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// A schedule.
pub(crate) struct Schedule {
    pub(crate) shape: Shape,
    /// The scenario file, but for its manifests.
    pub(crate) text: String,
    pub(crate) scenario: Scenario,
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        draw.below(2);
        // Faults that contradict each other, such as two restarts of one agent at once, are drawn anew.
        let mut tries = (0..100).map(|_| Self::draw(seed, &mut draw));
        tries.find_map(Result::ok).unwrap_or_else(|| {
            let error = Self::draw(seed, &mut draw).err();
            panic!("seed {seed}: a hundred schedules in a row are none: {error:?}")
        })
    }

    fn draw(seed: u64, draw: &mut Draw) -> Result<Self, String> {
        let shapes: Vec<Shape> = Shape::all().collect();
        let shape = draw.one(&shapes);
        let mut text = format!("manifests: fleet\nduration: {DURATION_MS}ms\nseed: {seed}\ndemand:\n");
        for (cluster, _) in shape.clusters() {
            for service in SERVICES {
                let rate = draw.one(&[5, 50]);
                writeln!(
                    text,
                    "- {{service: shop/{}, source: {cluster}/{cluster}a, curve: [{{at: 0s, rps: {rate}}}]}}",
                    service.name
                )
                .unwrap();
            }
        }
        text.push_str("faults:\n");
        // Half of them have only faults that must move nothing.
        let harmless = draw.below(2) == 0;
        for turn in 0..=draw.below(3) {
            // Faults do not all strike together: what one does must not hide what the next one does.
            let at = SETTLED_MS + turn * 2_000 + draw.below(2_000);
            if harmless { draw.harmless(shape, at, &mut text) } else { draw.any(shape, at, &mut text) }
        }
        let scenario =
            Scenario::parse(&text, Path::new("schedule.yaml")).map_err(|error| error.to_string())?;
        match shape.clusters().find(|(name, _)| restarts(&scenario, name) > 1) {
            Some((name, _)) => {
                Err(format!("the gateways of {name} are restarted twice, perhaps both at once"))
            }
            None => Ok(Self { shape, text, scenario }),
        }
    }
}

/// How often the gateways of a cluster are restarted in order. Two such restarts together may be no harmless fault.
fn restarts(scenario: &Scenario, cluster: &str) -> usize {
    let begins = |fault: &&Fault| match &fault.kind {
        FaultKind::StopGateway(it, number) => {
            it.as_str() == cluster && number.is_none_or(|number| number == 0) && is_harmless(fault)
        }
        _ => false,
    };
    scenario.faults.iter().filter(begins).count()
}

impl Draw {
    fn cluster(&mut self, shape: Shape) -> &'static str {
        let clusters: Vec<&str> = shape.clusters().map(|(name, _)| name).collect();
        self.one(&clusters)
    }

    fn two(&mut self, shape: Shape) -> (&'static str, &'static str) {
        let one = self.cluster(shape);
        let others: Vec<&str> = shape.clusters().map(|(name, _)| name).filter(|it| *it != one).collect();
        (one, self.one(&others))
    }

    /// A fault that moves nothing. (A dead hub is none at all for those who decide.)
    fn harmless(&mut self, shape: Shape, at: u64, text: &mut String) {
        let length = 200 + self.below(LONGEST_MS - 200);
        let cluster = self.cluster(shape);
        let (one, other) = self.two(shape);
        let mut put = |at: u64, length: u64, what: String| {
            writeln!(text, "- {{at: {at}ms, for: {length}ms, {what}}}").unwrap();
        };
        match self.below(7) {
            0 => put(at, 250, format!("pauseAgent: {cluster}")),
            1 => put(at, length, format!("pauseAgent: {cluster}")),
            2 => put(at, length, format!("restartAgent: {cluster}")),
            3 => put(at, length, format!("clockSkew: {cluster}, {}: 10m", self.one(&["ahead", "behind"]))),
            4 => put(at, length, format!("lateLine: {{between: {one}, and: {other}}}, delay: 200ms")),
            // A rolling restart: one after the other, or for a moment the only one.
            5 if shape.gateways == 2 => {
                put(at, 1_500, format!("stopGateway: {cluster}, number: 0"));
                put(at + 1_900, 1_500, format!("stopGateway: {cluster}, number: 1"));
            }
            5 => put(at, BLIP_MS, format!("stopGateway: {cluster}")),
            _ => put(at, length, format!("dropStatus: {cluster}, percent: {}", 20 + self.below(40))),
        }
    }

    fn any(&mut self, shape: Shape, at: u64, text: &mut String) {
        let length = 200 + self.below(LONGEST_MS - 200);
        let (one, other) = self.two(shape);
        let zone = self.one(shape.zones());
        let mut put = |what: &str| writeln!(text, "- {{at: {at}ms, for: {length}ms, {what}}}").unwrap();
        match self.below(9) {
            0 => put(&format!("partition: {{from: {one}, to: {other}}}")),
            1 => {
                put(&format!("partition: {{from: {one}, to: {other}}}"));
                put(&format!("partition: {{from: {other}, to: {one}}}"));
            }
            2 => {
                for (it, _) in shape.clusters().filter(|(it, _)| *it != one) {
                    put(&format!("partition: {{from: {one}, to: {it}}}"));
                    put(&format!("partition: {{from: {it}, to: {one}}}"));
                }
            }
            3 => put(&format!("loss: {{between: {one}, and: {other}}}, percent: 20")),
            4 => put(&format!("stopGateway: {one}")),
            5 => put(&format!("lose: zone/{one}{zone}")),
            6 => put(&format!("lose: cluster/{one}")),
            7 => put(&format!("brownOut: zone/{one}{zone}, percent: 50")),
            _ => self.harmless(shape, at, text),
        }
    }
}

/// Whether a fault must move nothing.
pub(crate) fn is_harmless(fault: &Fault) -> bool {
    match &fault.kind {
        FaultKind::PauseAgent(_)
        | FaultKind::RestartAgent(_)
        | FaultKind::ClockSkew(..)
        | FaultKind::LateLine { .. }
        | FaultKind::DropStatus(..)
        | FaultKind::StopGateway(_, Some(_)) => true,
        FaultKind::StopGateway(_, None) => {
            fault.until.is_some_and(|until| until.since(fault.at).as_millis() <= u128::from(BLIP_MS))
        }
        _ => false,
    }
}
