//! Operators' actions about shifts, on their way to the engine: what is done here, and what is heard from elsewhere.

use super::{Core, Output, Record};
use crate::{
    actions::{Action, Stamp, remaining},
    shifts::NotExtended,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidegate_engine::{Engine, Event, MAX_SHIFT, MAX_SHIFTS, Shift, ShiftTarget, ShiftedBy};
use tidegate_model::Time;

/// Actions in one input; an agent keeps no more.
const MAX_HEARD: usize = 2 * MAX_SHIFTS;

/// What a manifest declares.
pub(super) struct Declared {
    pub(super) shift: Shift,
    /// The number of its content.
    pub(super) number: u64,
    /// See [`Action::ends_at`].
    pub(super) ends_at: Option<u64>,
}

impl Core {
    /// Somebody moves traffic away, at this agent. What cannot be in force is refused by the engine, and no action.
    pub(super) fn start_shift(&mut self, shift: Shift, now: Time, output: &mut Output) {
        let in_force = self.actions.in_force(now);
        let before = in_force.get(&shift.target);
        let is_full = in_force.len() >= MAX_SHIFTS && before.is_none();
        let is_outranked = before.is_some_and(|before| before.by > shift.by);
        if is_full || is_outranked || !(1..=100).contains(&shift.percent) {
            self.tell(Event::Shift(shift), now, output);
            return;
        }
        let stamp = self.stamp(now);
        let (target, by) = (shift.target.clone(), shift.by);
        let action = Action { target, by, stamp, shift: Some(shift), declared: None, ends_at: None };
        self.act(action, now, output);
    }

    /// Why a shift cannot last so long from now.
    pub(crate) fn against_extension(
        &self,
        name: &str,
        lasts: Duration,
        now: Time,
    ) -> Result<(), NotExtended> {
        let in_force = self.actions.in_force(now);
        let named: Vec<_> = in_force.values().filter(|shift| shift.name == name).collect();
        match named.iter().find(|shift| shift.by == ShiftedBy::Operator) {
            None if named.is_empty() => Err(NotExtended::Unknown(name.to_owned())),
            None => Err(NotExtended::Drill(name.to_owned())),
            Some(shift) if shift.remaining > lasts => {
                Err(NotExtended::Longer(name.to_owned(), shift.remaining))
            }
            Some(_) => Ok(()),
        }
    }

    /// Somebody lets the operators' shifts of a name last so long from now, at this agent.
    pub(super) fn extend_shifts(&mut self, name: &str, lasts: Duration, now: Time, output: &mut Output) {
        let in_force = self.actions.in_force(now).into_values();
        let named = in_force.filter(|it| it.name == name && it.by == ShiftedBy::Operator);
        for shift in named.filter(|it| it.remaining <= lasts).collect::<Vec<_>>() {
            let stamp = self.stamp(now);
            let (target, by) = (shift.target.clone(), shift.by);
            let shift = Some(Shift { remaining: lasts.min(MAX_SHIFT), ..shift });
            self.act(Action { target, by, stamp, shift, declared: None, ends_at: None }, now, output);
        }
    }

    /// Somebody ends the shifts of a name, at this agent.
    pub(super) fn end_shifts(&mut self, name: &str, now: Time, output: &mut Output) {
        let named = self.actions.in_force(now).into_values().filter(|shift| shift.name == name);
        for Shift { target, by, .. } in named.collect::<Vec<_>>() {
            let stamp = self.stamp(now);
            let action = Action { target, by, stamp, shift: None, declared: None, ends_at: None };
            self.act(action, now, output);
        }
    }

    /// A manifest declares a shift. If that is known from elsewhere, whatever became of it there holds here, too.
    pub(super) fn declare(&mut self, declared: Declared, weak: bool, now: Time, output: &mut Output) {
        let Declared { shift, number, ends_at } = declared;
        let (target, by) = (shift.target.clone(), shift.by);
        let known = self.actions.get(&target, by);
        if known.and_then(|known| known.declared) == Some(number) {
            return;
        }
        let stamp = if weak { Stamp::default() } else { self.stamp(now) };
        let action = Action { target, by, stamp, shift: Some(shift), declared: Some(number), ends_at };
        self.act(action, now, output);
    }

    /// A clock was told: what ends at a time of day is read anew.
    pub(super) fn read_clock(&mut self, now: Time, output: &mut Output) {
        let Some(clock) = self.clocks.fleet(now) else { return };
        let moved = self.actions.read_clock(clock, now);
        if !moved.is_empty() {
            self.unsaved = true;
            self.enforce(&moved, now, output);
        }
        self.declare_late(now, output);
    }

    pub(super) fn hear_actions(&mut self, actions: Vec<Action>, now: Time, output: &mut Output) {
        let mut moved = BTreeSet::new();
        for action in actions.into_iter().take(MAX_HEARD) {
            moved.extend(self.take_action(action, now, output));
        }
        if !moved.is_empty() {
            self.enforce(&moved, now, output);
        }
    }

    fn act(&mut self, action: Action, now: Time, output: &mut Output) {
        if let Some(target) = self.take_action(action, now, output) {
            self.enforce(&BTreeSet::from([target]), now, output);
        }
    }

    /// Takes in an action, and passes it on if it is news; what it is about.
    fn take_action(&mut self, action: Action, now: Time, output: &mut Output) -> Option<ShiftTarget> {
        let mut read = action.clone();
        if let (Some(ends_at), Some(shift), Some(clock)) =
            (read.ends_at, &mut read.shift, self.clocks.fleet(now))
        {
            shift.remaining = remaining(ends_at, clock);
        }
        match self.actions.take(read, self.unix_ms(now), now) {
            Ok(true) => {
                self.unsaved = true;
                let target = action.target.clone();
                // As it was heard: a clock that is wrong speaks for nobody else.
                output.actions.push(action);
                Some(target)
            }
            Ok(false) => None,
            Err(reason) => {
                output.records.push(Record { kind: "shiftChanged", reason, ..Record::default() });
                None
            }
        }
    }

    /// The engine's shifts are those that ought to be in force; those of `moved` are told anew.
    fn enforce(&mut self, moved: &BTreeSet<ShiftTarget>, now: Time, output: &mut Output) {
        let Some(engine) = &self.engine else { return };
        let wanted = self.actions.in_force(now);
        let stays = |shift: &Shift| {
            wanted.get(&shift.target).is_some_and(|it| (&it.name, it.by) == (&shift.name, shift.by))
        };
        let over: BTreeSet<String> =
            engine.shifts(now).filter(|shift| !stays(shift)).map(|shift| shift.name).collect();
        for name in over {
            self.tell(Event::ShiftEnded(name), now, output);
        }
        // What shared its name with one that ended is begun again at once.
        let running: BTreeSet<ShiftTarget> =
            self.engine.iter().flat_map(|engine| engine.shifts(now)).map(|shift| shift.target).collect();
        for (target, shift) in wanted {
            if moved.contains(&target) || !running.contains(&target) {
                self.tell(Event::Shift(shift), now, output);
            }
        }
    }

    /// Takes up the actions from before the first manifests, with a new engine. Shifts that it knows from a time before actions
    /// were kept become such.
    pub(super) fn begin_actions(&mut self, now: Time, output: &mut Output) {
        let known: Vec<Shift> = self.engine.iter().flat_map(|engine: &Engine| engine.shifts(now)).collect();
        for shift in known.clone() {
            let (target, by) = (shift.target.clone(), shift.by);
            if self.actions.get(&target, by).is_none() {
                let stamp = Stamp { time_ms: 0, origin: Arc::clone(&self.origin) };
                let shift = Some(shift);
                let action = Action { target, by, stamp, shift, declared: None, ends_at: None };
                self.take_action(action, now, output);
            }
        }
        // What ends at a time of day went on to end while no agent ran.
        let wanted = self.actions.in_force(now);
        let moved =
            |it: &Shift| wanted.get(&it.target).is_some_and(|wanted| wanted.remaining != it.remaining);
        let moved = known.into_iter().filter(moved).map(|it| it.target).collect();
        self.enforce(&moved, now, output);
        output.actions = self.actions.all(now).collect();
    }

    fn stamp(&mut self, now: Time) -> Stamp {
        let unix_ms = self.unix_ms(now).unwrap_or(0);
        self.actions.stamp(unix_ms, &self.origin)
    }

    pub(super) fn unix_ms(&self, now: Time) -> Option<u64> {
        self.clocks.unix_ms(now)
    }
}
