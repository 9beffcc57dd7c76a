//! Whom `tidegate drill run` tells: agents; or a lab, and then agents only look on.

use anyhow::{Result, bail};
use std::{net::SocketAddr, sync::Arc};
use tidegate_api::{AgentFault, AgentFaultKind, Drill, DrillFault};
use tidegate_drill::run::{
    line::{self, Line},
    onlooker,
};

pub(crate) fn lines(
    drill: &Drill,
    lab: Option<SocketAddr>,
    agents: &[SocketAddr],
) -> Result<Vec<Arc<dyn Line>>> {
    let by_lab = matches!(&drill.fault, DrillFault::Agents(AgentFault { kind: AgentFaultKind::Lab(_), .. }));
    let agents = agents.iter().copied().map(line::admin);
    match (by_lab, lab) {
        (true, Some(lab)) => Ok([line::admin(lab)].into_iter().chain(agents.map(onlooker::of)).collect()),
        (true, None) => bail!(
            "a fault of type Lab breaks the fleet of a lab, and none is named\n  hint: start one (tidegate demo --admin 127.0.0.1:18200) and add --lab 127.0.0.1:18200"
        ),
        (false, Some(_)) => bail!(
            "--lab is for a fault of type Lab, and this drill has another one\n  hint: leave --lab out, or write `fault: {{type: Lab, lab: {{do: Refuse}}, expiresAfter: 60s}}`"
        ),
        (false, None) => Ok(agents.collect()),
    }
}
