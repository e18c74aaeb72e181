//! The search of Wing, Gong and Lowe for an order of calls that a register could have answered so.
//!
//! A call that is taken into the order is lifted out of a linked list of invocations and returns, and put back when the
//! order comes to nothing. A place that was reached before (same calls taken, same register) is not searched again.
//! Calls of unknown outcome are tried last, never need be taken, and are of use only if they change the register; of
//! two that are equal, the older goes first; and what cannot be done with fewer of them taken is not tried with more.
//! Where nothing deletes, versions only grow, so one that a call still has to see must not be passed.
//! The search counts its steps and gives up after so many, so that a history is judged the same on any machine.

use std::collections::BTreeMap;

use super::register::{Asked, Call, Register, Write};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    Linearizable,
    NotLinearizable(Stuck),
    OutOfBudget,
}

/// The longest order that could be found. Calls are named by their places in what was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stuck {
    pub order: Vec<usize>,
    /// After them.
    pub register: Register,
    /// Of these one would have to be next, and none of them can be.
    pub next: Vec<usize>,
}

/// Whether some order of the calls explains all answers, from a register that holds `start`; and the steps it took.
pub fn search(start: Register, calls: &[Call], steps_max: u64) -> (Judged, u64) {
    let mut search = Search::new(start, calls, Pruning::AllCalls);
    let judged = search.run(steps_max);
    let Judged::NotLinearizable(_) = judged else { return (judged, search.steps) };
    // Once more, for an order that ends where a person sees why.
    let mut plainer = Search::new(start, calls, Pruning::UnknownCalls);
    match plainer.run(steps_max) {
        stuck @ Judged::NotLinearizable(_) => (stuck, search.steps),
        Judged::Linearizable | Judged::OutOfBudget => (judged, search.steps),
    }
}

/// Which calls may not pass a version that another must see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pruning {
    AllCalls,
    UnknownCalls,
}

struct Search<'a> {
    calls: &'a [Call],
    /// Places in `calls` of those that returned, by invocation.
    known: Vec<usize>,
    unknown: Vec<Unknown>,
    list: List,
    register: Register,
    taken: Bits,
    used: Bits,
    order: Vec<Taken>,
    pruning: Pruning,
    caps: Caps,
    /// One more than the last in `known` that is taken.
    taken_to: usize,
    /// With these calls taken and this register: the sets of unknown calls that it took to get there.
    reached: BTreeMap<(Box<[u64]>, Register), Vec<Bits>>,
    steps: u64,
    best: Option<Stuck>,
}

struct Unknown {
    /// Its place in `calls`.
    call: usize,
    invoked: u64,
    /// The next older one that is equal to it, by its place among the unknown.
    older_twin: Option<usize>,
}

/// A step of the order, and how to undo it.
struct Taken {
    candidate: Candidate,
    before: Register,
    taken_to_before: usize,
}

#[derive(Clone, Copy)]
enum Candidate {
    /// A place in the list.
    Known(u32),
    /// A place among the unknown.
    Unknown(usize),
}

impl<'a> Search<'a> {
    fn new(start: Register, calls: &'a [Call], pruning: Pruning) -> Self {
        let mut known: Vec<usize> = (0..calls.len()).filter(|&call| calls[call].returned.is_some()).collect();
        known.sort_by_key(|&call| calls[call].invoked);
        let unknown = unknown_of(calls);
        Self {
            pruning,
            caps: Caps::new(calls, &known),
            taken_to: 0,
            calls,
            list: List::new(known.iter().map(|&call| (calls[call].invoked, calls[call].returned))),
            register: start,
            taken: Bits::new(known.len()),
            used: Bits::new(unknown.len()),
            known,
            unknown,
            order: Vec::new(),
            reached: BTreeMap::new(),
            steps: 0,
            best: None,
        }
    }

    fn run(&mut self, steps_max: u64) -> Judged {
        let mut candidate = Candidate::Known(self.list.first());
        while !self.list.is_empty() {
            self.steps += 1;
            if self.steps > steps_max {
                return Judged::OutOfBudget;
            }
            candidate = match candidate {
                Candidate::Known(node) => match self.list.invocation(node) {
                    Some(_) if self.take(candidate) => Candidate::Known(self.list.first()),
                    Some(_) => Candidate::Known(self.list.after(node)),
                    // The first return: whatever is not taken yet and began later must wait for it.
                    None => Candidate::Unknown(0),
                },
                Candidate::Unknown(at) if self.may_use(at) => {
                    if self.is_free(at) && self.take(candidate) {
                        Candidate::Known(self.list.first())
                    } else {
                        Candidate::Unknown(at + 1)
                    }
                }
                Candidate::Unknown(_) => match self.undo() {
                    Some(next) => next,
                    None => return Judged::NotLinearizable(self.best.take().unwrap_or_default()),
                },
            };
        }
        Judged::Linearizable
    }

    fn call_of(&self, candidate: Candidate) -> usize {
        match candidate {
            Candidate::Known(node) => self.known[self.list.call(node)],
            Candidate::Unknown(at) => self.unknown[at].call,
        }
    }

    /// Whether there is such a one and it began before the first return that is left.
    fn may_use(&self, at: usize) -> bool {
        self.unknown.get(at).is_some_and(|unknown| unknown.invoked <= self.list.first_return())
    }

    fn is_free(&self, at: usize) -> bool {
        !self.used.has(at) && self.unknown[at].older_twin.is_none_or(|twin| self.used.has(twin))
    }

    /// Puts it next in the order, if the register could have answered so and this leads to where nobody was.
    fn take(&mut self, candidate: Candidate) -> bool {
        let before = self.register;
        let Some(after) = before.after(&self.calls[self.call_of(candidate)]) else { return false };
        let taken_to_before = self.taken_to;
        match candidate {
            Candidate::Known(node) => {
                let call = self.list.call(node);
                self.taken.set(call);
                self.taken_to = taken_to_before.max(call + 1);
            }
            Candidate::Unknown(_) if after == before => return false,
            Candidate::Unknown(at) => self.used.set(at),
        }
        let is_pruned = self.pruning == Pruning::AllCalls || matches!(candidate, Candidate::Unknown(_));
        if (is_pruned && after.version > Some(self.version_max(candidate))) || !self.is_new(after) {
            self.untake(candidate);
            self.taken_to = taken_to_before;
            return false;
        }
        if let Candidate::Known(node) = candidate {
            self.list.lift(node);
        }
        self.register = after;
        self.order.push(Taken { candidate, before, taken_to_before });
        true
    }

    /// What no version may pass once the candidate is taken, too: a call that is left must see it.
    fn version_max(&self, candidate: Candidate) -> u64 {
        let left_behind = self.list.known().take_while(|call| *call < self.taken_to);
        let others = left_behind.filter(|call| match candidate {
            Candidate::Known(node) => self.list.call(node) != *call,
            Candidate::Unknown(_) => true,
        });
        others
            .map(|call| self.caps.of[call])
            .chain([self.caps.after(self.taken_to)])
            .min()
            .unwrap_or(u64::MAX)
    }

    fn untake(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Known(node) => self.taken.clear(self.list.call(node)),
            Candidate::Unknown(at) => self.used.clear(at),
        }
    }

    /// Whether nobody was here yet with as few unknown calls.
    fn is_new(&mut self, register: Register) -> bool {
        let sets = self.reached.entry((self.taken.packed(), register)).or_default();
        let new = !sets.iter().any(|set| set.is_subset(&self.used));
        if new {
            sets.push(self.used.clone());
        }
        new
    }

    /// Takes back the last step, and names what to try in its stead.
    fn undo(&mut self) -> Option<Candidate> {
        self.remember();
        let Taken { candidate, before, taken_to_before } = self.order.pop()?;
        (self.register, self.taken_to) = (before, taken_to_before);
        self.untake(candidate);
        Some(match candidate {
            Candidate::Known(node) => {
                self.list.put_back(node);
                Candidate::Known(self.list.after(node))
            }
            Candidate::Unknown(at) => Candidate::Unknown(at + 1),
        })
    }

    /// Keeps the order if it is the longest so far.
    fn remember(&mut self) {
        if self.best.as_ref().is_some_and(|best| best.order.len() >= self.order.len()) {
            return;
        }
        let order = self.order.iter().map(|taken| self.call_of(taken.candidate)).collect();
        let next = self.list.open().map(|call| self.known[call]).collect();
        self.best = Some(Stuck { order, register: self.register, next });
    }
}

fn unknown_of(calls: &[Call]) -> Vec<Unknown> {
    let mut places: Vec<usize> = (0..calls.len()).filter(|&call| calls[call].returned.is_none()).collect();
    places.sort_by_key(|&call| calls[call].invoked);
    let mut newest: BTreeMap<&Asked, usize> = BTreeMap::new();
    let unknown = places.into_iter().enumerate();
    unknown
        .map(|(at, call)| {
            let older_twin = newest.insert(&calls[call].input, at);
            Unknown { call, invoked: calls[call].invoked, older_twin }
        })
        .collect()
}

/// The versions that calls must find; without bound for calls that find any, and for all where one deletes.
struct Caps {
    /// Of each known call.
    of: Vec<u64>,
    /// The least of each and all after it.
    from: Vec<u64>,
}

impl Caps {
    fn new(calls: &[Call], known: &[usize]) -> Self {
        let deletes = calls.iter().any(|call| call.input.write == Some(Write::Delete));
        let cap = |call: &usize| if deletes { u64::MAX } else { cap(&calls[*call]) };
        let of: Vec<u64> = known.iter().map(cap).collect();
        let mut from = of.clone();
        for at in (1..from.len()).rev() {
            from[at - 1] = from[at - 1].min(from[at]);
        }
        Self { of, from }
    }

    fn after(&self, known: usize) -> u64 {
        self.from.get(known).copied().unwrap_or(u64::MAX)
    }
}

/// The version that it must find.
fn cap(call: &Call) -> u64 {
    let writes = call.input.write.is_some() && call.output.held != Some(false);
    let after = call.output.after.version.map(|version| version.saturating_sub(u64::from(writes)));
    call.output.before.version.or(after).unwrap_or(u64::MAX)
}

/// Invocations and returns by time, in a ring through place 0, which is neither.
struct List {
    next: Vec<u32>,
    previous: Vec<u32>,
    moments: Vec<Moment>,
    /// Of each call, where it returns.
    returns: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Moment {
    at: u64,
    call: usize,
    is_return: bool,
}

impl List {
    /// Of calls that returned. At one time, invocations go before returns: what touches is concurrent.
    fn new(calls: impl Iterator<Item = (u64, Option<u64>)>) -> Self {
        let mut moments = vec![Moment { at: 0, call: usize::MAX, is_return: false }];
        for (call, (invoked, returned)) in calls.enumerate() {
            moments.push(Moment { at: invoked, call, is_return: false });
            moments.push(Moment { at: returned.unwrap_or(u64::MAX), call, is_return: true });
        }
        moments[1..].sort_by_key(|moment| (moment.at, moment.is_return, moment.call));
        let count = u32::try_from(moments.len()).unwrap_or(u32::MAX);
        let mut returns = vec![0; moments.len() / 2];
        for (node, moment) in (0..count).zip(&moments) {
            if moment.is_return {
                returns[moment.call] = node;
            }
        }
        let next = (1..count).chain([0]).collect();
        let previous = [count - 1].into_iter().chain(0..count - 1).collect();
        Self { next, previous, moments, returns }
    }

    fn is_empty(&self) -> bool {
        self.next[0] == 0
    }

    fn first(&self) -> u32 {
        self.next[0]
    }

    fn after(&self, node: u32) -> u32 {
        self.next[node as usize]
    }

    fn call(&self, node: u32) -> usize {
        self.moments[node as usize].call
    }

    /// The call that begins here; none if one returns here.
    fn invocation(&self, node: u32) -> Option<usize> {
        let moment = self.moments[node as usize];
        (!moment.is_return).then_some(moment.call)
    }

    /// All that are left, by their invocation.
    fn known(&self) -> impl Iterator<Item = usize> {
        let nodes = std::iter::successors(Some(self.first()), |&node| Some(self.after(node)));
        nodes.take_while(|&node| node != 0).filter_map(|node| self.invocation(node))
    }

    /// The calls that began before the first return.
    fn open(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(self.first()), |&node| Some(self.after(node)))
            .map_while(|node| if node == 0 { None } else { self.invocation(node) })
    }

    /// When the first of those that are left returns.
    fn first_return(&self) -> u64 {
        let mut node = self.first();
        while node != 0 && !self.moments[node as usize].is_return {
            node = self.after(node);
        }
        self.moments[node as usize].at
    }

    fn lift(&mut self, invocation: u32) {
        for node in [invocation, self.returns[self.call(invocation)]] {
            let (previous, next) = (self.previous[node as usize], self.next[node as usize]);
            self.next[previous as usize] = next;
            self.previous[next as usize] = previous;
        }
    }

    fn put_back(&mut self, invocation: u32) {
        for node in [self.returns[self.call(invocation)], invocation] {
            let (previous, next) = (self.previous[node as usize], self.next[node as usize]);
            self.next[previous as usize] = node;
            self.previous[next as usize] = node;
        }
    }
}

/// A set of small numbers.
#[derive(Clone, Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn set(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn clear(&mut self, at: usize) {
        self.0[at / 64] &= !(1 << (at % 64));
    }

    fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// The same set in little room: how many words are full, then the words up to the last that is not empty.
    fn packed(&self) -> Box<[u64]> {
        let full = self.0.iter().take_while(|&&word| word == u64::MAX).count();
        let end = self.0.iter().rposition(|&word| word != 0).map_or(full, |last| last + 1);
        std::iter::once(full as u64).chain(self.0[full..end].iter().copied()).collect()
    }
}
