//! From rules to the kernel's filter program (classic BPF): the machine is checked, the call's number is searched in
//! halves, and where arguments matter they are compared in two words.

use nix::libc;
use nix::libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
};

use super::calls::{AUDIT_ARCH, FOREIGN};
use super::profile::{Action, Condition, Is, Rule, Rules};

pub(super) type Instruction = libc::sock_filter;

/// Where the kernel shows what it asks about (struct seccomp_data).
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// From here up to the next one's beginning.
struct Section<'a> {
    first: u32,
    rules: &'a [Rule],
    otherwise: Action,
}

/// The whole program. What calls the kernel as another kind of machine is killed.
pub(super) fn assemble(rules: &Rules) -> Vec<Instruction> {
    let mut program = vec![
        load(ARCH_OFFSET),
        jump(BPF_JEQ, AUDIT_ARCH, 1, 0),
        give(Action::KillProcess),
        load(NUMBER_OFFSET),
    ];
    program.extend(search(&sections(rules)));
    program
}

/// Neighbours that are treated alike become one.
fn sections(rules: &Rules) -> Vec<Section<'_>> {
    let plain = |first: u32, otherwise: Action| Section { first, rules: &[], otherwise };
    let mut found = vec![plain(0, rules.otherwise)];
    let mut next = 0;
    for (number, own) in &rules.calls {
        if *number > next {
            found.push(plain(next, rules.otherwise));
        }
        found.push(Section { first: *number, rules: own, otherwise: rules.otherwise });
        next = number + 1;
    }
    found.push(plain(next, rules.newer));
    found.push(plain(FOREIGN, Action::Errno(libc::ENOSYS as u32)));
    let mut merged: Vec<Section<'_>> = Vec::new();
    for section in found {
        match merged.last_mut() {
            Some(last) if last.first == section.first => *last = section,
            Some(last) if last.always().is_some() && last.always() == section.always() => {}
            Some(_) | None => merged.push(section),
        }
    }
    merged
}

impl Section<'_> {
    /// When arguments do not matter.
    fn always(&self) -> Option<Action> {
        match self.rules.first() {
            None => Some(self.otherwise),
            Some(rule) if rule.conditions.is_empty() => Some(rule.action),
            Some(_) => None,
        }
    }

    fn code(&self) -> Vec<Instruction> {
        let mut code = Vec::new();
        for rule in self.rules {
            let mut one: Vec<Instruction> = vec![give(rule.action)];
            for condition in rule.conditions.iter().rev() {
                let mut before = compare(condition, one.len());
                before.extend(one);
                one = before;
            }
            code.extend(one);
        }
        code.push(give(self.otherwise));
        code
    }
}

fn search(sections: &[Section<'_>]) -> Vec<Instruction> {
    match sections {
        [] => Vec::new(),
        [one] => one.always().map_or_else(|| one.code(), |action| vec![give(action)]),
        several => {
            let (low, high) = several.split_at(several.len() / 2);
            let below = search(low);
            // A conditional jump reaches 255 instructions, this one any number.
            let over = Instruction { code: (BPF_JMP | BPF_JA) as u16, jt: 0, jf: 0, k: below.len() as u32 };
            let mut code = vec![jump(BPF_JGE, high[0].first, 0, 1), over];
            code.extend(below);
            code.extend(search(high));
            code
        }
    }
}

/// Goes on when it holds, else jumps over as many instructions as follow. An argument has two words.
fn compare(condition: &Condition, follow: usize) -> Vec<Instruction> {
    let low = ARGUMENTS_OFFSET + 8 * condition.argument;
    let high = low + 4;
    let words = |value: u64| ((value >> 32) as u32, value as u32);
    // Rules are short: seven instructions for each of six arguments at most.
    let away = follow as u8;
    match condition.is {
        Is::Equal(value) => {
            let (upper, lower) = words(value);
            vec![load(high), jump(BPF_JEQ, upper, 0, away + 2), load(low), jump(BPF_JEQ, lower, 0, away)]
        }
        Is::NotEqual(value) => {
            let (upper, lower) = words(value);
            vec![load(high), jump(BPF_JEQ, upper, 0, 2), load(low), jump(BPF_JEQ, lower, away, 0)]
        }
        Is::Greater(value) => above(high, low, words(value), BPF_JGT, away),
        Is::GreaterOrEqual(value) => above(high, low, words(value), BPF_JGE, away),
        Is::Less(value) => below(high, low, words(value), BPF_JGE, away),
        Is::LessOrEqual(value) => below(high, low, words(value), BPF_JGT, away),
        Is::Masked { mask, equal } => {
            let ((upper_mask, lower_mask), (upper, lower)) = (words(mask), words(equal));
            vec![
                load(high),
                and(upper_mask),
                jump(BPF_JEQ, upper, 0, away + 3),
                load(low),
                and(lower_mask),
                jump(BPF_JEQ, lower, 0, away),
            ]
        }
    }
}

/// Holds when the upper word is greater, or is equal and the lower one compares.
fn above(high: u32, low: u32, (upper, lower): (u32, u32), compares: u32, away: u8) -> Vec<Instruction> {
    vec![
        load(high),
        jump(BPF_JGT, upper, 3, 0),
        jump(BPF_JEQ, upper, 0, away + 2),
        load(low),
        jump(compares, lower, 0, away),
    ]
}

/// Holds unless the upper word is greater, or is equal and the lower one compares.
fn below(high: u32, low: u32, (upper, lower): (u32, u32), compares: u32, away: u8) -> Vec<Instruction> {
    vec![
        load(high),
        jump(BPF_JGT, upper, away + 3, 0),
        jump(BPF_JEQ, upper, 0, 2),
        load(low),
        jump(compares, lower, away, 0),
    ]
}

fn load(offset: u32) -> Instruction {
    Instruction { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn and(mask: u32) -> Instruction {
    Instruction { code: (BPF_ALU | BPF_AND | BPF_K) as u16, jt: 0, jf: 0, k: mask }
}

fn jump(how: u32, value: u32, if_so: u8, if_not: u8) -> Instruction {
    Instruction { code: (BPF_JMP | how | BPF_K) as u16, jt: if_so, jf: if_not, k: value }
}

fn give(action: Action) -> Instruction {
    let data = |number: u32| number & libc::SECCOMP_RET_DATA;
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Errno(number) => libc::SECCOMP_RET_ERRNO | data(number),
        Action::Trace(number) => libc::SECCOMP_RET_TRACE | data(number),
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
    };
    Instruction { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: value }
}
