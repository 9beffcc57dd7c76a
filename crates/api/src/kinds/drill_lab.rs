//! What a lab is to do: `lab: {do: Slow, delay: 1200ms}`.

use crate::{
    drill_lab::{LabFault, LabProcess},
    fields::{Fields, Issues},
    read,
};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
/// What a lab makes wait or flap: longer than any time limit of a client.
const MAX_TIME: Duration = Duration::from_secs(60);
/// A listener is closed and opened again within milliseconds.
const LEAST_FLAP: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Do {
    Kill,
    Pause,
    Refuse,
    Hang,
    Status,
    Slow,
    Flap,
    Cut,
    Delay,
}

const DO: [(&str, Do); 9] = [
    ("Kill", Do::Kill),
    ("Pause", Do::Pause),
    ("Refuse", Do::Refuse),
    ("Hang", Do::Hang),
    ("Status", Do::Status),
    ("Slow", Do::Slow),
    ("Flap", Do::Flap),
    ("Cut", Do::Cut),
    ("Delay", Do::Delay),
];

pub(super) fn read(mut lab: Fields<'_>, issues: &mut Issues) -> Option<LabFault> {
    let hint = "write do: Kill, Pause, Refuse, Hang, Status, Slow, Flap, Cut or Delay";
    let Some(what) = lab.required_value("do", hint, issues, read::word(&DO)) else {
        for field in ["process", "delay", "every"] {
            lab.node(field);
        }
        lab.finish(issues);
        return None;
    };
    let mut time = |name, hint, least| {
        lab.required_value(name, hint, issues, read::duration(least..=MAX_TIME)).map(|it| it.value)
    };
    let fault =
        match what.value {
            Do::Kill | Do::Pause => {
                let process = lab.value("process", issues, read::word(&LabProcess::ALL)).map(|it| it.value);
                Some(if what.value == Do::Kill { LabFault::Kill(process) } else { LabFault::Pause(process) })
            }
            Do::Refuse => Some(LabFault::Refuse),
            Do::Hang => Some(LabFault::Hang),
            Do::Status => Some(LabFault::Status),
            Do::Cut => Some(LabFault::Cut),
            Do::Slow => time("delay", "say after how long they answer: `delay: 1200ms`", MILLISECOND)
                .map(LabFault::Slow),
            Do::Delay => time("delay", "say how much longer a way takes: `delay: 200ms`", MILLISECOND)
                .map(LabFault::Delay),
            Do::Flap => time("every", "say how long they refuse, and then serve: `every: 2s`", LEAST_FLAP)
                .map(LabFault::Flap),
        };
    lab.finish(issues);
    fault
}
