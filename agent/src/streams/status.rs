//! How a session ended, in Kubernetes' words: the `Status` that clients read from the error stream.

use serde_json::{Value, json};

use crate::runtime::{Ending, TerminalSize};

/// The JSON of the last thing that is said in a session.
pub(super) fn of_ending(ending: &Ending) -> String {
    match ending {
        Ending::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        Ending::Exited(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Ending::Failed(message) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("Internal error occurred: {message}"),
            "reason": "InternalError",
            "details": {"causes": [{"message": message}]},
            "code": 500,
        }),
    }
    .to_string()
}

/// What such a `Status` says. Nothing at all says that all went well.
pub(crate) fn parse_ending(status: &[u8]) -> Ending {
    if status.is_empty() {
        return Ending::Exited(0);
    }
    let Ok(status) = serde_json::from_slice::<Value>(status) else {
        return Ending::Failed(String::from_utf8_lossy(status).into_owned());
    };
    if status["status"] == "Success" {
        return Ending::Exited(0);
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let mut codes = causes.filter(|cause| cause["reason"] == "ExitCode").filter_map(|cause| {
        let code = cause["message"].as_str()?;
        code.parse().ok()
    });
    match codes.next() {
        Some(code) if status["reason"] == "NonZeroExitCode" => Ending::Exited(code),
        _ => {
            let message = status["message"].as_str().unwrap_or_default();
            Ending::Failed(message.strip_prefix("Internal error occurred: ").unwrap_or(message).to_owned())
        }
    }
}

/// Terminal sizes as clients send them: JSON objects, one after the other. What is no size is passed over.
pub(super) fn parse_sizes(text: &[u8]) -> Vec<TerminalSize> {
    let sizes = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    sizes.map_while(Result::ok).filter_map(|size| parse_size(&size)).collect()
}

fn parse_size(size: &Value) -> Option<TerminalSize> {
    let side = |name| u16::try_from(size[name].as_u64()?).ok();
    Some(TerminalSize { width: side("Width")?, height: side("Height")? })
}

/// As the runtime wants to hear it.
pub(crate) fn of_size(size: TerminalSize) -> String {
    format!("{}\n", json!({"Width": size.width, "Height": size.height}))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "an expect! is written in place")]
    fn check(ending: Ending, expected: Expect) {
        let status = of_ending(&ending);
        expected.assert_eq(&status);
        assert_eq!(parse_ending(status.as_bytes()), ending, "what is said is understood");
    }

    #[test]
    fn endings_are_told_as_kubernetes_tells_them() {
        check(Ending::Exited(0), expect![[r#"{"metadata":{},"status":"Success"}"#]]);
        check(
            Ending::Exited(3),
            expect![[
                r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#
            ]],
        );
        check(
            Ending::Failed("no such file".to_owned()),
            expect![[
                r#"{"metadata":{},"status":"Failure","message":"Internal error occurred: no such file","reason":"InternalError","details":{"causes":[{"message":"no such file"}]},"code":500}"#
            ]],
        );
        assert_eq!(parse_ending(b""), Ending::Exited(0));
        assert_eq!(parse_ending(b"oops"), Ending::Failed("oops".to_owned()));
    }

    #[test]
    fn sizes_may_come_in_one_piece() {
        let sizes = parse_sizes(
            b"{\"Width\":80,\"Height\":24}\n{\"Width\":100000,\"Height\":1}{\"Width\":1,\"Height\":2}{",
        );
        let expected = [TerminalSize { width: 80, height: 24 }, TerminalSize { width: 1, height: 2 }];
        assert_eq!(sizes, expected);
    }
}
