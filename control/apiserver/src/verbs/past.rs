//! Reads of the past: `?atRevision=N` or `?atTime=RFC3339` on any GET and LIST, within the history that the store keeps
//! (`design/0003-reads-of-the-past.md`).

use base::{Revision, Timestamp};
use kinds::{FieldError, FieldErrors};

use crate::request::Query;
use crate::status::Status;
use crate::storage::Storage;

const AT_REVISION: &str = "atRevision";
const AT_TIME: &str = "atTime";
/// Options that say otherwise which state is meant.
const OTHERWISE: &[&str] = &["resourceVersion", "resourceVersionMatch", "continue"];

/// The moment whose state is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Revision(Revision),
    Time(Timestamp),
}

impl Moment {
    /// `None` when the present is meant.
    pub(crate) fn parse(query: &Query, errors: &mut FieldErrors) -> Option<Self> {
        let revision = query.find(AT_REVISION).map(|text| (text, revision(text)));
        let time = query.find(AT_TIME).map(|text| (text, text.parse().ok()));
        let (option, moment) = match (revision, time) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                errors.push(FieldError::forbidden(AT_TIME, "may not be given together with atRevision"));
                return None;
            }
            (Some((text, revision)), None) => {
                if revision.is_none() {
                    errors.push(FieldError::invalid(AT_REVISION, text, "must be a revision, 1 or more"));
                }
                (AT_REVISION, revision.map(Self::Revision))
            }
            (None, Some((text, time))) => {
                if time.is_none() {
                    let detail = "must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z";
                    errors.push(FieldError::invalid(AT_TIME, text, detail));
                }
                (AT_TIME, time.map(Self::Time))
            }
        };
        for other in OTHERWISE.iter().filter(|other| !query.get(other).is_empty()) {
            errors.push(FieldError::forbidden(option, format!("may not be given together with {other}")));
        }
        moment
    }

    /// Refuses to be a part of anything but a read of what is there.
    pub(crate) fn refuse(query: &Query, errors: &mut FieldErrors) {
        for option in [AT_REVISION, AT_TIME].into_iter().filter(|option| query.find(option).is_some()) {
            errors.push(FieldError::forbidden(option, "is for get and list only"));
        }
    }

    /// The newest revision of then. What was acknowledged before now is not left out of a moment that is over.
    pub(crate) async fn revision(self, storage: &Storage) -> Result<Revision, Status> {
        match self {
            Self::Revision(revision) => Ok(revision),
            Self::Time(time) => Ok(storage.store.revision_at(time).await?),
        }
    }
}

fn revision(text: &str) -> Option<Revision> {
    text.parse().ok().filter(|number| *number > 0).map(Revision::new)
}
