//! Tokens from a file: `token,user,uid,"group1,group2"` on each line, as Kubernetes' `--token-auth-file` reads it.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{AUTHENTICATED, Identity};

/// Who has which token. Only digests are kept: finding one takes as long whatever was tried.
#[derive(Debug, Default)]
pub struct StaticTokens(HashMap<[u8; 32], Identity>);

#[derive(Debug, PartialEq, Eq, Error)]
pub enum StaticTokensError {
    #[error("line {line} must have at least 3 columns (token, user name, user uid), found {found}")]
    Columns { line: usize, found: usize },
    #[error("line {line} must have a token and a user name")]
    Empty { line: usize },
    #[error("line {line} has a quote that does not end")]
    Quote { line: usize },
}

impl StaticTokens {
    /// # Errors
    /// A line does not say whose token it is.
    pub fn parse(text: &str) -> Result<Self, StaticTokensError> {
        let mut tokens = HashMap::new();
        let filled = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
        for (at, line) in text.lines().enumerate().filter(filled) {
            let line_number = at + 1;
            let columns = columns(line).ok_or(StaticTokensError::Quote { line: line_number })?;
            let [token, user, uid, rest @ ..] = columns.as_slice() else {
                return Err(StaticTokensError::Columns { line: line_number, found: columns.len() });
            };
            if token.is_empty() || user.is_empty() {
                return Err(StaticTokensError::Empty { line: line_number });
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default();
            let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
            let groups = groups.chain([AUTHENTICATED]).map(str::to_owned).collect();
            let who = Identity { user: user.clone(), uid: uid.clone(), groups, ..Identity::default() };
            tokens.insert(digest(token), who);
        }
        Ok(Self(tokens))
    }

    pub(super) fn find(&self, token: &str) -> Option<&Identity> {
        if self.0.is_empty() { None } else { self.0.get(&digest(token)) }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The columns of a line of CSV (RFC 4180); nothing if a quote does not end.
fn columns(line: &str) -> Option<Vec<String>> {
    let mut columns = vec![String::new()];
    let mut letters = line.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let column = columns.last_mut()?;
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => column.push('"'),
            '"' if quoted => quoted = false,
            '"' if column.trim().is_empty() => {
                column.clear();
                quoted = true;
            }
            ',' if !quoted => columns.push(String::new()),
            letter => column.push(letter),
        }
    }
    (!quoted).then(|| columns.into_iter().map(|column| column.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, token: &str, expected: Expect) {
        let shown = match StaticTokens::parse(text) {
            Ok(tokens) => match tokens.find(token) {
                Some(who) => format!("{} {:?} {}", who.user, who.uid, who.groups.join(" ")),
                None => "nobody".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_line_says_whose_token_it_is() {
        let file = "# ours\nt1,ann,7,\"devs, ops\"\n\nt2 , bob,\n\"t\"\"3\",cleo,9,one\n";
        check(file, "t1", expect![[r#"ann "7" devs ops system:authenticated"#]]);
        check(file, "t2", expect![[r#"bob "" system:authenticated"#]]);
        check(file, "t\"3", expect![[r#"cleo "9" one system:authenticated"#]]);
        check(file, "t4", expect!["nobody"]);
        check(file, "", expect!["nobody"]);
        check(
            "a,b\n",
            "a",
            expect!["line 1 must have at least 3 columns (token, user name, user uid), found 2"],
        );
        check("t,ann,1\n,b,c\n", "t", expect!["line 2 must have a token and a user name"]);
        check("\"t,ann,1\n", "t", expect!["line 1 has a quote that does not end"]);
    }
}
