//! The grammar of selectors, with Kubernetes' words for what was expected.

use super::{FieldTerm, Need, Requirement, SelectorError};
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Comma,
    Open,
    Close,
    Not,
    Operator(&'a str),
    Word(&'a str),
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Self::End => "",
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::Operator(text) | Self::Word(text) => text,
        }
    }
}

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut tokens = Tokens { rest: text };
    let mut requirements = Vec::new();
    loop {
        match tokens.peek() {
            Token::Word(_) | Token::Not => {
                requirements.push(requirement(&mut tokens).map_err(SelectorError::Requirement)?);
            }
            Token::End => return Ok(requirements),
            other => return Err(unexpected(other, "!, identifier, or 'end of string'")),
        }
        match tokens.next() {
            Token::End => return Ok(requirements),
            Token::Comma => match tokens.peek() {
                Token::Word(_) | Token::Not => {}
                other => return Err(unexpected(other, "identifier after ','")),
            },
            other => return Err(unexpected(other, "',' or 'end of string'")),
        }
    }
}

fn unexpected(found: Token<'_>, expected: &str) -> SelectorError {
    SelectorError::Syntax(format!("found '{}', expected: {expected}", found.text()))
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, String> {
    let mut token = tokens.next();
    let absent = token == Token::Not;
    if absent {
        token = tokens.next();
    }
    let Token::Word(key) = token else {
        return Err(format!("found '{}', expected: identifier", token.text()));
    };
    let wrong = names::qualified(key);
    if !wrong.is_empty() {
        return Err(format!("<nil>: Invalid value: {key:?}: {}", wrong.join("; ")));
    }
    let need = match (absent, tokens.peek()) {
        (true, _) => Need::DoesNotExist,
        (false, Token::End | Token::Comma) => Need::Exists,
        (false, _) => need(key, tokens)?,
    };
    Ok(Requirement { key: key.to_owned(), need })
}

fn need(key: &str, tokens: &mut Tokens<'_>) -> Result<Need, String> {
    let operator = tokens.next();
    let need = match operator.text() {
        "in" => Need::In(values(tokens)?),
        "notin" => Need::NotIn(values(tokens)?),
        "=" | "==" => Need::Equals(value(tokens)?),
        "!=" => Need::NotEquals(value(tokens)?),
        ">" => Need::GreaterThan(number(key, &value(tokens)?)?),
        "<" => Need::LessThan(number(key, &value(tokens)?)?),
        found => return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt")),
    };
    let listed = match &need {
        Need::In(values) | Need::NotIn(values) => values.as_slice(),
        Need::Equals(value) | Need::NotEquals(value) => std::slice::from_ref(value),
        Need::Exists | Need::DoesNotExist | Need::GreaterThan(_) | Need::LessThan(_) => &[],
    };
    for (index, value) in listed.iter().enumerate() {
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            return Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {}", wrong.join("; ")));
        }
    }
    Ok(need)
}

fn number(key: &str, text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| {
        format!("values[0][{key}]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer")
    })
}

fn value(tokens: &mut Tokens<'_>) -> Result<String, String> {
    match tokens.peek() {
        Token::End | Token::Comma => return Ok(String::new()),
        Token::Word(_) | Token::Open | Token::Close | Token::Not | Token::Operator(_) => {}
    }
    match tokens.next() {
        Token::Word(text) => Ok(text.to_owned()),
        other => Err(format!("found '{}', expected: identifier", other.text())),
    }
}

fn values(tokens: &mut Tokens<'_>) -> Result<Vec<String>, String> {
    match tokens.next() {
        Token::Open => {}
        other => return Err(format!("found '{}' expected: '('", other.text())),
    }
    let mut values = Vec::new();
    let mut after_word = false;
    loop {
        match tokens.next() {
            Token::Word(text) if !after_word => {
                values.push(text.to_owned());
                after_word = true;
            }
            Token::Comma if after_word => after_word = false,
            Token::Comma => values.push(String::new()),
            Token::Close => {
                if !after_word {
                    values.push(String::new());
                }
                return Ok(values);
            }
            other if after_word => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Token<'a> {
        Tokens { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start();
        let fixed = [
            ("==", Token::Operator("==")),
            ("!=", Token::Operator("!=")),
            ("=", Token::Operator("=")),
            ("!", Token::Not),
            (">", Token::Operator(">")),
            ("<", Token::Operator("<")),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
        ];
        for (text, token) in fixed {
            if let Some(rest) = self.rest.strip_prefix(text) {
                self.rest = rest;
                return token;
            }
        }
        let special = |c: char| c.is_whitespace() || "=!(),<>".contains(c);
        let (word, rest) = self.rest.split_at(self.rest.find(special).unwrap_or(self.rest.len()));
        self.rest = rest;
        if word.is_empty() { Token::End } else { Token::Word(word) }
    }
}

/// Terms by unescaped commas; `\\`, `\,` and `\=` stand for themselves in values.
pub(super) fn field_terms(text: &str) -> Result<Vec<FieldTerm>, SelectorError> {
    split_unescaped(text)
        .into_iter()
        .filter(|term| !term.is_empty())
        .map(|term| {
            let bad = || SelectorError::FieldTerm { selector: text.to_owned(), term: term.to_owned() };
            let (at, operator) = [(term.find("!="), "!="), (term.find("=="), "=="), (term.find('='), "=")]
                .into_iter()
                .filter_map(|(at, operator)| Some((at?, operator)))
                .min_by_key(|(at, _)| *at)
                .ok_or_else(bad)?;
            let value = unescape(&term[at + operator.len()..]).ok_or_else(bad)?;
            Ok(FieldTerm { field: term[..at].to_owned(), equal: operator != "!=", value })
        })
        .collect()
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            _ => plain.push(c),
        }
    }
    Some(plain)
}
