//! What the machine as a whole uses, from `/proc`. What cannot be read is zero.

/// The unit of `/proc/stat`, which is fixed for programs (`USER_HZ`): a hundredth of a second.
const TICK_NANOS: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// Since it was started.
    pub(super) cpu_nanos: u64,
    pub(super) used_bytes: u64,
    /// Without what the kernel could give back at once.
    pub(super) working_set_bytes: u64,
    pub(super) available_bytes: u64,
}

impl Machine {
    pub(super) fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text("/proc/stat"), &text("/proc/meminfo"))
    }

    fn parse(stat: &str, meminfo: &str) -> Self {
        let kibibytes = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        let (total, used) =
            (kibibytes("MemTotal:"), kibibytes("MemTotal:").saturating_sub(kibibytes("MemFree:")));
        let working_set_bytes = used.saturating_sub(kibibytes("Inactive(file):"));
        Self {
            cpu_nanos: busy_ticks(stat) * TICK_NANOS,
            used_bytes: used,
            working_set_bytes,
            available_bytes: total.saturating_sub(working_set_bytes),
        }
    }
}

/// `cpu  user nice system idle iowait irq softirq steal guest …`: all but idle and waiting; guests are in user.
fn busy_ticks(stat: &str) -> u64 {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks = all.split_whitespace().take(8).map(|field| field.parse::<u64>().unwrap_or(0));
    ticks.enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_prints() {
        let stat = "cpu  10 1 5 1000 50 2 3 4 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let meminfo = "MemTotal: 1000 kB\nMemFree: 400 kB\nInactive(file): 100 kB\n";
        let machine = Machine::parse(stat, meminfo);
        assert_eq!(machine.cpu_nanos, 25 * TICK_NANOS);
        assert_eq!((machine.used_bytes, machine.working_set_bytes), (600 << 10, 500 << 10));
        assert_eq!(machine.available_bytes, 500 << 10);
        assert_eq!(Machine::parse("", ""), Machine::default());
    }

    #[test]
    fn this_machine_uses_something() {
        let machine = Machine::read();
        assert!(machine.cpu_nanos > 0 && machine.working_set_bytes > 0 && machine.available_bytes > 0);
    }
}
