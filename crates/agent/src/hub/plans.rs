//! The plans that the hub is told of: those that send anything elsewhere than to the zone where it enters.
//!
//! In a healthy cluster that serves itself there are none. When a region is lost there are as many as services and zones, just when
//! the loop has other things to do: so the loop copies a limited number of them and counts the rest, and words are made elsewhere.

use super::report::{MAX_TEXT, name};
use tidegate_engine::{Engine, Plan, Reason, Shares, Target};
use tidegate_link::hub::proto;
use tidegate_model::{ServiceName, Share, Zone};

/// The most plans that are told.
const MAX_PLANS: usize = 2_000;

/// What is told of a plan.
#[derive(Clone, Debug)]
pub(crate) struct PlanOf {
    pub(crate) service: ServiceName,
    pub(crate) zone: Zone,
    pub(crate) shares: Shares,
    pub(crate) shed: Share,
    /// Of the zone itself, or of the nearest place if it is none.
    pub(crate) reason: Option<Reason>,
}

/// The first of the plans that are not ordinary, and how many more there are.
pub(crate) fn elsewhere(engine: &Engine) -> (Vec<PlanOf>, u32) {
    let mut all = engine.services().flat_map(|service| engine.plans(service)).filter(|it| !is_ordinary(it));
    let told: Vec<PlanOf> = all.by_ref().take(MAX_PLANS).map(PlanOf::of).collect();
    (told, u32::try_from(all.count()).unwrap_or(u32::MAX))
}

fn is_own(target: &Target, plan: &Plan) -> bool {
    matches!(target, Target::Zone(zone) if *zone == plan.source.locality.zone)
}

fn is_ordinary(plan: &Plan) -> bool {
    plan.shed.is_none() && !plan.last_resort && plan.shares.iter().all(|(target, _)| is_own(target, plan))
}

impl PlanOf {
    fn of(plan: &Plan) -> Self {
        let own = plan.reasons.iter().find(|it| is_own(&it.target, plan));
        // What is sent and taken moves all the time, and each time the plan would be told anew.
        let without_load = |it: &Reason| Reason { budget: None, ..it.clone() };
        Self {
            service: plan.service.clone(),
            zone: plan.source.locality.zone.clone(),
            shares: plan.shares.clone(),
            shed: plan.shed,
            reason: own.or_else(|| plan.reasons.first()).map(without_load),
        }
    }

    pub(crate) fn told(&self) -> ((ServiceName, Zone), proto::Plan) {
        let permille = |share: Share| (share.parts() + 5) / 10;
        let share = |(target, share): (&Target, &Share)| proto::PlanShare {
            target: target.to_string(),
            permille: permille(*share),
        };
        let reason = self.reason.as_ref();
        let plan = proto::Plan {
            name: Some(name(&self.service, &self.zone)),
            shares: self.shares.iter().map(share).collect(),
            shed_permille: permille(self.shed),
            rule: reason.map(|it| format!("{:?}", it.rule)).unwrap_or_default(),
            why: reason.map(|it| it.to_string().chars().take(MAX_TEXT).collect()).unwrap_or_default(),
        };
        ((self.service.clone(), self.zone.clone()), plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::{Budget, Load, Origin, Rule, Source};
    use tidegate_model::{Fraction, Locality, Phase};

    /// A plan for requests that enter in zone `a`; a part of them goes to zone `b`.
    fn plan(elsewhere: u32, load: u64) -> Plan {
        let share = |parts| Share::new(parts).unwrap();
        let target = |zone: &str| Target::Zone(zone.parse().unwrap());
        let parts = [(target("a"), share(10_000 - elsewhere)), (target("b"), share(elsewhere))];
        let reason = |(target, share): &(Target, Share)| Reason {
            target: target.clone(),
            region: "us".parse().unwrap(),
            tier: Some(1),
            share: *share,
            expected: 2,
            healthy: 1,
            admit: Fraction::ONE,
            phase: Phase::Serving,
            rule: Rule::WithinBudget,
            origin: Origin::Default,
            budget: Some(Box::new(Budget { budget: Load::Rate { rps: 9 }, load: Load::Rate { rps: load } })),
            note: None,
        };
        Plan {
            service: "shop/web".parse().unwrap(),
            source: Source {
                cluster: "us-east".parse().unwrap(),
                locality: Locality { region: "us".parse().unwrap(), zone: "a".parse().unwrap() },
            },
            reasons: parts.iter().rev().map(reason).collect(),
            shares: parts.into_iter().filter(|(_, share)| !share.is_none()).collect(),
            shed: Share::NONE,
            standby: [].into(),
            last_resort: false,
        }
    }

    #[test]
    fn what_stays_where_it_enters_is_ordinary_and_nothing_else_is() {
        assert!(is_ordinary(&plan(0, 1)));
        assert!(!is_ordinary(&plan(1, 1)));
        assert!(!is_ordinary(&Plan { last_resort: true, ..plan(0, 1) }));
        assert!(!is_ordinary(&Plan { shed: Share::new(1).unwrap(), ..plan(0, 1) }));
    }

    #[test]
    fn a_plan_says_why_of_its_own_zone_and_nothing_that_moves_with_the_load() {
        let (_, told) = PlanOf::of(&plan(2_500, 1)).told();
        assert!(told.why.starts_with("zone a (us) gets 75"), "{}", told.why);
        assert_eq!(told.rule, "WithinBudget");
        assert_eq!(PlanOf::of(&plan(2_500, 2)).told().1, told);
    }
}
