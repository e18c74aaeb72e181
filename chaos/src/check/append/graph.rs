//! Who must have come before whom, and whether that runs in a circle.

use std::collections::VecDeque;

/// Why one comes before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// It appended right before the other did.
    Wrote,
    /// It appended last of what the other read.
    WasRead,
    /// It did not see what the other appended next.
    DidNotSee,
    /// It had returned before the other began.
    WasOver,
}

/// Nodes are numbers from zero.
pub(super) struct Graph {
    edges: Vec<Vec<(u32, Why)>>,
}

/// A way from a node back to itself: each node, and why it comes before the next.
pub(super) type Circle = Vec<(u32, Why)>;

impl Graph {
    pub(super) fn new(nodes: usize) -> Self {
        Self { edges: vec![Vec::new(); nodes] }
    }

    pub(super) fn add(&mut self, from: u32, to: u32, why: Why) {
        if from != to {
            self.edges[from as usize].push((to, why));
        }
    }

    /// Of each knot of circles, a short one.
    pub(super) fn circles(&self) -> Vec<Circle> {
        self.knots().iter().filter_map(|knot| self.circle(knot)).collect()
    }

    /// Tarjan's strongly connected components of more than one node, each in order.
    fn knots(&self) -> Vec<Vec<u32>> {
        let mut walk = Walk::new(self.edges.len());
        for node in 0..self.edges.len() {
            if walk.index[node] == UNSEEN {
                walk.from(self, node);
            }
        }
        walk.knots
    }

    /// The shortest way through the knot that ends where it began, from any of its first nodes.
    fn circle(&self, knot: &[u32]) -> Option<Circle> {
        const STARTS_MAX: usize = 100;
        let circles = knot.iter().take(STARTS_MAX).filter_map(|&start| self.way_back(start, knot));
        circles.min_by_key(Vec::len)
    }

    /// The shortest way from `start` to itself inside the knot.
    fn way_back(&self, start: u32, knot: &[u32]) -> Option<Circle> {
        let place = |node: u32| knot.binary_search(&node).ok();
        let mut came_from: Vec<Option<(u32, Why)>> = vec![None; knot.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &(to, why) in &self.edges[node as usize] {
                let Some(at) = place(to) else { continue };
                if came_from[at].is_none() {
                    came_from[at] = Some((node, why));
                    queue.push_back(to);
                }
                if to == start {
                    let mut circle = Vec::new();
                    let mut end = start;
                    while circle.is_empty() || end != start {
                        let (before, why) = came_from[place(end)?]?;
                        circle.push((before, why));
                        end = before;
                    }
                    circle.reverse();
                    return Some(circle);
                }
            }
        }
        None
    }
}

const UNSEEN: usize = usize::MAX;

/// Tarjan's walk, with a stack of its own instead of recursion: a history is deep.
struct Walk {
    index: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    next: usize,
    knots: Vec<Vec<u32>>,
}

impl Walk {
    fn new(nodes: usize) -> Self {
        Self {
            index: vec![UNSEEN; nodes],
            low: vec![UNSEEN; nodes],
            on_stack: vec![false; nodes],
            stack: Vec::new(),
            next: 0,
            knots: Vec::new(),
        }
    }

    fn from(&mut self, graph: &Graph, root: usize) {
        // Nodes under way, and which edge of each is next.
        let mut path = vec![(root, 0)];
        self.enter(root);
        while let Some((node, edge)) = path.last_mut() {
            let node = *node;
            if let Some(&(to, _)) = graph.edges[node].get(*edge) {
                *edge += 1;
                let to = to as usize;
                if self.index[to] == UNSEEN {
                    self.enter(to);
                    path.push((to, 0));
                } else if self.on_stack[to] {
                    self.low[node] = self.low[node].min(self.index[to]);
                }
            } else {
                path.pop();
                if let Some(&(parent, _)) = path.last() {
                    self.low[parent] = self.low[parent].min(self.low[node]);
                }
                self.leave(node);
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "nodes are added by numbers of 32 bits")]
    fn enter(&mut self, node: usize) {
        (self.index[node], self.low[node]) = (self.next, self.next);
        self.next += 1;
        self.stack.push(node as u32);
        self.on_stack[node] = true;
    }

    /// Cuts a knot off the stack, if the node is its root.
    fn leave(&mut self, node: usize) {
        if self.low[node] != self.index[node] {
            return;
        }
        let at = self.stack.iter().rposition(|&other| other as usize == node).unwrap_or(0);
        let mut knot = self.stack.split_off(at);
        for &node in &knot {
            self.on_stack[node as usize] = false;
        }
        if knot.len() > 1 {
            knot.sort_unstable();
            self.knots.push(knot);
        }
    }
}
