//! What happens in the demo, in which order, and what it may cost.

use super::DemoOptions;
use crate::{
    fleet::{Fault, FleetSpec, ProcessFault, spec::known},
    measure::Objectives,
    toy::ToyMode,
    wan::Site,
};
use std::time::Duration;
use tidegate_model::{Region, Zone};

/// Which fleet is shown, and what it goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// Three clusters with an edge each, of their own policy: a zone is lost, then a region.
    #[default]
    Regions,
    /// A hub, and an edge cluster in front of three clusters in two regions: the hub is lost first, then without it a
    /// zone, a link and a region; then it comes back with another policy.
    Fleet,
}

/// A fault of the demo, and who measures it.
pub(super) struct Act {
    pub(super) fault: Fault,
    /// The region that is away with its edge, whose own load is reported apart.
    pub(super) lost: Option<Region>,
    pub(super) at_least: Duration,
    /// Whether what comes next happens while it lasts, and nothing is to come of it.
    pub(super) stays: bool,
    pub(super) objectives: Objectives,
}

impl Course {
    pub(super) fn spec(self) -> FleetSpec {
        match self {
            Self::Regions => FleetSpec::demo(),
            Self::Fleet => FleetSpec::tiers(),
        }
    }

    pub(super) const fn greeting(self) -> &'static str {
        match self {
            Self::Regions => "starting three clusters: agents, Envoys, toy services, links between regions",
            Self::Fleet => {
                "starting a hub, three clusters in two regions and an edge cluster in front of them; each joins the hub"
            }
        }
    }

    pub(super) fn acts(self, options: &DemoOptions) -> Vec<Act> {
        let objectives = objectives(options);
        let act = |fault, at_least| Act { fault, lost: None, at_least, stays: false, objectives };
        let zone = |zone: &str| {
            let fault = Fault::Zone { zone: known::<Zone>(zone), mode: ToyMode::Refuse };
            let objectives = Objectives { max_detect: None, ..objectives };
            Act { objectives, ..act(fault, options.timing.zone_fault) }
        };
        let region: Region = known("us-east");
        let region =
            Act { lost: Some(region.clone()), ..act(Fault::Region { region }, options.timing.region_fault) };
        match self {
            Self::Regions => vec![zone("us-east-1a"), region],
            Self::Fleet => {
                let nothing_moves = Objectives {
                    max_detect: None,
                    max_p99: None,
                    max_rto: None,
                    max_failback: None,
                    max_moves_away: Some(0),
                    max_moves_back: Some(0),
                    ..objectives
                };
                let hub = act(Fault::Hub { fault: ProcessFault::Kill }, options.timing.zone_fault);
                let hub = Act { stays: true, objectives: nothing_moves, ..hub };
                let between = ["us-central-1", "us-east-1"].map(|name| Site::Cluster(known(name)));
                let link = act(Fault::Link { between }, options.timing.zone_fault);
                vec![hub, zone("us-east-1a"), link, region]
            }
        }
    }
}

fn objectives(options: &DemoOptions) -> Objectives {
    let objectives = if options.post {
        // What was in flight may fail, and nothing that was due after the fault was known.
        Objectives {
            max_failed: None,
            max_p99: None,
            max_slow: None,
            max_rto: Some(Duration::from_secs(1)),
            ..Objectives::SAFE
        }
    } else {
        Objectives::SAFE
    };
    Objectives { max_failback: Some(options.timing.limit), ..objectives }
}
