//! Expected weight and governor of one pool, written from the text of DESIGN section 4 and docs/decision.md, not from
//! the engine's code. Small, slow and obvious: it lives second by second and counts how long each thing has lasted.

use std::collections::BTreeMap;

/// The part of a policy that the model knows. Times in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) threshold: f64,
    pub(crate) minimum: f64,
    pub(crate) delay: u32,
    pub(crate) hold_down: u32,
    pub(crate) max_hold_down: u32,
    pub(crate) quiet: u32,
    pub(crate) ramp: Vec<f64>,
    pub(crate) interval: u32,
}

/// An endpoint that discovery names.
#[derive(Clone, Copy, Debug, Default)]
struct Endpoint {
    up: bool,
    terminating: bool,
    /// "An endpoint counts once it has been healthy."
    was_healthy: bool,
    /// "A removal is deliberate if the endpoint was healthy and its Node Ready when it went terminating."
    left_deliberately: bool,
}

impl Endpoint {
    fn healthy(&self) -> bool {
        self.up && !self.terminating
    }
}

/// Where the pool is on its way back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Return {
    /// It is not coming back.
    No,
    /// Seconds of steady health so far, and the health that must not be lost again.
    Holding { steady: u32, best: f64 },
    /// Seconds since the last step.
    Ramping { since_step: u32 },
}

pub(crate) struct Model {
    rules: Rules,
    endpoints: BTreeMap<u8, Endpoint>,
    /// "High-water mark - deliberate removals."
    mark: u32,
    /// "While admit < 1 expected is frozen at its value before the fault."
    frozen: Option<u32>,
    pub(crate) admit: f64,
    coming_back: Return,
    /// Seconds for which health has wanted less than admit.
    falling: Option<u32>,
    /// How often the hold-down is doubled.
    doubled: u32,
    /// Seconds since the return was complete; `None` if something fell since.
    quiet: Option<u32>,
}

impl Model {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            endpoints: BTreeMap::new(),
            mark: 0,
            frozen: None,
            admit: 1.0,
            coming_back: Return::No,
            falling: None,
            doubled: 0,
            quiet: None,
        }
    }

    pub(crate) fn healthy(&self) -> u32 {
        u32::try_from(self.endpoints.values().filter(|it| it.healthy()).count()).unwrap()
    }

    fn present(&self) -> u32 {
        let counts = |it: &&Endpoint| it.was_healthy && !it.left_deliberately;
        u32::try_from(self.endpoints.values().filter(counts).count()).unwrap()
    }

    pub(crate) fn expected(&self) -> u32 {
        self.frozen.unwrap_or(self.mark.max(self.present()))
    }

    pub(crate) fn phase(&self) -> &'static str {
        match self.coming_back {
            _ if self.expected() == 0 => "Empty",
            Return::Holding { .. } => "Holding",
            Return::Ramping { .. } => "Ramping",
            Return::No if self.admit >= 1.0 => "Serving",
            Return::No if self.admit <= 0.0 => "Out",
            Return::No => "Reduced",
        }
    }

    /// Whether discovery names the endpoint.
    pub(crate) fn names(&self, n: u8) -> bool {
        self.endpoints.contains_key(&n)
    }

    pub(crate) fn appears(&mut self, n: u8) {
        self.endpoints.entry(n).or_default();
        self.look();
    }

    pub(crate) fn vanish(&mut self, which: &[u8]) {
        self.endpoints.retain(|n, _| !which.contains(n));
        self.look();
    }

    pub(crate) fn terminates(&mut self, n: u8, node_ready: bool) {
        if let Some(endpoint) = self.endpoints.get_mut(&n) {
            if endpoint.healthy() && node_ready {
                endpoint.left_deliberately = true;
                self.mark = self.mark.saturating_sub(1);
            }
            endpoint.terminating = true;
        }
        self.look();
    }

    pub(crate) fn is_checked(&mut self, n: u8, up: bool) {
        if let Some(endpoint) = self.endpoints.get_mut(&n) {
            endpoint.up = up;
        }
        self.look();
    }

    pub(crate) fn second_passes(&mut self) {
        for count in self.falling.iter_mut().chain(self.quiet.iter_mut()) {
            *count += 1;
        }
        match &mut self.coming_back {
            Return::No => {}
            Return::Holding { steady, .. } => *steady += 1,
            Return::Ramping { since_step } => *since_step += 1,
        }
        self.look();
    }

    /// Looks at the pool and does what is due; twice, since what is expected may change with admit.
    fn look(&mut self) {
        for endpoint in self.endpoints.values_mut() {
            endpoint.was_healthy |= endpoint.healthy();
        }
        self.mark = self.mark.max(self.present());
        for _ in 0..2 {
            let expected = self.expected();
            self.govern(self.healthy(), expected);
            self.frozen = (self.admit < 1.0 && expected > 0).then_some(expected);
        }
    }

    /// "target = min(1, h / failoverThreshold), 0 below minimumHealthy."
    fn target(&self, healthy: u32, expected: u32) -> f64 {
        if expected == 0 {
            // Empty: no vote. What was whole stays so, what was given nothing gets nothing.
            return if self.admit < 1.0 { 0.0 } else { 1.0 };
        }
        let health = f64::from(healthy) / f64::from(expected);
        if healthy == 0 || health < self.rules.minimum {
            0.0
        } else {
            (health / self.rules.threshold).min(1.0)
        }
    }

    fn govern(&mut self, healthy: u32, expected: u32) {
        let target = self.target(healthy, expected);
        if target < self.admit {
            self.fall(target, healthy == 0);
        } else {
            self.falling = None;
            if target > self.admit {
                self.rise(target);
            } else {
                self.coming_back = Return::No;
            }
        }
    }

    /// "A total loss acts at once, a partial one after failover.delay."
    fn fall(&mut self, target: f64, total: bool) {
        // The health of a hold-down is not steady any more.
        if let Return::Holding { .. } = self.coming_back {
            self.coming_back = Return::No;
        }
        let lasted = *self.falling.get_or_insert(0);
        if !total && lasted < self.rules.delay {
            return;
        }
        // "A relapse returns and doubles the hold-down; quiet time halves it back."
        if let Return::Ramping { .. } = self.coming_back {
            self.doubled += 1;
        } else if let Some(quiet) = self.quiet {
            if quiet < self.rules.quiet {
                self.doubled += 1;
            } else {
                self.doubled = self.doubled.saturating_sub(quiet / self.rules.quiet);
            }
            self.quiet = None;
        }
        self.admit = target;
        self.coming_back = Return::No;
        self.falling = None;
    }

    /// "After failback.holdDown of steady health, then along the failback.ramp steps."
    fn rise(&mut self, target: f64) {
        let hold_down = self.rules.hold_down.saturating_mul(2_u32.saturating_pow(self.doubled));
        let hold_down = hold_down.min(self.rules.max_hold_down.max(self.rules.hold_down));
        self.coming_back = match self.coming_back {
            Return::No => Return::Holding { steady: 0, best: target },
            Return::Holding { best, .. } if target < best => Return::Holding { steady: 0, best: target },
            Return::Holding { steady, best } => Return::Holding { steady, best: best.max(target) },
            ramping @ Return::Ramping { .. } => ramping,
        };
        let step_is_due = match self.coming_back {
            Return::No => false,
            Return::Holding { steady, .. } => steady >= hold_down,
            Return::Ramping { since_step } => since_step >= self.rules.interval,
        };
        if step_is_due {
            let next = self.rules.ramp.iter().copied().find(|step| *step > self.admit).unwrap_or(1.0);
            self.admit = next.min(target);
            if self.admit >= target {
                self.coming_back = Return::No;
                self.quiet = Some(0);
            } else {
                self.coming_back = Return::Ramping { since_step: 0 };
            }
        }
    }
}
