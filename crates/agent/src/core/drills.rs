//! Faults of drills, on their way to the engine and to the gateways.

use super::{Core, Input, Output, Record};
use crate::drills::{DrillKind, DrillView, Fault, Known, Refusal};
use tidegate_api::Gateway;
use tidegate_engine::{Event, Shift, ShiftedBy};
use tidegate_model::{GatewayName, ServiceName, Time};

impl Core {
    /// What speaks against a fault now, besides missing headroom.
    pub(crate) fn against_drill(&self, fault: &Fault, now: Time) -> Result<(), Refusal> {
        let unready = || Refusal::Harm("the agent has no manifests yet; ask again".to_owned());
        let known = Known::by(self.engine.as_ref().filter(|_| self.ready).ok_or_else(unready)?, now);
        let of_clients =
            |(name, gateway): (&GatewayName, &Gateway)| gateway.role.takes_clients().then(|| name.clone());
        let known = known.with_gateways(self.config.gateways.iter().filter_map(of_clients).collect());
        known.speaks_against(fault, &self.drills, &self.shifts(now), now)
    }

    /// The faults that run, for people.
    pub(crate) fn drill_views(&self, now: Time) -> Vec<DrillView> {
        self.drills.at(now).map(DrillView::from).collect()
    }

    pub(super) fn handle_drill(&mut self, input: Input, now: Time, output: &mut Output) {
        match input {
            Input::Drill(fault) => self.start_drill(*fault, now, output),
            Input::EndDrill { id, by } => self.end_drill(&id, &by, now, output),
            _ => {}
        }
    }

    fn start_drill(&mut self, mut fault: Fault, now: Time, output: &mut Output) {
        if let Err(Refusal::Unread(why) | Refusal::Unknown(why) | Refusal::Harm(why)) =
            self.against_drill(&fault, now)
        {
            tell(format!("drill {} is refused: {why}", fault.id), &fault, output);
            return;
        }
        let remaining = u64::try_from(fault.remaining.as_millis()).unwrap_or(u64::MAX);
        fault.until_unix_ms = self.unix_ms(now).map(|unix| unix.saturating_add(remaining));
        let (id, by, lasts) = (&fault.id, &fault.by, fault.remaining.as_secs());
        tell(format!("drill {id} started by {by}: {fault}, for {lasts} s at most"), &fault, output);
        self.unsaved = true;
        self.drills.start(fault.clone(), now);
        self.carry_out(&fault, true, now, output);
        if fault.kind == DrillKind::Shift {
            self.start_shift(shift(&fault), now, output);
        }
    }

    fn end_drill(&mut self, id: &str, why: &str, now: Time, output: &mut Output) {
        let Some(fault) = self.drills.end(id) else { return };
        self.unsaved = true;
        self.carry_out(&fault, false, now, output);
        if fault.kind == DrillKind::Shift {
            self.end_shifts(&fault.name(), now, output);
        }
        tell(format!("drill {id} ended: {why}"), &fault, output);
    }

    /// Ends those whose time is over.
    pub(super) fn expire_drills(&mut self, now: Time, output: &mut Output) {
        for id in self.drills.over(now) {
            self.end_drill(&id, "its time is over", now, output);
        }
    }

    /// The wall clock was told: time may have passed while no agent ran.
    pub(super) fn set_wall_clock(&mut self, since_1970: std::time::Duration, now: Time) {
        self.clocks.set_own(since_1970, now);
        if !self.drills.is_empty()
            && let Some(unix_ms) = self.unix_ms(now)
        {
            self.drills.by_the_clock(unix_ms, now);
        }
    }

    /// A new engine is told of what runs; shifts come to it by their own way.
    pub(super) fn resume_drills(&mut self, now: Time, output: &mut Output) {
        for fault in self.drills.at(now).collect::<Vec<_>>() {
            self.carry_out(&fault, true, now, output);
        }
    }

    fn carry_out(&mut self, fault: &Fault, on: bool, now: Time, output: &mut Output) {
        match fault.kind {
            DrillKind::Verdict if on => {
                let why = format!("drill {} of {} says that {} is dead", fault.id, fault.by, fault.target);
                let verdict =
                    Event::Verdict { name: fault.name(), target: fault.target.clone(), why: why.into() };
                self.tell(verdict, now, output);
            }
            DrillKind::Verdict => self.tell(Event::VerdictEnded(fault.name()), now, output),
            DrillKind::BlackHole(_) => {
                self.scopes.set_black_holes(self.drills.black_holes().collect());
                let of = |name: &&ServiceName| fault.target.service.as_ref().is_none_or(|it| it == *name);
                output.touched.plans.extend(self.config.services.keys().filter(of).cloned());
            }
            DrillKind::CutLink(_) => output.cut = Some(self.drills.cut_links()),
            DrillKind::LeaveHub => output.leaves_hub = Some(self.drills.leaves_hub()),
            // The scopes ask for it each time.
            DrillKind::Abort(_)
            | DrillKind::Delay(_)
            | DrillKind::Brownout
            | DrillKind::Swallow
            | DrillKind::Shift => {}
        }
    }
}

fn tell(reason: String, fault: &Fault, output: &mut Output) {
    let service = fault.target.service.clone();
    output.records.push(Record { kind: "drillChanged", service, reason, ..Record::default() });
}

fn shift(fault: &Fault) -> Shift {
    Shift {
        name: fault.name(),
        target: fault.target.clone(),
        percent: fault.percent,
        remaining: fault.remaining,
        by: ShiftedBy::Drill,
        comment: format!("drill {} of {}", fault.id, fault.by),
        force: false,
    }
}

#[cfg(test)]
mod tests;
