//! Errors for people: with their causes, in one line.

use std::error::Error;

/// The message of an error, then those of its causes.
pub(crate) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::NetworkError;

    #[test]
    fn the_cause_is_said_after_what_failed() {
        let error = NetworkError::Remove { path: "/x".into(), source: std::io::Error::other("busy") };
        assert_eq!(in_full(&error), "cannot remove /x: busy");
    }
}
