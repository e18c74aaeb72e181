//! What a rule is once parsed. Macros stay what they are called, so that each can be evaluated in its own way.

use super::functions::Overload;
use super::value::Val;
use crate::custom::Pattern;

#[derive(Debug)]
pub(super) struct Expr {
    /// Where it stands in the text, in bytes.
    pub at: usize,
    /// Of the tree below: what evaluating and dropping it take of the stack.
    pub depth: usize,
    pub node: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Literal(Val<'static>),
    Name(String),
    /// A variable by its position, put in place of its name by the checker.
    Slot(usize),
    Select(Box<Select>),
    Call(Box<Call>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    If(Box<[Expr; 3]>),
    List(Vec<Element>),
    Map(Vec<Entry>),
    Each(Box<Each>),
}

#[derive(Debug)]
pub(super) struct Select {
    pub from: Expr,
    pub field: String,
    pub is_optional: bool,
    /// `has(from.field)`.
    pub is_test: bool,
}

#[derive(Debug)]
pub(super) struct Call {
    pub name: String,
    pub target: Option<Expr>,
    pub args: Vec<Expr>,
    /// What the checker found that it can mean.
    pub overloads: Vec<&'static Overload>,
    /// Of a regular expression that stands in the text.
    pub pattern: Option<Pattern>,
}

#[derive(Debug)]
pub(super) struct Element {
    pub value: Expr,
    pub is_optional: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub is_optional: bool,
}

/// A macro: expressions in which the parts of a collection have names.
#[derive(Debug)]
pub(super) struct Each {
    pub verb: Verb,
    pub over: Expr,
    pub names: Vec<String>,
    pub filter: Option<Expr>,
    pub body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// `map`, `transformList`.
    Map,
    TransformMap,
    TransformMapEntry,
    SortBy,
    OptMap,
    OptFlatMap,
}

impl Expr {
    pub(super) fn of(at: usize, node: Node) -> Self {
        let depth = 1 + node.parts().into_iter().map(|part| part.depth).max().unwrap_or_default();
        Self { at, depth, node }
    }

    /// `a.b.c` when that is all it is.
    pub(super) fn dotted(&self) -> Option<String> {
        match &self.node {
            Node::Name(name) => Some(name.clone()),
            Node::Select(select) if !select.is_optional && !select.is_test => {
                Some(format!("{}.{}", select.from.dotted()?, select.field))
            }
            _ => None,
        }
    }
}

impl Node {
    fn parts(&self) -> Vec<&Expr> {
        match self {
            Self::Literal(_) | Self::Name(_) | Self::Slot(_) => Vec::new(),
            Self::Select(select) => vec![&select.from],
            Self::Call(call) => call.target.iter().chain(&call.args).collect(),
            Self::And(parts) | Self::Or(parts) => parts.iter().collect(),
            Self::If(parts) => parts.iter().collect(),
            Self::List(elements) => elements.iter().map(|element| &element.value).collect(),
            Self::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
            Self::Each(each) => [&each.over, &each.body].into_iter().chain(&each.filter).collect(),
        }
    }
}
