//! Configuration files: a YAML map whose keys are flags. They become arguments in front of the real ones,
//! so that there is one parser, one set of defaults, and every error names the flag.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The arguments of this process with those of the `--config` file, if one is named, put in front.
pub(crate) fn with_config_file(arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let Some(file) = config_file(&arguments) else { return Ok(arguments) };
    let path = Path::new(&file);
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the file of --config, {}", path.display()))?;
    let from_file =
        arguments_of(&text).with_context(|| format!("--config {} is not usable", path.display()))?;
    let (program_and_command, rest) = arguments.split_at(arguments.len().min(2));
    Ok([program_and_command, &from_file, rest].concat())
}

fn config_file(arguments: &[OsString]) -> Option<OsString> {
    arguments.iter().enumerate().find_map(|(at, argument)| {
        let argument = argument.to_str()?;
        match argument.strip_prefix("--config") {
            Some("") => arguments.get(at + 1).cloned(),
            Some(rest) => rest.strip_prefix('=').map(OsString::from),
            None => None,
        }
    })
}

fn arguments_of(text: &str) -> Result<Vec<OsString>> {
    let value: Value = serde_saphyr::from_str(text).context("it is not YAML")?;
    let Value::Object(map) = value else { bail!("it must be a map of flags to values") };
    let mut arguments = Vec::new();
    for (key, value) in map {
        match value {
            Value::Bool(true) => arguments.push(format!("--{key}").into()),
            Value::Bool(false) | Value::Null => {}
            Value::Array(items) => {
                let items: Result<Vec<String>> = items.iter().map(|item| scalar(&key, item)).collect();
                arguments.push(format!("--{key}={}", items?.join(",")).into());
            }
            other => arguments.push(format!("--{key}={}", scalar(&key, &other)?).into()),
        }
    }
    Ok(arguments)
}

fn scalar(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            bail!("{key} must be a string, a number or a list of them")
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let shown = match arguments_of(text) {
            Ok(arguments) => arguments.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" "),
            Err(error) => format!("{error:#}"),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_file_becomes_flags() {
        check(
            "name: server-1\ninit: true\nlog: info\ninitial-cluster: [a=1, b=2]\npurge: false\nhollow-nodes: 3\n",
            expect!["--name=server-1 --init --log=info --initial-cluster=a=1,b=2 --hollow-nodes=3"],
        );
        check("- a\n", expect!["it must be a map of flags to values"]);
        check("name: {a: b}\n", expect!["name must be a string, a number or a list of them"]);
    }

    #[test]
    fn the_file_is_found_in_both_spellings() {
        let find =
            |arguments: &[&str]| config_file(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(find(&["navarch", "server", "--config", "f"]), Some("f".into()));
        assert_eq!(find(&["navarch", "server", "--config=f"]), Some("f".into()));
        assert_eq!(find(&["navarch", "server", "--configure"]), None);
    }
}
