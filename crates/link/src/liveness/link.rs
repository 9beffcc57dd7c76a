//! One link: what was heard through one gateway address.

use super::{
    SUSPECT_AFTER,
    view::{LinkFailure, LinkState, LinkView},
};
use crate::RoundTrip;
use std::{net::SocketAddr, time::Duration};
use tidegate_model::Time;

/// So long a reason to refuse stands against connections that end without one; several are tried in that time.
const REASON_STANDS: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Link {
    last_beat: Option<Time>,
    last_answer: Option<Time>,
    /// What the gateway said in place of the agent, since the last beat.
    in_place_of_agent: Option<String>,
    /// How the last connection ended, since the last answer.
    failure: Option<LinkFailure>,
    /// When it was told last that one side does not believe the other.
    refused_at: Option<Time>,
    pub(super) rtt: Option<RoundTrip>,
    told: Option<LinkState>,
}

impl Link {
    pub(super) fn beat(&mut self, rtt: Option<Duration>, now: Time) {
        self.last_beat = Some(now);
        self.last_answer = Some(now);
        self.in_place_of_agent = None;
        self.failure = None;
        if let Some(sample) = rtt {
            self.rtt = Some(RoundTrip::with_sample(self.rtt, sample));
        }
    }

    /// A probe that is answered while beats stall carries no text: it does not replace one that does.
    pub(super) fn answer(&mut self, text: Option<String>, now: Time) {
        self.last_answer = Some(now);
        self.failure = None;
        if text.is_some() {
            self.in_place_of_agent = text;
        }
    }

    /// Of connections that are refused for who we are, some are reset before they can say so: for a while these do not
    /// replace the reason.
    pub(super) fn fail(&mut self, failure: LinkFailure, now: Time) {
        match failure {
            LinkFailure::NotBelieved(_) => self.refused_at = Some(now),
            LinkFailure::Refused(_)
                if self.refused_at.is_some_and(|at| now.since(at) < REASON_STANDS)
                    && matches!(self.failure, Some(LinkFailure::NotBelieved(_))) =>
            {
                return;
            }
            _ => {}
        }
        self.failure = Some(failure);
    }

    pub(super) fn is_beating(&self, now: Time) -> bool {
        recent(self.last_beat, now)
    }

    fn state(&self, now: Time) -> LinkState {
        if self.is_beating(now) {
            return LinkState::Beating;
        }
        // An agent that refuses us does so through a gateway that answers.
        if let Some(LinkFailure::NotBelieved(why)) = &self.failure {
            return LinkState::Refused(why.clone());
        }
        if recent(self.last_answer, now) {
            let text = self.in_place_of_agent.as_deref().unwrap_or("no heartbeat");
            return LinkState::AgentDown(text.to_owned());
        }
        match &self.failure {
            Some(LinkFailure::Refused(why)) => LinkState::GatewayDown(why.clone()),
            Some(LinkFailure::Misrouted(found)) => LinkState::Misrouted(found.clone()),
            Some(LinkFailure::NotBelieved(why)) => LinkState::Refused(why.clone()),
            Some(LinkFailure::Silent) => LinkState::Silent,
            None if self.last_answer.is_none() => LinkState::Connecting,
            None => LinkState::Silent,
        }
    }

    /// The state, if its kind is not the one that was told last. A new text alone is no news.
    pub(super) fn news(&mut self, now: Time) -> Option<LinkState> {
        let state = self.state(now);
        let same =
            self.told.as_ref().is_some_and(|t| std::mem::discriminant(t) == std::mem::discriminant(&state));
        if same {
            return None;
        }
        self.told = Some(state.clone());
        Some(state)
    }

    pub(super) fn view(&self, address: SocketAddr, now: Time) -> LinkView {
        LinkView {
            address,
            state: self.state(now),
            heard_ago: self.last_answer.map(|at| now.since(at)),
            rtt: self.rtt,
        }
    }
}

fn recent(at: Option<Time>, now: Time) -> bool {
    at.is_some_and(|at| now.since(at) < SUSPECT_AFTER)
}
