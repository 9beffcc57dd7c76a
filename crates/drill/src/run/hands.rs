//! Who breaks and mends: a keeper that runs commands, or agents.

use super::{
    Input, RunError, Setup,
    agents::{Agents, Begun, Order},
    command,
    keeper::{Orders, Told},
    link::Link,
};
use crate::{
    clock::Clock,
    course::{Event, Moments},
    timeline::AgentsPart,
};
use std::sync::Arc;
use tidegate_api::{DrillFault, ExecFault};
use tokio::{sync::mpsc, task::JoinSet};

pub(super) enum Hands {
    /// The keeper is gone once its link is.
    Commands(ExecFault, Option<Box<Link>>),
    Agents(Arc<Agents>),
}

impl Hands {
    pub(super) async fn new(
        setup: &Setup,
        id: &str,
        clock: Clock,
        events: mpsc::Sender<Input>,
    ) -> Result<Self, RunError> {
        match &setup.drill.fault {
            DrillFault::Exec(fault) => {
                let orders = Orders::new(fault, setup.drill.expires_after);
                let link = Link::start(&setup.keeper, &orders, events).await.map_err(RunError::Keeper)?;
                Ok(Self::Commands(fault.clone(), Some(Box::new(link))))
            }
            // What it means is known to who may allow it: see [`super::kubernetes`].
            DrillFault::Kubernetes(_) => Err(RunError::NotAllowed),
            DrillFault::Agents(fault) => {
                let by = (setup.by.as_str(), setup.alone);
                let order = Order::new(&setup.drill, fault, &setup.agents, id, by)?;
                Ok(Self::Agents(Arc::new(Agents::new(order, clock))))
            }
        }
    }

    /// The agents, if it is these.
    pub(super) fn agents(&self) -> Option<Arc<Agents>> {
        match self {
            Self::Agents(agents) => Some(Arc::clone(agents)),
            Self::Commands(..) => None,
        }
    }

    pub(super) fn lose_keeper(&mut self) {
        if let Self::Commands(_, link) = self {
            *link = None;
        }
    }

    /// Breaks; what came of it is an event. Whether there is anybody to tell.
    pub(super) async fn start(&mut self, tasks: &mut JoinSet<()>, events: &mpsc::Sender<Input>) -> bool {
        match self {
            Self::Commands(_, Some(link)) => link.say("break").await.is_ok(),
            Self::Commands(_, None) => false,
            Self::Agents(agents) => {
                let (agents, events) = (Arc::clone(agents), events.clone());
                tasks.spawn(async move {
                    let Begun { ran, any } = agents.start().await;
                    let on = ran.error.is_none();
                    let told = if any { Told::Broken(ran) } else { Told::Refused(ran) };
                    // Nobody listens once the drill is over.
                    let _ = events.send(Input::Told(told)).await;
                    if on {
                        let _ = events.send(Input::Event(Event::Lost(agents.lost().await))).await;
                    }
                });
                true
            }
        }
    }

    /// Mends; what came of it is an event.
    pub(super) async fn mend(&mut self, tasks: &mut JoinSet<()>, events: &mpsc::Sender<Input>) {
        let events = events.clone();
        match self {
            Self::Commands(fault, link) => {
                if let Some(link) = link
                    && link.say("mend").await.is_ok()
                {
                    return;
                }
                let (words, limit) = (fault.mend.clone(), fault.timeout);
                tasks.spawn(async move {
                    let ran = command::run(&words, limit).await;
                    let _ = events.send(Input::Told(Told::Mended(ran))).await;
                });
            }
            Self::Agents(agents) => {
                let agents = Arc::clone(agents);
                tasks.spawn(async move {
                    let _ = events.send(Input::Told(Told::Mended(agents.end().await))).await;
                });
            }
        }
    }

    /// The drill is over; what agents tell of it.
    pub(super) async fn end(self, mended: bool, moments: Moments) -> Option<AgentsPart> {
        match self {
            Self::Commands(_, link) => {
                if let Some(link) = link {
                    // A keeper that hears no farewell tries to mend by itself.
                    link.end(mended).await;
                }
                None
            }
            Self::Agents(agents) => {
                if !mended {
                    // Once more, also where it was not begun for certain; what is left ends by itself.
                    agents.end().await;
                }
                agents.told(moments).await
            }
        }
    }
}
