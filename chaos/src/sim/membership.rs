//! Members come and go while everything else goes wrong: spares are added, promoted, lead, and are removed again.
//!
//! Only founders have clients, and only they must be there at the end. A spare is used once: who was removed never comes
//! back under its name.

use std::collections::BTreeSet;

use base::NodeId;
use store::{Member, NewMember, Store};
use tokio::sync::watch;

use super::client::Seat;
use super::world::Phase;
use crate::dice::Dice;
use crate::history::Event;

/// What is wished of the membership, and who was invited to it.
pub(super) struct Membership {
    /// In the order in which they are used.
    spares: Vec<String>,
    wish: watch::Sender<Wish>,
    /// Spares that run, because they have a place, or to ask for one themselves.
    invited: watch::Sender<BTreeSet<String>>,
}

#[derive(Clone, Debug, Default)]
struct Wish {
    number: u64,
    /// Who is to see to it.
    member: String,
    what: What,
}

/// What a founder is to do about the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    /// Whatever comes next: add, promote, remove, or hand over leadership.
    #[default]
    Next,
    /// Remove every spare.
    Clear,
}

/// A change of the membership.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Add {
        name: String,
        votes_when_ready: bool,
    },
    /// Has it started, so that it asks for a place itself.
    Start {
        name: String,
    },
    Promote(NodeId),
    Remove(NodeId),
    HandOver,
}

impl Membership {
    pub(super) fn new(spares: Vec<String>) -> Self {
        Self { spares, wish: watch::Sender::default(), invited: watch::Sender::default() }
    }

    pub(super) fn is_spare(&self, name: &str) -> bool {
        self.spares.iter().any(|spare| spare == name)
    }

    pub(super) fn is_invited(&self, name: &str) -> bool {
        self.invited.borrow().contains(name)
    }

    /// Comes when the spare is to run.
    pub(super) async fn invitation(&self, name: &str) {
        let mut invited = self.invited.subscribe();
        // The sender lives as long as the world.
        let _invited = invited.wait_for(|invited| invited.contains(name)).await;
    }

    pub(super) fn wish(&self, member: &str, what: What) {
        self.wish.send_modify(|wish| {
            *wish = Wish { number: wish.number + 1, member: member.to_owned(), what };
        });
    }

    fn invite(&self, name: &str) {
        if self.is_spare(name) {
            self.invited.send_if_modified(|invited| invited.insert(name.to_owned()));
        }
    }

    /// Spares start as soon as anybody knows of their place.
    fn invite_all(&self, members: &[Member]) {
        for member in members {
            self.invite(&member.name);
        }
    }

    fn next(&self, members: &[Member], what: What, dice: &Dice) -> Option<Step> {
        let here = members.iter().find(|member| self.is_spare(&member.name));
        match (here, what) {
            (Some(spare), What::Clear) => Some(Step::Remove(spare.id)),
            (None, What::Clear) => None,
            (_, What::Next) if dice.percent(25) => Some(Step::HandOver),
            (Some(spare), What::Next) if spare.is_learner && dice.percent(75) => {
                Some(Step::Promote(spare.id))
            }
            (Some(spare), What::Next) if dice.percent(50) => Some(Step::Remove(spare.id)),
            (_, What::Next) => {
                let is_free = |name: &&String| {
                    !self.is_invited(name) && members.iter().all(|member| member.name != **name)
                };
                let name = self.spares.iter().find(is_free)?.clone();
                Some(match dice.below(3) {
                    0 => Step::Start { name },
                    chance => Step::Add { name, votes_when_ready: chance == 1 },
                })
            }
        }
    }
}

/// Does what is wished of this founder, for as long as it lives.
pub(super) async fn serve(seat: Seat, dice: Dice) {
    let membership = &seat.world.membership;
    let mut wishes = membership.wish.subscribe();
    // What was wished of an earlier life died with it.
    wishes.mark_unchanged();
    while wishes.changed().await.is_ok() && *seat.world.phase.borrow() == Phase::Work {
        let wish = wishes.borrow_and_update().clone();
        if wish.member != seat.member {
            continue;
        }
        let members = seat.store.members();
        membership.invite_all(&members);
        let Some(step) = membership.next(&members, wish.what, &dice) else { continue };
        let done = perform(&seat.store, &step).await;
        if let (Step::Add { name, .. }, Ok(())) | (Step::Start { name }, _) = (&step, &done) {
            membership.invite(name);
        }
        let text = format!("{} changes the members: {step:?}: {done:?}", seat.member);
        seat.world.record.tell(Event::Note { text });
    }
}

async fn perform(store: &Store, step: &Step) -> Result<(), store::StoreError> {
    match step {
        Step::Add { name, votes_when_ready } => {
            let member = NewMember {
                name: name.clone(),
                peer_url: format!("https://{name}"),
                client_urls: Vec::new(),
                votes_when_ready: *votes_when_ready,
            };
            store.member_add(member).await.map(drop)
        }
        Step::Start { .. } => Ok(()),
        Step::Promote(id) => store.member_promote(*id).await.map(drop),
        Step::Remove(id) => store.member_remove(*id).await.map(drop),
        Step::HandOver => {
            store.step_down().await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, is_learner: bool) -> Member {
        let name = format!("n{id}");
        Member {
            id: NodeId::new(id),
            peer_url: format!("https://{name}"),
            name,
            client_urls: Vec::new(),
            is_learner,
        }
    }

    fn steps(membership: &Membership, members: &[Member]) -> Vec<Step> {
        let dice = Dice::new(1);
        (0..100).filter_map(|_| membership.next(members, What::Next, &dice)).collect()
    }

    #[test]
    fn a_spare_comes_is_promoted_and_goes_once() {
        let membership = Membership::new(vec!["n4".to_owned(), "n5".to_owned()]);
        let founders = [member(1, false), member(2, false), member(3, false)];
        let adds = |steps: &[Step], spare: &str| {
            steps.iter().any(|step| matches!(step, Step::Add { name, .. } if name == spare))
        };
        let first = steps(&membership, &founders);
        assert!(adds(&first, "n4") && !adds(&first, "n5") && first.contains(&Step::HandOver));
        let with_learner = [&founders[..], &[member(4, true)]].concat();
        let id = NodeId::new(4);
        let then = steps(&membership, &with_learner);
        assert!(then.contains(&Step::Promote(id)) && then.contains(&Step::Remove(id)));
        membership.invite_all(&with_learner);
        let with_voter = [&founders[..], &[member(4, false)]].concat();
        assert!(!steps(&membership, &with_voter).contains(&Step::Promote(id)));
        let later = steps(&membership, &founders);
        assert!(!adds(&later, "n4") && adds(&later, "n5"));
        assert!(membership.is_invited("n4") && !membership.is_invited("n5"));
    }

    #[test]
    fn at_the_end_spares_are_only_removed() {
        let membership = Membership::new(vec!["n4".to_owned()]);
        let dice = Dice::new(1);
        let members = [member(1, false), member(4, true)];
        let step = membership.next(&members, What::Clear, &dice);
        assert_eq!(step, Some(Step::Remove(NodeId::new(4))));
        assert_eq!(membership.next(&members[..1], What::Clear, &dice), None);
    }
}
