//! The query of an exec, attach or port-forward request, as in Kubernetes' PodExecOptions and its siblings.

use super::refusal::Refusal;
use crate::logs::decode;
use crate::runtime::Streams;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) streams: Streams,
    pub(super) command: Vec<String>,
    /// Named beforehand by who forwards ports over WebSocket.
    pub(super) ports: Vec<u16>,
}

impl Options {
    /// Reads a query string. Parameters that it does not know are left alone.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            match name {
                "command" => options.command.push(value),
                "stdin" => options.streams.stdin = flag("stdin", &value)?,
                "stdout" => options.streams.stdout = flag("stdout", &value)?,
                "stderr" => options.streams.stderr = flag("stderr", &value)?,
                "tty" => options.streams.tty = flag("tty", &value)?,
                "ports" => {
                    for port in value.split(',').map(str::trim) {
                        options.ports.push(number("ports", port)?);
                    }
                }
                _ => {}
            }
        }
        // A terminal has one output.
        options.streams.stderr &= !options.streams.tty;
        Ok(options)
    }

    /// Refuses a session that could neither say nor hear anything.
    pub(super) fn check_session(&self) -> Result<(), Refusal> {
        match self.streams {
            Streams { stdin: false, stdout: false, stderr: false, .. } => Err(Refusal::NoStreams),
            _ => Ok(()),
        }
    }
}

/// As Go's `strconv.ParseBool`; a bare `stdin` counts as true.
fn flag(name: &'static str, value: &str) -> Result<bool, Refusal> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Refusal::Query { name, value: value.to_owned() }),
    }
}

fn number(name: &'static str, value: &str) -> Result<u16, Refusal> {
    let port = value.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| Refusal::Query { name, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_wanted() {
        let options =
            Options::parse("command=sh&command=-c&command=echo+a%26b&stdin=true&stdout=1&stderr=1&tty=t");
        let expected = Options {
            streams: Streams { stdin: true, stdout: true, stderr: false, tty: true },
            command: vec!["sh".to_owned(), "-c".to_owned(), "echo a&b".to_owned()],
            ports: Vec::new(),
        };
        assert_eq!(options.expect("a query"), expected);
        assert_eq!(Options::parse("ports=80,8080&ports=9").expect("ports").ports, [80, 8080, 9]);
        for (query, complaint) in [
            ("ports=0", r#"invalid value "0" for ports"#),
            ("ports=65536", r#"invalid value "65536" for ports"#),
            ("tty=maybe", r#"invalid value "maybe" for tty"#),
        ] {
            assert_eq!(Options::parse(query).expect_err("refused").to_string(), complaint);
        }
        let silent = Options::parse("tty=true&stderr=true").expect("a query").check_session();
        assert!(matches!(silent, Err(Refusal::NoStreams)));
    }
}
