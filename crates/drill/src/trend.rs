//! How the runs of one drill change over time. Pure.
//!
//! The newest run is compared with the median of the runs before it, because a single bad run must not move what is normal.
//! It is a regression if it is above [`TIMES`] times that median, and more than [`DEVIATIONS`] median absolute deviations
//! above it, and by more than what no one would act upon ([`Kind::least`]); with fewer than [`LEAST`] runs before it nothing
//! is said. The median absolute deviation is the median of |value - median| (Hampel, 1974).

use serde::Serialize;

/// Times the median.
pub const TIMES: f64 = 1.5;
/// Median absolute deviations above the median.
pub const DEVIATIONS: f64 = 3.0;
/// So many runs before the newest.
pub const LEAST: usize = 3;

/// One run, as far as it is compared. Times in milliseconds, parts from 0 to 1; `None` where it did not come to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// From the fault to lasting success.
    pub rto_ms: Option<f64>,
    /// The part of the requests in the cut-over that failed.
    pub error_rate: Option<f64>,
    /// From mending to lasting success.
    pub stable_recovery_ms: Option<f64>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// [`Run::rto_ms`].
    Rto,
    /// [`Run::error_rate`].
    ErrorRate,
    /// [`Run::stable_recovery_ms`].
    StableRecovery,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rto, Self::ErrorRate, Self::StableRecovery];

    fn of(self, run: &Run) -> Option<f64> {
        match self {
            Self::Rto => run.rto_ms,
            Self::ErrorRate => run.error_rate,
            Self::StableRecovery => run.stable_recovery_ms,
        }
    }

    /// What a difference must be above to count: 100 ms, or 0.1 percent of the requests. Without it, a drill that never
    /// failed a request would regress by one.
    #[must_use]
    pub const fn least(self) -> f64 {
        match self {
            Self::Rto | Self::StableRecovery => 100.0,
            Self::ErrorRate => 0.001,
        }
    }

    /// As an objective names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rto => "rto",
            Self::ErrorRate => "errorRate",
            Self::StableRecovery => "stableRecovery",
        }
    }

    /// A value for people.
    #[must_use]
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Rto | Self::StableRecovery => crate::report::duration(value),
            Self::ErrorRate => crate::report::percent(value),
        }
    }
}

/// How one measure went. In the unit of [`Run`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trend {
    /// Which.
    pub measure: Kind,
    /// Of each run, the oldest first.
    pub values: Vec<Option<f64>>,
    /// Of the newest run.
    pub newest: Option<f64>,
    /// The median of the runs before that have a value; `None` with fewer than [`LEAST`].
    pub median: Option<f64>,
    /// Their median absolute deviation.
    pub deviation: Option<f64>,
    /// Whether the newest run is a regression.
    pub regression: bool,
}

/// How the measures went over `runs`, the oldest first.
#[must_use]
pub fn trends(runs: &[Run]) -> Vec<Trend> {
    Kind::ALL.map(|kind| trend(kind, runs.iter().map(|run| kind.of(run)).collect())).into()
}

fn trend(measure: Kind, values: Vec<Option<f64>>) -> Trend {
    let (newest, before) = match values.split_last() {
        Some((newest, before)) => (*newest, before),
        None => (None, &values[..]),
    };
    let known: Vec<f64> = before.iter().copied().flatten().filter(|it| it.is_finite()).collect();
    let middle = (known.len() >= LEAST).then(|| median(known.clone()));
    let deviation = middle.map(|middle| median(known.iter().map(|it| (it - middle).abs()).collect()));
    let regression = match (newest, middle, deviation) {
        (Some(newest), Some(median), Some(deviation)) => {
            newest > TIMES * median
                && newest > median + DEVIATIONS * deviation
                && newest > median + measure.least()
        }
        // It recovered in most runs before, and now it did not.
        (None, Some(_), _) => known.len() * 2 > before.len(),
        _ => false,
    };
    Trend { measure, newest, median: middle, deviation, regression, values }
}

/// Of at least one value; the mean of the two in the middle of an even number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) }
}

/// The values as a small picture: a bar each, from 0 to the greatest; `·` where there is none.
#[must_use]
pub fn sparkline(values: &[Option<f64>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let greatest = values.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |value: f64| {
        let part = if greatest > 0.0 { (value / greatest).clamp(0.0, 1.0) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
        let at = (part * 7.0).round() as usize;
        BARS[at.min(7)]
    };
    values.iter().map(|it| it.map_or('·', bar)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rto(values: &[f64]) -> Trend {
        trend(Kind::Rto, values.iter().map(|it| Some(*it)).collect())
    }

    #[test]
    fn a_run_regresses_only_far_above_the_median_of_at_least_three() {
        for (values, regression) in [
            (&[][..], false),
            (&[9000.0], false),
            (&[1000.0, 1000.0, 9000.0], false),
            (&[1000.0, 1010.0, 990.0, 1600.0], true),
            (&[1000.0, 1010.0, 990.0, 1490.0], false),
            // One bad run before does not change what is normal, and a better run is no regression.
            (&[1000.0, 9000.0, 1010.0, 990.0, 1600.0], true),
            (&[1000.0, 1010.0, 990.0, 10.0], false),
            // They differ that much anyway.
            (&[500.0, 1000.0, 1500.0, 2000.0, 2200.0], false),
            (&[500.0, 1000.0, 1500.0, 2000.0, 2900.0], true),
            // Twice as long, and nobody would act on it.
            (&[20.0, 20.0, 20.0, 90.0], false),
            (&[0.0, 0.0, 0.0, 101.0], true),
        ] {
            assert_eq!(rto(values).regression, regression, "{values:?}");
        }
        let found = rto(&[1000.0, 1010.0, 990.0, 1020.0, 1600.0]);
        assert_eq!((found.median, found.deviation, found.newest), (Some(1005.0), Some(10.0), Some(1600.0)));
    }

    #[test]
    fn not_to_recover_any_more_is_a_regression_and_never_to_have_is_none() {
        let of = |values: &[Option<f64>]| trend(Kind::Rto, values.to_vec()).regression;
        assert!(of(&[Some(1.0), Some(1.0), Some(1.0), None]));
        assert!(!of(&[Some(1.0), Some(1.0), Some(1.0), None, None, None, None]));
        assert!(!of(&[None, None, None, None]));
        assert!(!of(&[Some(1.0), Some(1.0), None]));
    }

    #[test]
    fn each_measure_is_compared_in_its_own_unit() {
        let run = |error_rate| Run { error_rate: Some(error_rate), ..Run::default() };
        let found = trends(&[run(0.0), run(0.0), run(0.0), run(0.0005)]);
        assert!(found.iter().all(|it| !it.regression));
        let found = trends(&[run(0.0), run(0.0), run(0.0), run(0.002)]);
        let names: Vec<_> = found.iter().filter(|it| it.regression).map(|it| it.measure.name()).collect();
        assert_eq!(names, ["errorRate"]);
        assert_eq!(Kind::ErrorRate.text(0.002), "0.200 %");
    }

    #[test]
    fn a_sparkline_begins_at_zero() {
        assert_eq!(sparkline(&[Some(0.0), Some(50.0), None, Some(100.0)]), "▁▅·█");
        assert_eq!(sparkline(&[Some(0.0)]), "▁");
        assert_eq!(sparkline(&[]), "");
    }
}
