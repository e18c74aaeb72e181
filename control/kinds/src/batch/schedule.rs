//! The grammar of a CronJob's schedule: five fields, or a name for them.

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScheduleError {
    #[error("expected exactly 5 fields, found {count}: [{text}]")]
    Fields { count: usize, text: String },
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("failed to parse int from {0}")]
    Number(String),
    #[error("beginning of range ({number}) below minimum ({min}): {text}")]
    Below { number: u32, min: u32, text: String },
    #[error("end of range ({number}) above maximum ({max}): {text}")]
    Above { number: u32, max: u32, text: String },
    #[error("beginning of range ({first}) beyond end of range ({last}): {text}")]
    Backwards { first: u32, last: u32, text: String },
    #[error("step of range should be a positive number: {0}")]
    Step(String),
    #[error("too many slashes: {0}")]
    Slashes(String),
    #[error("too many hyphens: {0}")]
    Hyphens(String),
}

/// The numbers of one field, and what they may be called.
struct Range {
    min: u32,
    max: u32,
    /// Of `min` and those that follow.
    names: &'static [&'static str],
}

const FIELDS: [Range; 5] = [
    Range { min: 0, max: 59, names: &[] },
    Range { min: 0, max: 23, names: &[] },
    Range { min: 1, max: 31, names: &[] },
    Range {
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Range { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];
const DESCRIPTORS: &[&str] =
    &["@annually", "@daily", "@hourly", "@midnight", "@monthly", "@weekly", "@yearly"];

pub(super) fn check(text: &str) -> Result<(), ScheduleError> {
    if text.starts_with('@') {
        let known = DESCRIPTORS.contains(&text);
        return if known { Ok(()) } else { Err(ScheduleError::Descriptor(text.to_owned())) };
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(ScheduleError::Fields { count: fields.len(), text: fields.join(" ") });
    }
    for (field, range) in fields.iter().zip(&FIELDS) {
        field.split(',').try_for_each(|part| range.check(part))?;
    }
    Ok(())
}

impl Range {
    /// `*`, `5`, `1-5`, each perhaps with `/2`.
    fn check(&self, part: &str) -> Result<(), ScheduleError> {
        let text = || part.to_owned();
        let (span, step) = match part.split('/').collect::<Vec<_>>()[..] {
            [span] => (span, None),
            [span, step] => (span, Some(step)),
            _ => return Err(ScheduleError::Slashes(text())),
        };
        if let Some(step) = step
            && number(step)? == 0
        {
            return Err(ScheduleError::Step(text()));
        }
        let (first, last) = match span.split('-').collect::<Vec<_>>()[..] {
            ["*" | "?"] => (self.min, self.max),
            [one] => (self.number(one)?, self.number(one)?),
            [first, last] => (self.number(first)?, self.number(last)?),
            _ => return Err(ScheduleError::Hyphens(text())),
        };
        if first < self.min {
            return Err(ScheduleError::Below { number: first, min: self.min, text: text() });
        }
        if last > self.max {
            return Err(ScheduleError::Above { number: last, max: self.max, text: text() });
        }
        if first > last {
            return Err(ScheduleError::Backwards { first, last, text: text() });
        }
        Ok(())
    }

    fn number(&self, text: &str) -> Result<u32, ScheduleError> {
        let named = (self.min..).zip(self.names).find(|(_, name)| text.eq_ignore_ascii_case(name));
        named.map_or_else(|| number(text), |(number, _)| Ok(number))
    }
}

fn number(text: &str) -> Result<u32, ScheduleError> {
    text.parse().map_err(|_| ScheduleError::Number(text.to_owned()))
}
