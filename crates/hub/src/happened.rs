//! What happened in the fleet, as events of the objects that it happened to, without I/O: two looks are compared. What happened
//! before the first look is no news.

use crate::{drills::Picture, kubernetes::outcome};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_model::Time;

/// A cluster that is away is lost after so long: an agent that is restarted is back by then.
const PATIENCE: Duration = Duration::from_secs(15);
/// A rollout that halts is told on so many of the objects that changed.
const MOST_CHANGED: usize = 10;

/// The fleet as it is seen in one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sight {
    pub(crate) clusters: BTreeMap<String, Cluster>,
    /// The rollout that has halted.
    pub(crate) halted: Option<Halted>,
    /// Shifts that are in force in all clusters, by `NAMESPACE/NAME`.
    pub(crate) shifts: BTreeSet<String>,
    pub(crate) drills: Picture,
}

/// A cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) joined: bool,
    pub(crate) revoked: bool,
    pub(crate) connected: bool,
}

/// A rollout that has halted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halted {
    /// The number of its policy.
    pub(crate) target: u64,
    /// The objects that changed with it, as `KIND NAME`.
    pub(crate) changed: Vec<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) why: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// To what, as `KIND NAME` or `KIND NAMESPACE/NAME`.
    pub(crate) object: String,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    pub(crate) note: String,
}

/// The looks so far.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    before: Option<Sight>,
    /// Clusters that are away, since when; `None` once that was told.
    away: BTreeMap<String, Option<Time>>,
}

impl Looks {
    /// Takes in a look; what happened since the one before.
    pub(crate) fn take(&mut self, now: Time, sight: Sight) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(before) = self.before.take() {
            clusters(&before, &sight, &mut news);
            self.lost(now, &before, &sight, &mut news);
            halted(&before, &sight, &mut news);
            for shift in sight.shifts.difference(&before.shifts) {
                let note = "traffic is moved in all clusters".to_owned();
                news.push(told(("TrafficShift", shift), false, ("ShiftInForce", "Shift"), note));
            }
            drills(&before.drills, &sight.drills, &mut news);
        }
        self.before = Some(sight);
        news
    }

    fn lost(&mut self, now: Time, before: &Sight, sight: &Sight, news: &mut Vec<News>) {
        for (name, cluster) in &sight.clusters {
            let object = ("FleetCluster", name.as_str());
            if cluster.connected || !cluster.joined {
                if let (Some(None), true) = (self.away.remove(name), cluster.connected) {
                    let note = "the hub hears its agents again".to_owned();
                    news.push(told(object, false, ("ClusterBack", "Connect"), note));
                }
            } else if before.clusters.get(name).is_some_and(|it| it.connected) {
                self.away.insert(name.clone(), Some(now));
            } else if let Some(told_at) = self.away.get_mut(name)
                && told_at.is_some_and(|since| now.since(since) >= PATIENCE)
            {
                *told_at = None;
                let note = format!(
                    "the hub has heard no agent of it for {} s; what it decides goes on without the hub",
                    PATIENCE.as_secs()
                );
                news.push(told(object, true, ("ClusterLost", "Connect"), note));
            }
        }
        self.away.retain(|name, _| sight.clusters.contains_key(name));
    }
}

fn told(
    (kind, name): (&str, &str),
    warning: bool,
    (reason, action): (&'static str, &'static str),
    note: String,
) -> News {
    News { object: format!("{kind} {name}"), warning, reason, action, note }
}

fn clusters(before: &Sight, sight: &Sight, news: &mut Vec<News>) {
    for (name, cluster) in &sight.clusters {
        let was = before.clusters.get(name).copied().unwrap_or_default();
        let object = ("FleetCluster", name.as_str());
        if cluster.joined && !was.joined {
            let note = "an agent of it has joined the fleet".to_owned();
            news.push(told(object, false, ("ClusterJoined", "Join"), note));
        }
        if cluster.revoked && !was.revoked {
            let note = "its certificates were revoked (tidegate cluster join-token lets it back)".to_owned();
            news.push(told(object, true, ("ClusterRevoked", "Revoke"), note));
        }
    }
}

fn halted(before: &Sight, sight: &Sight, news: &mut Vec<News>) {
    let Some(halt) = sight.halted.as_ref().filter(|it| before.halted.as_ref() != Some(it)) else { return };
    let note = format!("the rollout of policy {} halts: {}", halt.target, halt.why);
    let cluster = halt.cluster.iter().map(|it| format!("FleetCluster {it}"));
    for object in halt.changed.iter().take(MOST_CHANGED).cloned().chain(cluster) {
        let (reason, action) = ("RolloutHalted", "Rollout");
        news.push(News { object, warning: true, reason, action, note: note.clone() });
    }
}

fn drills(before: &Picture, now: &Picture, news: &mut Vec<News>) {
    if let Some(run) = now.runs.as_ref().filter(|it| before.runs.as_ref().is_none_or(|was| was.id != it.id)) {
        let begun = ("DrillStarted", "Drill");
        let by = run.schedule.as_ref().map(|it| format!(" by schedule {it}")).unwrap_or_default();
        let note = format!("run {} began{by}", run.id);
        news.push(told(("Drill", &run.drill), false, begun, note.clone()));
        news.extend(run.schedule.as_ref().map(|it| told(("DrillSchedule", it), false, begun, note)));
    }
    // The newest come first, and reports are never taken back: what is new stands before what was the newest.
    let newest = before.reports.first().map(|it| &it.id);
    for report in now.reports.iter().take_while(|it| Some(&it.id) != newest) {
        let (result, why) = outcome(report);
        let reason = match result {
            "Passed" => "DrillPassed",
            "Failed" => "DrillFailed",
            "Stopped" => "DrillStopped",
            _ => "DrillNotStarted",
        };
        let note =
            if why.is_empty() { format!("run {}", report.id) } else { format!("run {}: {why}", report.id) };
        news.push(told(("Drill", &report.drill), !report.passed, (reason, "Drill"), note));
    }
    let skipped = |of: &'_ Picture| -> BTreeSet<(String, u64)> {
        let slots = of.slots.iter().filter(|it| it.skipped.is_some());
        slots.map(|it| (it.schedule.clone(), it.slot)).collect()
    };
    let known = skipped(before);
    for slot in now.slots.iter().filter(|it| !known.contains(&(it.schedule.clone(), it.slot))) {
        let Some(why) = &slot.skipped else { continue };
        let note = format!("the drill {} is not run: {why}", slot.drill);
        news.push(told(("DrillSchedule", &slot.schedule), true, ("DrillSkipped", "Drill"), note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drills::{Runs, Slot},
        view::DrillView,
    };

    fn sight(joined: bool, connected: bool, revoked: bool) -> Sight {
        let cluster = Cluster { joined, revoked, connected };
        Sight { clusters: [("east".to_owned(), cluster)].into(), ..Sight::default() }
    }

    fn reasons(looks: &mut Looks, seconds: u64, sight: Sight) -> Vec<String> {
        let news = looks.take(Time::from_millis(seconds * 1000), sight);
        news.into_iter().map(|it| format!("{} of {}", it.reason, it.object)).collect()
    }

    #[test]
    fn a_cluster_joins_is_lost_after_a_while_comes_back_and_is_revoked() {
        let mut looks = Looks::default();
        let none: [&str; 0] = [];
        assert_eq!(reasons(&mut looks, 0, sight(false, false, false)), none);
        assert_eq!(reasons(&mut looks, 1, sight(true, true, false)), ["ClusterJoined of FleetCluster east"]);
        // A restart is no loss.
        assert_eq!(reasons(&mut looks, 2, sight(true, false, false)), none);
        assert_eq!(reasons(&mut looks, 9, sight(true, true, false)), none);
        assert_eq!(reasons(&mut looks, 10, sight(true, false, false)), none);
        assert_eq!(reasons(&mut looks, 24, sight(true, false, false)), none);
        assert_eq!(reasons(&mut looks, 25, sight(true, false, false)), ["ClusterLost of FleetCluster east"]);
        assert_eq!(reasons(&mut looks, 26, sight(true, false, false)), none);
        assert_eq!(reasons(&mut looks, 60, sight(true, true, false)), ["ClusterBack of FleetCluster east"]);
        assert_eq!(
            reasons(&mut looks, 61, sight(false, false, true)),
            ["ClusterRevoked of FleetCluster east"]
        );
        assert_eq!(reasons(&mut looks, 99, sight(false, false, true)), none);
    }

    #[test]
    fn what_was_so_before_the_hub_started_is_no_news() {
        let halted = Halted { target: 3, changed: vec![], cluster: Some("east".into()), why: "x".into() };
        let mut looks = Looks::default();
        let first =
            Sight { halted: Some(halted), shifts: ["a/b".to_owned()].into(), ..sight(true, false, false) };
        assert!(looks.take(Time::ZERO, first.clone()).is_empty());
        assert!(
            looks.take(Time::from_millis(60_000), first).is_empty(),
            "a cluster that was never heard is not lost"
        );
    }

    #[test]
    fn a_rollout_that_halts_is_told_on_what_changed_and_on_the_cluster() {
        let mut looks = Looks::default();
        looks.take(Time::ZERO, Sight::default());
        let halted = |target| Halted {
            target,
            changed: vec!["FailoverPolicy shop/web".into()],
            cluster: Some("east".into()),
            why: "east got worse".into(),
        };
        let at = |target| Sight { halted: Some(halted(target)), ..Sight::default() };
        let both = ["RolloutHalted of FailoverPolicy shop/web", "RolloutHalted of FleetCluster east"];
        assert_eq!(reasons(&mut looks, 1, at(3)), both);
        assert!(reasons(&mut looks, 2, at(3)).is_empty());
        assert_eq!(reasons(&mut looks, 3, at(4)), both);
    }

    #[test]
    fn drills_are_told_as_they_begin_end_and_are_skipped() {
        let mut looks = Looks::default();
        let at = |drills: &Picture| Sight { drills: drills.clone(), ..Sight::default() };
        let report = |id: &str, passed| DrillView {
            id: id.into(),
            drill: "shop/leave".into(),
            ending: "completed".into(),
            passed,
            ..DrillView::default()
        };
        let mut drills = Picture { reports: vec![report("a", true)], ..Picture::default() };
        assert!(reasons(&mut looks, 0, at(&drills)).is_empty());
        let schedule = Some("shop/nightly".to_owned());
        drills.runs = Some(Runs { id: "b".into(), drill: "shop/leave".into(), started_at: 1, schedule });
        let begun = ["DrillStarted of Drill shop/leave", "DrillStarted of DrillSchedule shop/nightly"];
        assert_eq!(reasons(&mut looks, 1, at(&drills)), begun);
        drills.runs = None;
        drills.reports.insert(0, report("b", false));
        drills.reports.insert(0, report("c", true));
        let slot = Slot {
            schedule: "shop/nightly".into(),
            drill: "shop/leave".into(),
            slot: 1,
            due: 1,
            skipped: Some("another one runs".into()),
            id: None,
            ended: None,
        };
        drills.slots.push(slot);
        let told = [
            "DrillPassed of Drill shop/leave",
            "DrillFailed of Drill shop/leave",
            "DrillSkipped of DrillSchedule shop/nightly",
        ];
        assert_eq!(reasons(&mut looks, 2, at(&drills)), told);
        assert!(reasons(&mut looks, 3, at(&drills)).is_empty());
    }
}
