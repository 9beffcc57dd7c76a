//! What a `DrillSchedule` says: which drill runs by itself, when, and when not. When that is, is the hub's to work out.

use crate::{
    kinds::Spec,
    loader::{SourceFile, read_file},
};
use std::{sync::Arc, time::Duration};

/// When a drill runs by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillSchedule {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// The `Drill`, as `NAMESPACE/NAME`.
    pub drill: String,
    /// Five fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// By whose clock, as the time zone database names it. Whether there is such a zone is known where it is used.
    pub time_zone: String,
    /// By how much a run may be put off at most.
    pub jitter: Duration,
    /// Nothing runs for now.
    pub suspend: bool,
    /// When nothing runs.
    pub blocked: Vec<BlockedTime>,
}

/// A time in which no drill starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockedTime {
    /// Whole days by the schedule's zone, as `YYYY-MM-DD`; both are in it.
    Days {
        /// The first.
        from: String,
        /// The last.
        until: String,
    },
    /// From one moment, in seconds since 1970, to before another.
    Window {
        /// The first second.
        from: u64,
        /// The first second after it.
        until: u64,
    },
}

/// The schedules of a file that have no mistake.
#[must_use]
pub fn read_schedules(file: &SourceFile) -> Vec<DrillSchedule> {
    let readings = read_file(&Arc::from(file.path.as_str()), &file.text).unwrap_or_default();
    let schedule = |spec: &Spec| match spec {
        Spec::Schedule(spec) => Some(spec.schedule.clone()),
        _ => None,
    };
    let good = readings.iter().filter(|it| !it.issues.iter().any(crate::Problem::is_error));
    good.filter_map(|it| schedule(&it.object.as_ref()?.spec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Vec<DrillSchedule> {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: DrillSchedule\nmetadata: {{name: weekly, namespace: shop}}\nspec:\n  \
             drill: flip\n  cron: \"0 10 * * 2\"\n  timeZone: Europe/Berlin\n{more}"
        );
        read_schedules(&SourceFile { path: "a.yaml".to_owned(), text })
    }

    #[test]
    fn a_schedule_is_read_with_all_that_it_says() {
        let plain = DrillSchedule {
            name: "shop/weekly".to_owned(),
            drill: "shop/flip".to_owned(),
            cron: "0 10 * * 2".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            jitter: Duration::ZERO,
            suspend: false,
            blocked: Vec::new(),
        };
        assert_eq!(read(""), std::slice::from_ref(&plain));
        let full = read(
            "  jitter: 5m\n  suspend: true\n  blocked:\n    - {from: 2026-12-20, until: 2027-01-06}\n    \
             - {from: 2026-11-27T00:00:00Z, until: 2026-11-28T00:00:00Z}\n",
        );
        let days = BlockedTime::Days { from: "2026-12-20".to_owned(), until: "2027-01-06".to_owned() };
        let window = BlockedTime::Window { from: 1_795_737_600, until: 1_795_824_000 };
        let expected = DrillSchedule {
            jitter: Duration::from_secs(300),
            suspend: true,
            blocked: vec![days, window],
            ..plain
        };
        assert_eq!(full, [expected]);
    }

    #[test]
    fn a_blocked_time_that_is_none_is_a_mistake() {
        for wrong in [
            "{from: 2026-12-20}",
            "{from: 2026-12-20, until: 2026-12-19}",
            "{from: 2026-12-20, until: 2026-12-21T00:00:00Z}",
            "{from: 2026-02-30, until: 2026-03-01}",
            "{from: 2026-11-28T00:00:00Z, until: 2026-11-28T00:00:00Z}",
            "{from: Christmas, until: Easter}",
        ] {
            assert_eq!(read(&format!("  blocked: [{wrong}]\n")), [], "{wrong}");
        }
    }
}
