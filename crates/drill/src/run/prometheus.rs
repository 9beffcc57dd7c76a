//! Guards that ask a Prometheus: its HTTP API in, why the drill is to stop out.
//!
//! A guard that cannot see does not protect: no answer, an error and an answer without a value count like one out of bounds.

use super::line::encoded;
use crate::generator::{Target, Trust, fetch};
use serde::Deserialize;
use std::time::Duration;
use tidegate_api::{DrillGuard, PrometheusAsk};
use tokio::time::MissedTickBehavior;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// Words of a query that a sentence repeats.
const SHOWN: usize = 120;

/// What is watched.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    target: Target,
    ask: PrometheusAsk,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bounds {
    /// Neither below the first nor above the second.
    Within(Option<f64>, Option<f64>),
    /// So much of an error budget is to be left.
    Budget(f64),
}

impl Watched {
    /// `None` for a guard of another kind.
    pub(super) fn of(guard: &DrillGuard, trust: &Trust) -> Option<Self> {
        let (ask, bounds) = match guard {
            DrillGuard::Prometheus { ask, within } => (ask, Bounds::Within(within.0, within.1)),
            DrillGuard::ErrorBudget { ask, remaining } => (ask, Bounds::Budget(*remaining)),
            DrillGuard::HttpCheck { .. } | DrillGuard::ErrorRate { .. } => return None,
        };
        let url = format!("{}/api/v1/query?query={}", ask.url.trim_end_matches('/'), encoded(&ask.query));
        let target = Target { trust: trust.clone(), ..Target::get(url) };
        Some(Self { target, ask: ask.clone(), bounds })
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// Asks until it is out of bounds so often in a row; why the drill is to stop.
    pub(super) async fn watch(&self) -> String {
        let mut tick = tokio::time::interval(self.ask.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_a_row = 0;
        loop {
            tick.tick().await;
            let Err(why) = self.look().await else {
                in_a_row = 0;
                continue;
            };
            in_a_row += 1;
            if in_a_row >= self.ask.failures {
                return why;
            }
        }
    }

    /// Whether it speaks against the drill before anything is broken.
    pub(super) async fn before(&self) -> Result<(), String> {
        self.look().await
    }

    async fn look(&self) -> Result<(), String> {
        let found = match fetch(&self.target, PATIENCE).await {
            Ok((_, body)) => values(&body),
            Err(why) => Err(why),
        };
        judge(self.bounds, &found).map_err(|why| {
            let query: String = self.ask.query.chars().take(SHOWN).collect();
            format!("guard: {} says of {query:?}: {why}", self.ask.url)
        })
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    value: (f64, String),
}

/// The values of an instant query's answer; never none, and no NaN.
fn values(body: &[u8]) -> Result<Vec<f64>, String> {
    let unread = |error: serde_json::Error| format!("an answer that is none of Prometheus's: {error}");
    let answer: Answer = serde_json::from_slice(body).map_err(unread)?;
    if let Some(error) = answer.error {
        return Err(format!("the error {error:?}"));
    }
    let data = answer.data.ok_or("an answer without data")?;
    let texts: Vec<String> = match data.result_type.as_str() {
        "vector" => serde_json::from_value::<Vec<Series>>(data.result)
            .map_err(unread)?
            .into_iter()
            .map(|it| it.value.1)
            .collect(),
        "scalar" => vec![serde_json::from_value::<(f64, String)>(data.result).map_err(unread)?.1],
        other => {
            return Err(format!("a {other}, not a number\n  hint: ask for an instant vector or a scalar"));
        }
    };
    if texts.is_empty() {
        return Err("no value at all (where that is well, add `or vector(0)` to the query)".to_owned());
    }
    let number = |text: &String| match text.as_str() {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        text => {
            text.parse::<f64>().ok().filter(|it| !it.is_nan()).ok_or(format!("{text}, which is no number"))
        }
    };
    texts.iter().map(number).collect()
}

/// Each value counts: one series that is out of bounds is enough.
fn judge(bounds: Bounds, found: &Result<Vec<f64>, String>) -> Result<(), String> {
    let values = found.as_ref().map_err(Clone::clone)?;
    for value in values {
        match bounds {
            Bounds::Within(Some(least), _) if *value < least => {
                return Err(format!("{value}, below {least}"));
            }
            Bounds::Within(_, Some(most)) if *value > most => return Err(format!("{value}, above {most}")),
            Bounds::Budget(least) if *value < least => {
                let percent = |part: f64| (part * 1e4).round() / 1e2;
                return Err(format!(
                    "{} % of the error budget is left, less than {} %",
                    percent(*value),
                    percent(least)
                ));
            }
            Bounds::Within(..) | Bounds::Budget(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(of: &[&str]) -> String {
        let series: Vec<String> =
            of.iter().map(|it| format!("{{\"metric\":{{}},\"value\":[1.5,\"{it}\"]}}")).collect();
        format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{}]}}}}",
            series.join(",")
        )
    }

    #[test]
    fn answers_of_prometheus_are_read_and_what_is_no_number_is_told() {
        assert_eq!(values(vector(&["1.5", "+Inf"]).as_bytes()), Ok(vec![1.5, f64::INFINITY]));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"7"]}}"#;
        assert_eq!(values(scalar.as_bytes()), Ok(vec![7.0]));
        for (body, said) in [
            (vector(&[]), "or vector(0)"),
            (vector(&["NaN"]), "no number"),
            (r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned(), "parse error"),
            (r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned(), "a matrix"),
            ("<html>".to_owned(), "none of Prometheus's"),
        ] {
            let why = values(body.as_bytes()).unwrap_err();
            assert!(why.contains(said), "{body}: {why}");
        }
    }

    #[test]
    fn one_series_out_of_bounds_is_enough_and_no_answer_too() {
        let within = Bounds::Within(Some(1.0), Some(5.0));
        assert_eq!(judge(within, &Ok(vec![1.0, 5.0])), Ok(()));
        assert_eq!(judge(within, &Ok(vec![2.0, 6.0])), Err("6, above 5".to_owned()));
        assert_eq!(judge(within, &Ok(vec![0.5])), Err("0.5, below 1".to_owned()));
        assert_eq!(judge(within, &Err("gone".to_owned())), Err("gone".to_owned()));
        assert_eq!(judge(Bounds::Budget(0.25), &Ok(vec![0.25])), Ok(()));
        let why = judge(Bounds::Budget(0.25), &Ok(vec![-0.5])).unwrap_err();
        assert_eq!(why, "-50 % of the error budget is left, less than 25 %");
    }
}
