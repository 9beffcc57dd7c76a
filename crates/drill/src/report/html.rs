//! The report as one page: no links, no scripts, nothing from elsewhere; made to be printed, read on a phone, and kept.

use super::{Report, agents, escaped, latency_chart, lines, maybe, requests_chart};
use std::fmt::Write as _;

const STYLE: &str = "\
:root{color-scheme:light}*{box-sizing:border-box}\
body{margin:0 auto;padding:1.2rem;max-width:68rem;background:#fff;color:#111827;\
font:16px/1.5 system-ui,'DejaVu Sans',sans-serif;overflow-wrap:anywhere}\
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}h3{font-size:1rem;margin:.8rem 0 .2rem}\
.verdict{display:inline-block;padding:.2rem .7rem;border:2px solid;border-radius:.4rem;font-weight:700}\
.passed{border-color:#00664b;color:#00664b}.failed{border-color:#a33c00;color:#a33c00}\
p{margin:.4rem 0}.s{color:#374151}figure{margin:.6rem 0}figure svg{display:block;width:100%;height:auto}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem .25rem 0;\
border-bottom:1px solid #d1d5db;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}th.n{text-align:right}.two td.n{min-width:6rem}.log td.n{padding-right:1rem;white-space:nowrap}.log td+td{padding-right:1rem}\
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:0 2rem}\
pre{white-space:pre-wrap;background:#f3f4f6;padding:.5rem;margin:.3rem 0}\
@media(max-width:600px){body{padding:.7rem;font-size:15px}figure{overflow-x:auto}figure svg{min-width:36rem}}\
@media print{body{max-width:none;padding:0}figure svg{min-width:0}h2,h3{break-after:avoid}figure,tr,pre{break-inside:avoid}\
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// What stands before the signed report within a page.
const SIGNED: &str = "<script type=\"application/json\" id=\"signed-report\">";

/// A signed report, to be kept within a page: programs find in it what people see around it.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'s> {
    /// Who signed it when, for people.
    pub said: &'s str,
    /// The signed report as JSON without any `<`.
    pub json: &'s str,
}

/// The report as an HTML page.
#[must_use]
pub fn html(report: &Report) -> String {
    page(report, None)
}

/// The same with the report as it was signed in it; [`signed_in`] finds it.
#[must_use]
pub fn sealed_html(report: &Report, seal: Seal<'_>) -> String {
    page(report, Some(seal))
}

/// The signed report within a page; `None` if there is not exactly one.
#[must_use]
pub fn signed_in(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once(SIGNED)?;
    let (json, rest) = rest.split_once("</script>")?;
    (!rest.contains(SIGNED)).then_some(json)
}

fn page(report: &Report, seal: Option<Seal<'_>>) -> String {
    let (class, word) = if report.passed { ("passed", "✔ passed") } else { ("failed", "✘ failed") };
    let name = escaped(&report.drill);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>Drill {name}: {word}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <main>\n<p class=\"s\">Drill report</p>\n<h1>{name}</h1>\n\
         <p><span class=\"verdict {class}\">{word}</span> {}</p>\n",
        escaped(&report.verdict())
    );
    let _ = writeln!(
        page,
        "<p class=\"s\">{} requests/s by {} to {}, each given up after {}. Began {}; id {}.</p>",
        report.load.rate_rps,
        report.load.protocol,
        escaped(&report.urls.join(", ")),
        super::duration(report.load.timeout_ms),
        if report.started_at.is_empty() { "never" } else { &report.started_at },
        escaped(&report.id)
    );
    objectives(&mut page, report);
    if !report.series.bins.is_empty() {
        let _ = write!(
            page,
            "<h2>What clients saw</h2>\n<figure>{}</figure>\n<figure>{}</figure>\n",
            requests_chart(report),
            latency_chart(report)
        );
    }
    measures(&mut page, report);
    if report.costs.is_some() {
        agents::sections(&mut page, report);
    }
    commands(&mut page, report);
    let late = report.generator;
    let _ = writeln!(
        page,
        "<h2>How far to trust it</h2>\n<p>The generator sent the median request {} late, the 99th percentile {}, the latest {} \
         (of {}). Latency counts from when a request was due, so this is in it.</p>",
        super::duration(late.late_p50_ms),
        super::duration(late.late_p99_ms),
        super::duration(late.late_max_ms),
        late.due
    );
    if let Some(Seal { said, json }) = seal {
        let _ = writeln!(
            page,
            "<h2>Signature</h2>\n<p>The report is {}. <code>tidegate drill verify</code> says whether this page is what was \
             signed.</p>\n{SIGNED}{json}</script>",
            escaped(said)
        );
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn objectives(page: &mut String, report: &Report) {
    if report.objectives.is_empty() {
        return;
    }
    page.push_str("<h2>Objectives</h2>\n<table>\n<tr><th>objective</th><th>measured</th><th></th></tr>\n");
    for it in &report.objectives {
        let verdict = if it.passed { "✔ met" } else { "✘ missed" };
        let (objective, measured) = (escaped(&it.objective), escaped(&it.measured));
        let _ = writeln!(page, "<tr><td>{objective}</td><td>{measured}</td><td>{verdict}</td></tr>");
    }
    page.push_str("</table>\n");
}

fn measures(page: &mut String, report: &Report) {
    let Some(costs) = &report.costs else { return };
    page.push_str("<div class=\"two\">\n<section>\n<h2>What it cost</h2>\n<table>\n");
    for (what, value) in lines(costs) {
        let _ = writeln!(page, "<tr><td>{what}</td><td class=\"n\">{value}</td></tr>");
    }
    for (outcome, count) in &costs.failures {
        let _ = writeln!(page, "<tr><td>failed as {outcome}</td><td class=\"n\">{count}</td></tr>");
    }
    page.push_str(
        "</table>\n</section>\n<section>\n<h2>Latency</h2>\n<table>\n<tr><th></th><th class=\"n\">before</th>\
         <th class=\"n\">cut-over</th><th class=\"n\">after</th></tr>\n",
    );
    let of = [costs.before, costs.during, costs.after];
    for (what, values) in [
        ("median", of.map(|it| it.p50_ms)),
        ("99 %", of.map(|it| it.p99_ms)),
        ("99.9 %", of.map(|it| it.p999_ms)),
        ("longest", of.map(|it| it.max_ms)),
    ] {
        let cells: String = values.map(|ms| format!("<td class=\"n\">{}</td>", super::duration(ms))).concat();
        let _ = writeln!(page, "<tr><td>{what}</td>{cells}</tr>");
    }
    page.push_str("</table>\n<h2>When</h2>\n<table>\n");
    let it = report.moments;
    for (what, at) in [
        ("fault", it.fault_ms),
        ("mending", it.mending_ms),
        ("mended", it.mended_ms),
        ("seen to be well", it.verified_ms),
        ("end", it.done_ms),
    ] {
        let _ = writeln!(page, "<tr><td>{what}</td><td class=\"n\">{}</td></tr>", maybe(at));
    }
    page.push_str("</table>\n</section>\n</div>\n");
}

fn commands(page: &mut String, report: &Report) {
    if report.commands.is_empty() && report.mend_error.is_none() {
        return;
    }
    page.push_str("<h2>What was done</h2>\n");
    for ran in &report.commands {
        let how = ran.error.as_deref().unwrap_or("ended well");
        let (command, how) = (escaped(&ran.command.join(" ")), escaped(how));
        let _ = writeln!(page, "<p><code>{command}</code>: {how}, after {} ms</p>", ran.took_ms);
        if !ran.output.trim().is_empty() {
            let _ = writeln!(page, "<pre>{}</pre>", escaped(ran.output.trim()));
        }
    }
    if let Some(error) = &report.mend_error {
        let _ = writeln!(page, "<p><strong>Not mended:</strong> {}</p>", escaped(error));
    }
}
