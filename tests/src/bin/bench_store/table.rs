//! The figures of a run, the median of its rounds, beside each other.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fleet::System;
use crate::load::Measured;

/// What a line is judged by: ours divided by etcd's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Requests per second, at least.
    Rate(f64),
    /// The median's duration, at most.
    Latency(f64),
}

/// Something that is no load: a size or a time, the less the better.
pub(crate) struct Figure {
    pub(crate) work: String,
    pub(crate) unit: &'static str,
    /// Ours divided by etcd's.
    pub(crate) at_most: f64,
}

#[derive(Default)]
pub(crate) struct Table {
    figures: Vec<(String, &'static str, f64, BTreeMap<System, f64>)>,
    /// In the order of their first round.
    works: Vec<(String, Goal)>,
    seen: BTreeMap<(String, System), Vec<Measured>>,
}

impl Table {
    pub(crate) fn add(&mut self, work: &str, goal: Goal, system: System, measured: &Measured) {
        eprintln!("  {work}: {}", line(measured));
        if self.works.iter().all(|(known, _)| known != work) {
            self.works.push((work.to_owned(), goal));
        }
        self.seen.entry((work.to_owned(), system)).or_default().push(measured.clone());
    }

    pub(crate) fn add_figure(&mut self, figure: &Figure, system: System, value: f64) {
        eprintln!("  {}: {value:.0} {}", figure.work, figure.unit);
        let Figure { work, unit, at_most } = figure;
        match self.figures.iter_mut().find(|(known, ..)| known == work) {
            Some((_, _, _, values)) => {
                values.insert(system, value);
            }
            None => self.figures.push((work.clone(), unit, *at_most, BTreeMap::from([(system, value)]))),
        }
    }

    pub(crate) fn print(&self) {
        self.print_works();
        if self.figures.is_empty() {
            return;
        }
        println!("\n| what | goal | etcd | ours | ratio |\n|---|---|---|---|---|");
        for (work, unit, at_most, values) in &self.figures {
            let (etcd, ours) = (values.get(&System::Etcd).copied(), values.get(&System::Ours).copied());
            let ratio = ours.zip(etcd).map(|(ours, etcd)| ours / etcd);
            let (etcd, ours) = (whole(etcd), whole(ours));
            println!("| {work}, {unit} | ≤ {at_most} | {etcd} | {ours} | {} |", fine(ratio));
        }
    }

    fn print_works(&self) {
        if self.works.is_empty() {
            return;
        }
        println!("Medians of the rounds. CPU: processor time of the three members for one request.\n");
        println!(
            "| work | goal | etcd | ours | ratio | share of the wall | etcd p50/p99 ms | ours p50/p99 ms | CPU etcd/ours/wall µs | client CPU µs |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for (work, goal) in &self.works {
            self.print_work(work, *goal);
        }
    }

    fn print_work(&self, work: &str, goal: Goal) {
        let figure = |system, of: fn(&Measured) -> f64| {
            let rounds = self.seen.get(&(work.to_owned(), system))?;
            let mut all: Vec<f64> = rounds.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        let rate = |system| figure(system, |measured| measured.per_second);
        let p50 = |system| figure(system, |measured| ms(measured.p50));
        let p99 = |system| figure(system, |measured| ms(measured.p99));
        let cpu = |system| figure(system, |measured| 1000.0 * ms(measured.server_cpu));
        let client = figure(System::Ours, |measured| 1000.0 * ms(measured.client_cpu));
        let divided = |above: Option<f64>, below: Option<f64>| Some(above? / below?);
        let (wanted, ratio) = match goal {
            Goal::Rate(wanted) => (format!("≥ {wanted}"), divided(rate(System::Ours), rate(System::Etcd))),
            Goal::Latency(wanted) => {
                (format!("p50 ≤ {wanted}"), divided(p50(System::Ours), p50(System::Etcd)))
            }
        };
        println!(
            "| {work} | {wanted} | {} | {} | {} | {} | {}/{} | {}/{} | {}/{}/{} | {} |",
            whole(rate(System::Etcd)),
            whole(rate(System::Ours)),
            fine(ratio),
            fine(divided(rate(System::Ours), rate(System::Wall))),
            fine(p50(System::Etcd)),
            fine(p99(System::Etcd)),
            fine(p50(System::Ours)),
            fine(p99(System::Ours)),
            whole(cpu(System::Etcd)),
            whole(cpu(System::Ours)),
            whole(cpu(System::Wall)),
            whole(client),
        );
    }
}

fn line(measured: &Measured) -> String {
    let Measured { per_second, p50, p99, server_cpu, client_cpu } = measured;
    format!(
        "{per_second:.0}/s, p50 {:.2} ms, p99 {:.2} ms, servers {} µs, client {} µs",
        ms(*p50),
        ms(*p99),
        server_cpu.as_micros(),
        client_cpu.as_micros()
    )
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn whole(figure: Option<f64>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.0}"))
}

fn fine(figure: Option<f64>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.2}"))
}
