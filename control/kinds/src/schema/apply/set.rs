//! A set of fields: a sorted tree in which each step may be a member, have members below it, or both.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::Element;
use super::shape::Shape;
use crate::schema::{Schema, TypeId};

/// No node is without use: each is a member or has members below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<Element, Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) member: bool,
    pub(super) below: FieldSet,
}

/// Where a field is: `.spec.containers[name="a"].image`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Element>);

impl FieldSet {
    /// Every path is given as the names of fields.
    pub fn of_names(paths: &[&[&str]]) -> FieldSet {
        let mut set = FieldSet::default();
        for path in paths {
            set.insert(&path.iter().map(|name| Element::field(name)).collect::<Vec<_>>());
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => self.put(last.clone(), true, FieldSet::default()),
            [first, rest @ ..] => {
                let mut below = FieldSet::default();
                below.insert(rest);
                self.put(first.clone(), false, below);
            }
        }
    }

    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.nodes.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.nodes.get(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    pub(super) fn node(&self, element: &Element) -> Option<&Node> {
        self.nodes.get(element)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Element, &Node)> {
        self.nodes.iter()
    }

    /// Adds what is at and below `element`.
    pub(super) fn put(&mut self, element: Element, member: bool, below: FieldSet) {
        let Some(added) = Node::new(member, below) else { return };
        match self.nodes.get_mut(&element) {
            None => drop(self.nodes.insert(element, added)),
            Some(node) => {
                node.member |= added.member;
                node.below = node.below.union(&added.below);
            }
        }
    }

    #[must_use]
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        self.joined(other, |pair| match pair {
            Pair::Left(node) | Pair::Right(node) => Some(node.clone()),
            Pair::Both(a, b) => Node::new(a.member || b.member, a.below.union(&b.below)),
        })
    }

    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.joined(other, |pair| match pair {
            Pair::Left(_) | Pair::Right(_) => None,
            Pair::Both(a, b) => Node::new(a.member && b.member, a.below.intersection(&b.below)),
        })
    }

    /// The members that are no members of `other`; what lies below a member of `other` stays.
    #[must_use]
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.joined(other, |pair| match pair {
            Pair::Left(node) => Some(node.clone()),
            Pair::Right(_) => None,
            Pair::Both(a, b) => Node::new(a.member && !b.member, a.below.difference(&b.below)),
        })
    }

    /// As [`FieldSet::difference`], but what lies below a member of `other` goes too.
    #[must_use]
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        self.joined(other, |pair| match pair {
            Pair::Left(node) => Some(node.clone()),
            Pair::Right(_) => None,
            Pair::Both(_, b) if b.member => None,
            Pair::Both(a, b) => Node::new(a.member, a.below.recursive_difference(&b.below)),
        })
    }

    /// All members; at each step those of the step before those below it, as Kubernetes lists conflicts.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, at: &mut Vec<Element>, into: &mut Vec<Path>) {
        for (element, _) in self.nodes.iter().filter(|(_, node)| node.member) {
            at.push(element.clone());
            into.push(Path(at.clone()));
            at.pop();
        }
        for (element, node) in &self.nodes {
            at.push(element.clone());
            node.below.collect_paths(at, into);
            at.pop();
        }
    }

    /// Makes members of the structs' fields on the way to members, so that a removal takes them along.
    #[must_use]
    pub(super) fn with_named_fields(&self, schema: &Schema, ty: TypeId) -> FieldSet {
        let shape = Shape::of(schema, ty);
        let named = |(element, node): (&Element, &Node)| {
            let is_named = match element {
                Element::Field(name) => shape.field(name).is_some(),
                Element::Key(_) | Element::Value(_) | Element::Index(_) => false,
            };
            let below = node.below.with_named_fields(schema, shape.below(element));
            (element.clone(), Node { member: node.member || is_named, below })
        };
        FieldSet { nodes: self.nodes.iter().map(named).collect() }
    }

    /// Walks both sets in order; what `keep` gives back makes the new set.
    fn joined(&self, other: &FieldSet, keep: impl Fn(Pair<'_>) -> Option<Node>) -> FieldSet {
        let (mut left, mut right) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        let mut nodes = Vec::new();
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return FieldSet { nodes: nodes.into_iter().collect() },
            };
            let a = left.next_if(|_| order.is_le());
            let b = right.next_if(|_| order.is_ge());
            let (element, kept) = match (a, b) {
                (Some((element, a)), Some((_, b))) => (element, keep(Pair::Both(a, b))),
                (Some((element, a)), None) => (element, keep(Pair::Left(a))),
                (None, Some((element, b))) => (element, keep(Pair::Right(b))),
                (None, None) => continue,
            };
            nodes.extend(kept.map(|node| (element.clone(), node)));
        }
    }
}

/// One step of two sets.
enum Pair<'n> {
    Left(&'n Node),
    Right(&'n Node),
    Both(&'n Node, &'n Node),
}

impl Node {
    /// None when it would be without use.
    fn new(member: bool, below: FieldSet) -> Option<Node> {
        (member || !below.is_empty()).then_some(Node { member, below })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(to, "{element}"))
    }
}

/// A path a line.
impl fmt::Display for FieldSet {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.paths().iter().map(ToString::to_string).collect();
        to.write_str(&lines.join("\n"))
    }
}
