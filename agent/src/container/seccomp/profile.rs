//! A profile in the JSON format of container runtimes, with moby's conditions, and what it means on one machine for
//! one container.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::calls;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// What the kernel does about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Log,
    Errno(u32),
    Trace(u32),
    Trap,
    KillThread,
    KillProcess,
}

/// What is asked of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u32,
    pub(super) is: Is,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    Masked { mask: u64, equal: u64 },
}

/// When all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

/// What is done about every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// By number; the first rule that holds counts, and `otherwise` when none does.
    pub(super) calls: BTreeMap<u32, Vec<Rule>>,
    pub(super) otherwise: Action,
    /// Calls that are newer than all that the profile names, when it refuses what it does not name: to a program
    /// they look missing, not forbidden, so that it tries an older one.
    pub(super) newer: Action,
}

/// What a profile's conditions ask about.
pub(super) struct Machine<'a> {
    pub(super) arch: &'a str,
    /// Those that bound the container.
    pub(super) capabilities: &'a [String],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    /// In profiles of old.
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Limits>,
    #[serde(default)]
    excludes: Option<Limits>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// `minKernel` asks for versions that are older than what this program runs on.
#[derive(Debug, Default, Deserialize)]
struct Limits {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
}

pub(super) fn parse(text: &str) -> Result<Profile, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Profile {
    /// What it means there. Calls that the machine does not have are nothing to it.
    pub(super) fn rules(&self, machine: &Machine<'_>) -> Result<Rules, String> {
        let otherwise = action(&self.default_action, self.default_errno_ret)?;
        let numbers = calls::numbers();
        let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
        for entry in self.syscalls.iter().flatten().filter(|entry| entry.counts(machine)) {
            let rule = entry.rule()?;
            for number in entry.names().filter_map(|name| numbers.get(name)) {
                rules.entry(*number).or_default().push(rule.clone());
            }
        }
        let newer = match otherwise {
            Action::Allow | Action::Log => otherwise,
            Action::Errno(_) | Action::Trace(_) | Action::Trap | Action::KillThread | Action::KillProcess => {
                Action::Errno(ENOSYS)
            }
        };
        Ok(Rules { calls: rules, otherwise, newer })
    }
}

impl Entry {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().chain(&self.name).map(String::as_str)
    }

    fn counts(&self, machine: &Machine<'_>) -> bool {
        let has = |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|item| item == wanted);
        let capable = |capability: &String| machine.capabilities.contains(capability);
        let included = self.includes.as_ref().is_none_or(|includes| {
            includes
                .arches
                .as_ref()
                .is_none_or(|arches| arches.is_empty() || has(&includes.arches, machine.arch))
                && includes.caps.iter().flatten().all(capable)
        });
        let excluded = self.excludes.as_ref().is_some_and(|excludes| {
            has(&excludes.arches, machine.arch) || excludes.caps.iter().flatten().any(capable)
        });
        included && !excluded
    }

    fn rule(&self) -> Result<Rule, String> {
        let conditions = self.args.iter().flatten().map(Argument::condition).collect::<Result<_, _>>()?;
        Ok(Rule { conditions, action: action(&self.action, self.errno_ret)? })
    }
}

impl Argument {
    fn condition(&self) -> Result<Condition, String> {
        let is = match self.op.as_str() {
            "SCMP_CMP_EQ" => Is::Equal(self.value),
            "SCMP_CMP_NE" => Is::NotEqual(self.value),
            "SCMP_CMP_LT" => Is::Less(self.value),
            "SCMP_CMP_LE" => Is::LessOrEqual(self.value),
            "SCMP_CMP_GT" => Is::Greater(self.value),
            "SCMP_CMP_GE" => Is::GreaterOrEqual(self.value),
            "SCMP_CMP_MASKED_EQ" => Is::Masked { mask: self.value, equal: self.value_two },
            other => return Err(format!("unknown comparison {other:?}")),
        };
        if self.index > 5 {
            return Err(format!("there is no argument {}", self.index));
        }
        Ok(Condition { argument: self.index, is })
    }
}

fn action(name: &str, number: Option<u32>) -> Result<Action, String> {
    let number = number.unwrap_or(EPERM);
    match name {
        "SCMP_ACT_ALLOW" => Ok(Action::Allow),
        "SCMP_ACT_LOG" => Ok(Action::Log),
        "SCMP_ACT_ERRNO" => Ok(Action::Errno(number)),
        "SCMP_ACT_TRACE" => Ok(Action::Trace(number)),
        "SCMP_ACT_TRAP" => Ok(Action::Trap),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(Action::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(Action::KillProcess),
        "SCMP_ACT_NOTIFY" => {
            Err("SCMP_ACT_NOTIFY needs somebody who is asked, and there is nobody".to_owned())
        }
        other => Err(format!("unknown action {other:?}")),
    }
}
