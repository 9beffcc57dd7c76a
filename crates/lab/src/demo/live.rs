//! The table that shows the fleet while the demo runs: zones by services.

use super::seconds;
use crate::fleet::{
    ClusterSpec, Fleet,
    agent::{self, PoolView},
};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};
use tidegate_model::{ClusterName, ServiceName, Zone};

/// Where the demo writes: lines that stay, and below them, on a terminal, a table drawn in place.
pub(super) struct Screen<'out> {
    out: &'out mut (dyn Write + Send),
    live: bool,
    /// How wide the terminal is now, in characters, if that can be told.
    columns: fn() -> Option<usize>,
    /// Lines of the table that is on the screen.
    drawn: usize,
}

impl<'out> Screen<'out> {
    pub(super) fn new(out: &'out mut (dyn Write + Send), live: bool) -> Self {
        Self { out, live, columns, drawn: 0 }
    }

    /// Writes lines that stay.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        self.erase()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Draws the fleet: in place on a terminal, as one more line elsewhere.
    pub(super) fn draw(&mut self, view: &View) -> io::Result<()> {
        self.erase()?;
        let width = (self.columns)().unwrap_or(usize::MAX);
        let text = if self.live { view.picture(width) } else { view.line() };
        writeln!(self.out, "{text}")?;
        if self.live {
            self.drawn = text.lines().count();
        }
        self.out.flush()
    }

    fn erase(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            // Up to the first line of the table, and clear from there to the end of the screen.
            write!(self.out, "\x1b[{}A\x1b[J", self.drawn)?;
            self.drawn = 0;
        }
        Ok(())
    }
}

/// The fleet at one moment.
pub(super) struct View {
    title: String,
    services: Vec<ServiceName>,
    zones: Vec<(Zone, Vec<Cell>)>,
}

/// A service in a zone.
#[derive(Default)]
struct Cell {
    /// As the agent of its cluster says, if it says anything.
    pool: Option<PoolView>,
    /// What it is to the other clusters, where that is more than its own agent can know.
    from_afar: Option<&'static str>,
    /// Requests in the last second.
    requests: u64,
    /// The part of the service's requests, in percent.
    percent: u64,
}

impl View {
    /// As the agents see it, but for what those that are `lost` make of the others.
    pub(super) async fn of(fleet: &Fleet, title: &str, lost: &BTreeSet<ClusterName>) -> Self {
        let now = fleet.clock().now();
        let mut requests: BTreeMap<(Zone, ServiceName), u64> = BTreeMap::new();
        for toy in fleet.toys() {
            let key = (toy.spec().zone.clone(), toy.spec().service.clone());
            *requests.entry(key).or_default() += toy.last_second(now);
        }
        let services = fleet.spec().services.clone();
        let total = |service: &ServiceName| -> u64 {
            requests.iter().filter(|((_, of), _)| of == service).map(|(_, requests)| requests).sum()
        };
        let mut statuses = Vec::new();
        for cluster in &fleet.spec().clusters {
            // One that does not answer leaves its pools blank.
            let status = fleet.agent_status(&cluster.name).await.unwrap_or_default();
            statuses.push((cluster, agent::pools(&status)));
        }
        let mut zones = Vec::new();
        for (cluster, pools) in statuses.iter().filter(|(cluster, _)| cluster.workloads) {
            let sees = |other: &&(_, _)| {
                let (other, _): &(&ClusterSpec, Vec<PoolView>) = other;
                other.name != cluster.name && !lost.contains(&other.name)
            };
            let others = statuses.iter().filter(sees);
            let afar: Vec<&PoolView> = others.flat_map(|(_, pools)| pools).collect();
            for zone in &cluster.zones {
                let cell = |service: &ServiceName| {
                    let requests = requests.get(&(zone.clone(), service.clone())).copied().unwrap_or(0);
                    let is_it = |pool: &&PoolView| {
                        pool.cluster == cluster.name.as_str()
                            && pool.zone == zone.as_str()
                            && pool.service == service.to_string()
                    };
                    Cell {
                        pool: pools.iter().find(is_it).cloned(),
                        from_afar: from_afar(afar.iter().copied().filter(is_it)),
                        requests,
                        percent: (requests * 100).checked_div(total(service)).unwrap_or(0),
                    }
                };
                zones.push((zone.clone(), services.iter().map(cell).collect()));
            }
        }
        Self { title: format!("{}  {title}", seconds(fleet.clock())), services, zones }
    }

    /// For a terminal of this width: a line that wraps would be left there by the next drawing.
    fn picture(&self, width: usize) -> String {
        let table = self.table();
        let is_wide = |text: &str| text.lines().any(|line| line.chars().count() > width);
        let body = if is_wide(&table) {
            self.rows().join("\n")
        } else {
            format!("healthy of expected, share of the last second's requests, phase\n{table}")
        };
        let text = format!("{}\n{body}", self.title);
        let lines: Vec<String> = text.lines().map(|line| line.chars().take(width).collect()).collect();
        lines.join("\n")
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let names = self.services.iter().map(ServiceName::to_string);
        table.set_header(["zone".to_owned()].into_iter().chain(names));
        for (zone, cells) in &self.zones {
            let cells = cells.iter().map(Cell::text);
            table.add_row([zone.to_string()].into_iter().chain(cells));
        }
        table.to_string()
    }

    fn line(&self) -> String {
        format!("{}: {}", self.title, self.rows().join(", "))
    }

    /// A zone each.
    fn rows(&self) -> Vec<String> {
        let zones = self.zones.iter().map(|(zone, cells)| {
            let requests: u64 = cells.iter().map(|cell| cell.requests).sum();
            let mut phases: Vec<_> = cells.iter().map(Cell::phase).collect();
            phases.dedup();
            format!("{zone} {requests}/s {}", phases.join("+"))
        });
        zones.collect()
    }
}

impl Cell {
    fn phase(&self) -> &str {
        if let Some(from_afar) = self.from_afar {
            return from_afar;
        }
        self.pool.as_ref().map_or("?", |pool| pool.phase.as_str())
    }

    fn text(&self) -> String {
        let healthy = match &self.pool {
            Some(pool) => format!("{}/{}", pool.healthy, pool.expected),
            None => "?".to_owned(),
        };
        // Padded, so that the table keeps its width while its numbers change; three services fit into 80 characters.
        format!("{healthy:>3} {:>3}% {:<9}", self.percent, self.phase())
    }
}

/// How wide the terminal is.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// What the other clusters make of a pool, if they cannot reach it or have only just begun to again.
fn from_afar<'a>(mut views: impl Iterator<Item = &'a PoolView> + Clone) -> Option<&'static str> {
    if views.clone().any(|pool| !pool.reachable) {
        Some("Cut off")
    } else if views.any(|pool| pool.reach < 1.0) {
        Some("Returning")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::spec::known;

    fn view(requests: u64) -> View {
        let pool = PoolView { healthy: 2, expected: 2, phase: "Serving".to_owned(), ..PoolView::default() };
        let cell = |pool| Cell { pool, from_afar: None, requests, percent: 50 };
        View {
            title: "12.0 s  steady".to_owned(),
            services: vec![known("shop/web"), known("shop/pay")],
            zones: vec![(known("us-east-1a"), vec![cell(Some(pool)), cell(None)])],
        }
    }

    #[test]
    fn a_terminal_gets_the_table_in_place_and_notes_above_it() {
        let mut out = Vec::new();
        let mut screen = Screen { columns: || Some(80), ..Screen::new(&mut out, true) };
        screen.draw(&view(10)).unwrap();
        screen.draw(&view(20)).unwrap();
        screen.note("lost").unwrap();
        screen.draw(&view(30)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines = view(10).picture(80).lines().count();
        assert_eq!(text.matches(&format!("\x1b[{lines}A\x1b[J")).count(), 2);
        assert!(text.contains(&format!("\x1b[{lines}A\x1b[Jlost\n")), "{text}");
        assert!(text.contains("2/2  50% Serving"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut three = view(10);
        three.services.push(known("shop/cart"));
        three.zones[0].1.extend(view(10).zones.remove(0).1.into_iter().take(1));
        let widths = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
        let wide = three.picture(80);
        assert!(wide.contains("2/2  50% Serving") && widths(&wide) <= 80, "{wide}");
        let narrow = three.picture(30);
        assert_eq!(narrow, "12.0 s  steady\nus-east-1a 30/s Serving+?+Serv", "a line for each zone, cut");
        assert_eq!(widths(&narrow), 30);
    }

    #[test]
    fn a_pool_that_others_do_not_reach_is_shown_as_cut_off_and_then_as_returning() {
        let seen = |reachable, reach| PoolView { reachable, reach, ..PoolView::default() };
        assert_eq!(from_afar([seen(true, 1.0)].iter()), None);
        assert_eq!(from_afar([seen(true, 1.0), seen(false, 0.0)].iter()), Some("Cut off"));
        assert_eq!(from_afar([seen(true, 0.1), seen(true, 1.0)].iter()), Some("Returning"));
    }

    #[test]
    fn elsewhere_each_look_is_one_line() {
        let mut out = Vec::new();
        Screen::new(&mut out, false).draw(&view(10)).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "12.0 s  steady: us-east-1a 20/s Serving+?\n");
    }
}
