//! The conditions of one object.

use super::{InCluster, State, Subject};
use serde_json::{Value, json};
use tidegate_api::{Cause, Problem};

/// The longest message: what is wrong beyond it is found by `tidegate validate`, and in the agent's own status.
const LONGEST: usize = 2_000;

/// What is wrong with an object, sorted by what it costs.
pub(super) struct Judged<'a> {
    subject: &'a Subject,
    problems: &'a [&'a Problem],
}

impl<'a> Judged<'a> {
    pub(super) const fn of(subject: &'a Subject, problems: &'a [&'a Problem]) -> Self {
        Self { subject, problems }
    }

    pub(super) const fn generation(&self) -> Option<i64> {
        self.subject.generation
    }

    fn wrong(&self, causes: &[Cause]) -> Vec<&'a Problem> {
        self.problems.iter().copied().filter(|it| it.is_error() && causes.contains(&it.cause)).collect()
    }

    /// What it names and is not there; a warning is enough: what names nothing does nothing.
    fn dangling(&self) -> Vec<&'a Problem> {
        let dangles = |it: &&Problem| matches!(it.cause, Cause::NoSuchObject | Cause::NotPermitted);
        self.problems.iter().copied().filter(dangles).collect()
    }

    /// Whether nothing but what it names is wrong.
    pub(super) fn is_accepted(&self) -> bool {
        self.wrong(&[Cause::Invalid, Cause::Conflict, Cause::NoSuchTarget]).is_empty()
    }

    pub(super) fn accepted(&self) -> Value {
        let (conflicts, invalid) = (self.wrong(&[Cause::Conflict]), self.wrong(&[Cause::Invalid]));
        if !invalid.is_empty() {
            return self.condition("Accepted", false, "Invalid", &text(&invalid));
        }
        if !conflicts.is_empty() {
            return self.condition("Accepted", false, "Conflicted", &text(&conflicts));
        }
        let targets = self.wrong(&[Cause::NoSuchTarget]);
        if !targets.is_empty() {
            return self.condition("Accepted", false, "TargetNotFound", &text(&targets));
        }
        let warnings: Vec<&Problem> =
            self.problems.iter().copied().filter(|it| it.cause == Cause::Invalid).collect();
        self.condition("Accepted", true, "Accepted", &text(&warnings))
    }

    /// The same of what believes so many authorities: with none of them there, it is of no use.
    pub(super) fn accepted_with_authorities(&self, named: usize) -> Value {
        let missing = self.dangling();
        if self.is_accepted() && named > 0 && missing.len() >= named {
            return self.condition("Accepted", false, "NoValidCACertificate", &text(&missing));
        }
        self.accepted()
    }

    pub(super) fn resolved(&self) -> Value {
        let dangling = self.dangling();
        let Some(first) = dangling.first() else {
            return self.condition("ResolvedRefs", true, "ResolvedRefs", "");
        };
        let reason = match (&*self.subject.object.kind, first.cause) {
            (_, Cause::NotPermitted) => "RefNotPermitted",
            ("FailoverPolicy", _) => "TargetNotFound",
            ("Gateway", _) => "InvalidCertificateRef",
            ("BackendTLSPolicy", _) => "InvalidCACertificateRef",
            ("HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute", _) => "BackendNotFound",
            _ => "RefNotFound",
        };
        self.condition("ResolvedRefs", false, reason, &text(&dangling))
    }

    /// Whether it is in force wherever it should be.
    pub(super) fn programmed(&self, clusters: &[InCluster]) -> Value {
        if !self.is_accepted() {
            let message = "it is not in force as it is written; what was in force before stays";
            return self.condition("Programmed", false, "Invalid", message);
        }
        let named = |state: fn(&State) -> bool| {
            let names: Vec<&str> =
                clusters.iter().filter(|it| state(&it.state)).map(|it| &*it.cluster).collect();
            names.join(", ")
        };
        let rejecting = named(|state| matches!(state, State::Rejected(_)));
        if !rejecting.is_empty() {
            return self.condition(
                "Programmed",
                false,
                "Rejected",
                &short(&format!("not taken by {rejecting}")),
            );
        }
        let waiting = named(|state| matches!(state, State::Accepted | State::Unknown));
        if !waiting.is_empty() {
            return self.condition("Programmed", false, "Pending", &short(&format!("waits for {waiting}")));
        }
        match clusters.len() {
            0 => self.condition("Programmed", false, "Pending", "no cluster has been handed it"),
            1 => self.condition("Programmed", true, "Programmed", ""),
            many => self.condition("Programmed", true, "Programmed", &format!("in all {many} clusters")),
        }
    }

    pub(super) fn condition(&self, kind: &str, so: bool, reason: &str, message: &str) -> Value {
        let status = if so { "True" } else { "False" };
        let mut condition = json!({"type": kind, "status": status, "reason": reason, "message": message});
        if let Some(generation) = self.subject.generation {
            condition["observedGeneration"] = generation.into();
        }
        condition
    }
}

/// Problems as one message: each with what to do.
fn text(problems: &[&Problem]) -> String {
    let told: Vec<String> = problems
        .iter()
        .map(|problem| match &*problem.hint {
            "" => problem.message.clone(),
            hint => format!("{} ({hint})", problem.message),
        })
        .collect();
    short(&told.join("; "))
}

/// A message that an API server takes.
pub(super) fn short(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} ...", &text[..end])
}
