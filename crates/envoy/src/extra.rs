//! What a `GatewayTemplate` adds to how an Envoy is started.

use serde_json::Value;
use tidegate_api::{DrainStrategy, ProcessOptions};

/// A value of the bootstrap that Tidegate sets itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Where it stands: `stats_config.stats_matcher`.
    pub path: String,
}

/// A bootstrap with more in it: mappings grow, lists grow at their end, and nothing that is there is replaced.
///
/// # Errors
/// If a value would be replaced by another one.
pub fn with_extra(mut bootstrap: Value, extra: &Value) -> Result<Value, Replaced> {
    add(&mut bootstrap, extra, String::new())?;
    Ok(bootstrap)
}

fn add(to: &mut Value, extra: &Value, path: String) -> Result<(), Replaced> {
    match (to, extra) {
        (Value::Object(to), Value::Object(extra)) => {
            for (name, value) in extra {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match to.get_mut(name) {
                    Some(there) => add(there, value, below)?,
                    None => {
                        to.insert(name.clone(), value.clone());
                    }
                }
            }
            Ok(())
        }
        (Value::Array(to), Value::Array(extra)) => {
            to.extend(extra.iter().cloned());
            Ok(())
        }
        (to, extra) if to == extra => Ok(()),
        _ => Err(Replaced { path }),
    }
}

/// The arguments that a template adds, besides the number of workers.
#[must_use]
pub fn process_arguments(process: &ProcessOptions) -> Vec<String> {
    let mut arguments = Vec::new();
    if let Some(time) = process.drain_time {
        arguments.extend(["--drain-time-s".to_owned(), time.as_secs().to_string()]);
    }
    if let Some(strategy) = process.drain_strategy {
        let word = match strategy {
            DrainStrategy::Gradual => "gradual",
            DrainStrategy::Immediate => "immediate",
        };
        arguments.extend(["--drain-strategy".to_owned(), word.to_owned()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bootstrap_grows_and_nothing_in_it_is_replaced() {
        let base = json!({"a": {"list": [1], "own": "x"}, "b": 1});
        let grown = with_extra(base.clone(), &json!({"a": {"list": [2], "more": true, "own": "x"}, "c": {}}));
        assert_eq!(grown, Ok(json!({"a": {"list": [1, 2], "own": "x", "more": true}, "b": 1, "c": {}})));
        for (extra, path) in [
            (json!({"a": {"own": "y"}}), "a.own"),
            (json!({"a": {"list": {}}}), "a.list"),
            (json!({"b": null}), "b"),
        ] {
            assert_eq!(with_extra(base.clone(), &extra), Err(Replaced { path: path.to_owned() }));
        }
    }
}
