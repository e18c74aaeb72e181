//! Our own judge of list transactions: what must be plainly so, and then no circle among who came before whom.
//!
//! The longest read of a list tells the order of its appends. An append that nobody read comes after all that were.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Circle, Graph, Why};
use super::{Anomaly, Happened, Micro, Opinion, Transaction};

/// Adya's dependencies and real time, by Tarjan's algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Cycles;

impl Opinion for Cycles {
    fn name(&self) -> &'static str {
        "cycles"
    }

    fn anomalies(&self, transactions: &[Transaction]) -> Vec<Anomaly> {
        let lists = Lists::new(transactions);
        let mut anomalies = Vec::new();
        for (place, transaction) in transactions.iter().enumerate() {
            if transaction.happened == Happened::Yes {
                anomalies.extend(lists.misread(place));
                anomalies.extend(at_odds_with_itself(place, transaction));
            }
        }
        let mut graph = Graph::new(2 * transactions.len());
        lists.add_dependencies(&mut graph);
        add_real_time(&mut graph, transactions);
        anomalies.extend(graph.circles().iter().map(|circle| lists.circle(circle)));
        anomalies
    }
}

/// What the transactions together tell of each list.
struct Lists<'a> {
    transactions: &'a [Transaction],
    /// The longest that was read, each element once, and by whom.
    longest: BTreeMap<&'a str, (Vec<u64>, usize)>,
    /// Who asked for each element.
    writers: BTreeMap<(&'a str, u64), usize>,
}

impl<'a> Lists<'a> {
    fn new(transactions: &'a [Transaction]) -> Self {
        let mut lists = Self { transactions, longest: BTreeMap::new(), writers: BTreeMap::new() };
        for (place, transaction) in transactions.iter().enumerate() {
            for micro in &transaction.micros {
                match micro {
                    Micro::Read { key, list } => lists.learn(place, key, list),
                    Micro::Append { key, element } => _ = lists.writers.insert((key, *element), place),
                }
            }
        }
        lists
    }

    fn learn(&mut self, place: usize, key: &'a str, list: &[u64]) {
        let mut seen = BTreeSet::new();
        let order: Vec<u64> = list.iter().copied().filter(|element| seen.insert(*element)).collect();
        let longest = self.longest.entry(key).or_insert_with(|| (Vec::new(), place));
        if order.len() > longest.0.len() {
            *longest = (order, place);
        }
    }

    fn order(&self, key: &str) -> &[u64] {
        self.longest.get(key).map_or(&[], |(order, _)| order)
    }

    /// What no read may show, whoever came first.
    fn misread(&self, place: usize) -> Vec<Anomaly> {
        let transaction = &self.transactions[place];
        let process = transaction.process;
        let mut anomalies = Vec::new();
        for micro in &transaction.micros {
            let Micro::Read { key, list } = micro else { continue };
            let (order, other) = &self.longest[key.as_str()];
            if list.iter().collect::<BTreeSet<_>>().len() < list.len() {
                let what = format!("p{process} read {key} as {list:?}, though all appends are different");
                anomalies.push(anomaly("duplicate-elements", what, vec![place]));
            } else if !order.starts_with(list) {
                let what =
                    format!("{key} was read as {list:?} and as {order:?}, of which no one list can be both");
                anomalies.push(anomaly("incompatible-order", what, vec![*other, place]));
            }
            let refused = list.iter().find_map(|&element| {
                let writer = self.writers.get(&(key.as_str(), element))?;
                (self.transactions[*writer].happened == Happened::No).then_some((element, *writer))
            });
            if let Some((element, writer)) = refused {
                let what = format!("p{process} read {element} in {key}, whose append was refused");
                anomalies.push(anomaly("G1a", what, vec![writer, place]));
            }
        }
        anomalies
    }

    fn add_dependencies(&self, graph: &mut Graph) {
        let mut readers: BTreeMap<(&str, Option<u64>), Vec<usize>> = BTreeMap::new();
        for (place, micro) in self.micros() {
            if let Micro::Read { key, list } = micro {
                readers.entry((key, list.last().copied())).or_default().push(place);
                let last = list.last().and_then(|last| self.writer(key, *last));
                last.into_iter().for_each(|writer| graph.add(node(writer), node(place), Why::WasRead));
            }
        }
        let positions: BTreeMap<(&str, u64), usize> = self
            .longest
            .iter()
            .flat_map(|(key, (order, _))| order.iter().zip(0..).map(|(element, at)| ((*key, *element), at)))
            .collect();
        for (place, micro) in self.micros() {
            let Micro::Append { key, element } = micro else { continue };
            let before = match positions.get(&(key.as_str(), *element)) {
                Some(0) => None,
                Some(at) => Some(self.order(key)[at - 1]),
                None => self.order(key).last().copied(),
            };
            let writer = before.and_then(|before| self.writer(key, before));
            writer.into_iter().for_each(|writer| graph.add(node(writer), node(place), Why::Wrote));
            for &reader in readers.get(&(key.as_str(), before)).into_iter().flatten() {
                graph.add(node(reader), node(place), Why::DidNotSee);
            }
        }
    }

    /// What those did that may have happened.
    fn micros(&self) -> impl Iterator<Item = (usize, &'a Micro)> {
        let happened = self.transactions.iter().enumerate().filter(|(_, one)| one.happened != Happened::No);
        happened.flat_map(|(place, one)| one.micros.iter().map(move |micro| (place, micro)))
    }

    /// Who appended it, unless that certainly never happened.
    fn writer(&self, key: &str, element: u64) -> Option<usize> {
        let writer = self.writers.get(&(key, element)).copied();
        writer.filter(|&writer| self.transactions[writer].happened != Happened::No)
    }

    /// A circle in words; the moments between transactions that it passes are left out.
    fn circle(&self, circle: &Circle) -> Anomaly {
        let count = self.transactions.len();
        let steps: Vec<(usize, Why)> =
            circle.iter().map(|&(at, why)| (at as usize, why)).filter(|(at, _)| *at < count).collect();
        let next = steps.iter().cycle().skip(1);
        let words: Vec<String> =
            steps.iter().zip(next).map(|((from, why), (to, _))| self.step(*from, *why, *to)).collect();
        let has = |why: Why| steps.iter().filter(|step| step.1 == why).count();
        let kind = match (has(Why::DidNotSee), has(Why::WasRead)) {
            (0, 0) => "G0",
            (0, _) => "G1c",
            (1, _) => "G-single",
            (_, _) => "G2-item",
        };
        let kind = format!("{kind}{}", if has(Why::WasOver) > 0 { "-realtime" } else { "" });
        anomaly(&kind, words.join("; but "), steps.into_iter().map(|(place, _)| place).collect())
    }

    fn step(&self, from: usize, why: Why, to: usize) -> String {
        let [from, to] = [from, to].map(|place| {
            let transaction = &self.transactions[place];
            format!("p{}'s (line {})", transaction.process, transaction.lines.first().unwrap_or(&0))
        });
        match why {
            Why::Wrote => format!("{from} appended before {to}"),
            Why::WasRead => format!("{from} was read by {to}"),
            Why::DidNotSee => format!("{from} did not see the append of {to}"),
            Why::WasOver => format!("{from} was over before {to} began"),
        }
    }
}

fn anomaly(kind: &str, what: String, transactions: Vec<usize>) -> Anomaly {
    Anomaly { kind: kind.to_owned(), what, transactions }
}

/// A transaction must see its own appends, and what it read before, and nothing that it has yet to append.
fn at_odds_with_itself(place: usize, transaction: &Transaction) -> Option<Anomaly> {
    let mut known: BTreeMap<&str, Known> = BTreeMap::new();
    for micro in &transaction.micros {
        match micro {
            Micro::Append { key, element } => {
                let known = known.entry(key).or_default();
                if known.is_whole && known.list.contains(element) {
                    let what =
                        format!("p{} read {element} in {key} before it appended it", transaction.process);
                    return Some(anomaly("future-read", what, vec![place]));
                }
                known.list.push(*element);
            }
            Micro::Read { key, list } => {
                if known.get(key.as_str()).is_some_and(|known| !known.fits(list)) {
                    let process = transaction.process;
                    let what = format!("p{process} read {key} as {list:?}, at odds with what it did before");
                    return Some(anomaly("internal", what, vec![place]));
                }
                known.insert(key, Known { is_whole: true, list: list.clone() });
            }
        }
    }
    None
}

/// What a transaction knows of a list: all of it, or only its end.
#[derive(Default)]
struct Known {
    is_whole: bool,
    list: Vec<u64>,
}

impl Known {
    fn fits(&self, read: &[u64]) -> bool {
        if self.is_whole { self.list == read } else { read.ends_with(&self.list) }
    }
}

/// Of a transaction by its place.
fn node(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Whoever returned came before whoever began later. To say so in few edges, each return is a moment with a node of
/// its own, in a chain.
fn add_real_time(graph: &mut Graph, transactions: &[Transaction]) {
    let ended = transactions.iter().enumerate().filter(|(_, one)| one.happened == Happened::Yes);
    let mut returns: Vec<(u64, usize)> =
        ended.filter_map(|(place, one)| one.returned.map(|returned| (returned, place))).collect();
    returns.sort_unstable();
    let moment = |at: usize| node(transactions.len() + at);
    for (at, (_, place)) in returns.iter().enumerate() {
        graph.add(node(*place), moment(at), Why::WasOver);
        if at > 0 {
            graph.add(moment(at - 1), moment(at), Why::WasOver);
        }
    }
    for (place, transaction) in transactions.iter().enumerate() {
        let over = returns.partition_point(|(returned, _)| *returned < transaction.invoked);
        if over > 0 && transaction.happened != Happened::No {
            graph.add(moment(over - 1), node(place), Why::WasOver);
        }
    }
}
