//! Who is struck, by role.

use serde::{Deserialize, Serialize};

/// Who is meant, before it is known who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    Leader,
    /// One that does not lead.
    Follower,
    /// Any one.
    Any,
    /// As many as may be away while the rest still decides, the leader among them or not.
    Minority,
    /// One more.
    Majority,
    All,
}

impl Aim {
    /// The members meant, in order. `throw` chooses where there is a choice.
    pub fn choose(self, members: &[String], leader: Option<&str>, throw: u64) -> Vec<String> {
        let count = members.len();
        let mut turned: Vec<String> = members.to_vec();
        if count > 0 {
            turned.rotate_left(usize::try_from(throw % count as u64).unwrap_or(0));
        }
        let followers: Vec<String> =
            turned.iter().filter(|member| Some(member.as_str()) != leader).cloned().collect();
        let mut chosen = match self {
            Self::Leader => leader.map(str::to_owned).into_iter().collect(),
            Self::Follower => followers.into_iter().take(1).collect(),
            Self::Any => turned.into_iter().take(1).collect(),
            Self::Minority => turned.into_iter().take(count.saturating_sub(1) / 2).collect(),
            Self::Majority => turned.into_iter().take(count / 2 + 1).collect(),
            Self::All => turned,
        };
        chosen.sort();
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_finds_its_members() {
        let of = |count: u8| (1..=count).map(|number| format!("n{number}")).collect::<Vec<_>>();
        let chosen = |aim: Aim, count, throw| aim.choose(&of(count), Some("n2"), throw).join(" ");
        assert_eq!(chosen(Aim::Leader, 3, 5), "n2");
        assert_eq!([0, 1, 2].map(|throw| chosen(Aim::Follower, 3, throw)), ["n1", "n3", "n3"]);
        assert_eq!([0, 1, 2].map(|throw| chosen(Aim::Any, 3, throw)), ["n1", "n2", "n3"]);
        assert_eq!(chosen(Aim::Minority, 5, 4), "n1 n5");
        assert_eq!(chosen(Aim::Majority, 5, 0), "n1 n2 n3");
        assert_eq!(chosen(Aim::All, 3, 1), "n1 n2 n3");
        assert_eq!(Aim::Leader.choose(&of(3), None, 0), Vec::<String>::new());
    }
}
