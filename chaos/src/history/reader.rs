//! Reads a history back, whole or refused: a run that was stopped leaves a torn last line, which is left out; anything
//! else that is no line, or does not fit to those before it, is damage.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use flate2::bufread::GzDecoder;
use thiserror::Error;

use super::{Begin, Event, Line, Outcome, Reply};

/// Why a history cannot be judged. Lines are counted from zero, as everywhere.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("cannot read the history")]
    Read(#[source] io::Error),
    #[error("line {line} is no line of a history")]
    Damaged { line: u64, source: serde_json::Error },
    #[error("line {line} does not fit: {why}")]
    Misfit { line: u64, why: Misfit },
}

/// A line that cannot follow what came before: whoever recorded is at fault, not what was tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    #[error("a history begins with one `begin`, and has no other")]
    Begin,
    #[error("time goes back")]
    Time,
    #[error("the process is still waiting for its last call")]
    StillOpen,
    #[error("the process was given up after a call of unknown outcome")]
    GivenUp,
    #[error("the process has not called anything")]
    NotOpen,
    #[error("no such watch is open")]
    NoWatch,
    #[error("a watch's number is used again")]
    WatchAgain,
}

/// A whole run, its lines in order and fit for judging.
#[derive(Clone, Debug)]
pub struct History {
    begin: Begin,
    lines: Vec<Line>,
}

impl History {
    /// # Errors
    /// A line does not fit to those before it.
    pub fn new(lines: Vec<Line>) -> Result<Self, ReadError> {
        let mut fit = Fit::default();
        for (number, line) in lines.iter().enumerate() {
            fit.add(line).map_err(|why| ReadError::Misfit { line: number as u64, why })?;
        }
        match fit.begin {
            Some(begin) => Ok(Self { begin, lines }),
            None => Err(ReadError::Misfit { line: 0, why: Misfit::Begin }),
        }
    }

    /// Reads a file of lines, plain or packed by gzip.
    ///
    /// # Errors
    /// It cannot be read, or is damaged elsewhere than in an unfinished last line.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(ReadError::Read)?);
        let packed = file.fill_buf().map_err(ReadError::Read)?.starts_with(&[0x1f, 0x8b]);
        if packed {
            Self::read_from(BufReader::with_capacity(1 << 20, GzDecoder::new(file)))
        } else {
            Self::read_from(file)
        }
    }

    /// As [`History::read`], of plain lines from anywhere.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn read_from(mut from: impl BufRead) -> Result<Self, ReadError> {
        let (mut lines, mut text) = (Vec::new(), Vec::new());
        loop {
            text.clear();
            if from.read_until(b'\n', &mut text).map_err(ReadError::Read)? == 0 {
                break;
            }
            match serde_json::from_slice(&text) {
                Ok(line) => lines.push(line),
                Err(_) if text.last() != Some(&b'\n') => break,
                Err(source) => return Err(ReadError::Damaged { line: lines.len() as u64, source }),
            }
        }
        Self::new(lines)
    }

    /// What ran.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// A line's number is its index.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

/// What a line must fit to.
#[derive(Default)]
struct Fit<'a> {
    begin: Option<Begin>,
    at: u64,
    processes: BTreeMap<u32, Doing<'a>>,
    watches: BTreeMap<u64, bool>,
}

#[derive(Clone, Copy)]
enum Doing<'a> {
    Nothing,
    Waiting(Option<&'a str>),
    /// After a call of which nothing is known; only the same request may be asked again.
    GivenUp(Option<&'a str>),
}

impl<'a> Fit<'a> {
    fn add(&mut self, line: &'a Line) -> Result<(), Misfit> {
        let is_begin = matches!(line.event, Event::Begin(_));
        if is_begin == self.begin.is_some() {
            return Err(Misfit::Begin);
        }
        if line.at < self.at {
            return Err(Misfit::Time);
        }
        self.at = line.at;
        match &line.event {
            Event::Begin(begin) => self.begin = Some(begin.clone()),
            Event::Invoke(invoke) => self.invoke(line.process, invoke.request_id.as_deref())?,
            Event::Return { outcome } => self.return_from(line.process, outcome)?,
            Event::Request(_) => self.invoke(line.process, None)?,
            Event::Reply { reply } => self.reply_to(line.process, reply)?,
            Event::WatchOpen(open) => {
                if self.watches.insert(open.watch, true).is_some() {
                    return Err(Misfit::WatchAgain);
                }
            }
            Event::WatchAnswer(answer) => self.watch(answer.watch, true)?,
            Event::WatchEnd { watch, .. } => self.watch(*watch, false)?,
            Event::Phase { .. }
            | Event::Fault(_)
            | Event::Sight(_)
            | Event::Revision { .. }
            | Event::Hash { .. }
            | Event::Landed(_)
            | Event::Note { .. } => {}
        }
        Ok(())
    }

    fn invoke(&mut self, process: u32, request_id: Option<&'a str>) -> Result<(), Misfit> {
        match self.processes.insert(process, Doing::Waiting(request_id)) {
            None | Some(Doing::Nothing) => Ok(()),
            Some(Doing::Waiting(_)) => Err(Misfit::StillOpen),
            Some(Doing::GivenUp(before)) if before.is_some() && before == request_id => Ok(()),
            Some(Doing::GivenUp(_)) => Err(Misfit::GivenUp),
        }
    }

    fn return_from(&mut self, process: u32, outcome: &Outcome) -> Result<(), Misfit> {
        let Some(Doing::Waiting(request_id)) = self.processes.get(&process).copied() else {
            return Err(Misfit::NotOpen);
        };
        let doing = match outcome {
            Outcome::Ok { .. } | Outcome::Refused(_) => Doing::Nothing,
            Outcome::Unknown(_) => Doing::GivenUp(request_id),
        };
        self.processes.insert(process, doing);
        Ok(())
    }

    fn reply_to(&mut self, process: u32, reply: &Reply) -> Result<(), Misfit> {
        let Some(Doing::Waiting(_)) = self.processes.get(&process) else { return Err(Misfit::NotOpen) };
        let doing = match reply {
            Reply::Ok { .. } | Reply::Refused(_) => Doing::Nothing,
            Reply::Unknown(_) => Doing::GivenUp(None),
        };
        self.processes.insert(process, doing);
        Ok(())
    }

    fn watch(&mut self, watch: u64, open: bool) -> Result<(), Misfit> {
        match self.watches.insert(watch, open) {
            Some(true) => Ok(()),
            Some(false) | None => Err(Misfit::NoWatch),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::history::script::{Script, get, put};

    fn text(lines: &[Line]) -> Vec<u8> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line).unwrap();
            text.push(b'\n');
        }
        text
    }

    fn small() -> Vec<Line> {
        let mut script = Script::begin();
        script.run(1, put("a", "1"));
        script.run(2, get("a"));
        script.lines()
    }

    #[test]
    fn a_torn_last_line_is_left_out_wherever_it_is_torn() {
        let lines = small();
        let whole = text(&lines);
        let last = text(&lines[..lines.len() - 1]).len();
        for cut in last + 1..whole.len() - 1 {
            let read = History::read_from(&whole[..cut]).unwrap();
            assert_eq!(read.lines(), &lines[..lines.len() - 1], "cut at {cut}");
        }
        assert_eq!(
            History::read_from(&whole[..whole.len() - 1]).unwrap().lines(),
            lines,
            "only the end is missing"
        );
    }

    #[test]
    fn damage_elsewhere_is_refused_with_its_line() {
        let mut whole = text(&small());
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        whole[second] = b'#';
        let refused = History::read_from(whole.as_slice()).unwrap_err();
        assert_eq!(refused.to_string(), "line 1 is no line of a history");
    }

    #[test]
    fn a_packed_file_reads_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl.gz");
        let mut packer =
            flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        packer.write_all(&text(&small())).unwrap();
        packer.finish().unwrap();
        assert_eq!(History::read(&path).unwrap().lines(), small());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refuse = |lines: Vec<Line>| match History::new(lines) {
            Err(ReadError::Misfit { why, .. }) => why,
            other => panic!("was not refused: {other:?}"),
        };
        assert_eq!(refuse(Vec::new()), Misfit::Begin);
        assert_eq!(refuse(small()[1..].to_vec()), Misfit::Begin);
        let mut twice = small();
        twice.insert(1, twice[0].clone());
        assert_eq!(refuse(twice), Misfit::Begin);
        let mut back = small();
        back[2].at = 0;
        assert_eq!(refuse(back), Misfit::Time);
        let mut open = small();
        open.insert(2, open[1].clone());
        assert_eq!(refuse(open), Misfit::StillOpen);
        let mut returns = small();
        returns.remove(1);
        assert_eq!(refuse(returns), Misfit::NotOpen);

        let mut script = Script::begin();
        script.call(1, get("a"));
        script.unknown(1);
        script.run(1, get("a"));
        assert_eq!(refuse(script.lines()), Misfit::GivenUp);
    }
}
