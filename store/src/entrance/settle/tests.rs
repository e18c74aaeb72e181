//! Decisions from answers, without a network.

use expect_test::{Expect, expect};

use super::*;

fn config(me: &str) -> NodeConfig {
    let member = |name: &str| InitialMember {
        name: name.to_owned(),
        peer_url: format!("https://{name}"),
        client_urls: Vec::new(),
    };
    let members = ["a", "b", "c"].map(member).into();
    NodeConfig::founding(me.to_owned(), "unused".into(), "t".to_owned(), members)
}

/// Each founder's incarnation is the first letter of its name, twice for one that was wiped.
fn founder(id: u64, name: &str, incarnation: u64) -> Founder {
    let peer_url = format!("https://{name}");
    Founder { id: NodeId::new(id), incarnation, name: name.to_owned(), peer_url, client_urls: Vec::new() }
}

fn new(name: &str, incarnation: u64) -> Option<Welcome> {
    Some(Welcome::New { name: name.to_owned(), incarnation, lost: false })
}

fn lost(name: &str) -> Option<Welcome> {
    Some(Welcome::New { name: name.to_owned(), incarnation: 99, lost: true })
}

fn placed(cluster_id: u64, supersedes: &[u64]) -> Option<Welcome> {
    Some(Welcome::Placed {
        cluster_id,
        node_id: NodeId::new(1),
        process: 4,
        name: "x".to_owned(),
        founders: vec![founder(1, "a", 1), founder(2, "b", 2), founder(3, "c", 3)],
        supersedes: supersedes.to_vec(),
        standing: Standing::Unknown,
        hears_leader: false,
        acknowledged: None,
        members: Vec::new(),
    })
}

fn me(name: &str, incarnation: u64) -> MemberFile {
    MemberFile { name: name.to_owned(), token: "t".to_owned(), incarnation, lost: None, place: None }
}

fn check(file: &MemberFile, answers: [Option<Welcome>; 2], expected: Expect) {
    let config = config(&file.name);
    let heard = config.others().into_iter().zip(answers);
    let heard: Vec<Heard> = heard.map(|((whose, from), answer)| Heard { from, whose, answer }).collect();
    let shown = match plan(&config, file, &heard) {
        Ok(Step::Found(founders)) => {
            let all: Vec<String> =
                founders.iter().map(|one| format!("{}={}#{}", one.id, one.name, one.incarnation)).collect();
            format!("found {}", all.join(" "))
        }
        Ok(Step::Take(place)) => format!("take {} in {}", place.node_id, place.cluster_id),
        Ok(Step::AskForPlace(peer)) => format!("ask {}", peer.url),
        Ok(Step::Wait(reason)) => format!("wait: {reason}"),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn the_first_founder_speaks_when_all_are_new() {
    let all_new = [new("b", 2), new("c", 3)];
    check(&me("a", 1), all_new, expect!["found 1=a#1 2=b#2 3=c#3"]);
    check(
        &me("b", 2),
        [new("a", 1), new("c", 3)],
        expect!["wait: the first founder of the list has not founded the cluster yet"],
    );
    check(
        &me("a", 1),
        [new("b", 2), None],
        expect!["wait: a cluster is founded when all founders answer; not yet: c"],
    );
    check(&me("a", 1), [new("c", 3), new("b", 2)], expect!["wait: somebody else answers in the place of b"]);
}

#[test]
fn a_founder_takes_its_place_and_a_wiped_one_asks_for_a_new_one() {
    check(&me("b", 2), [placed(7, &[]), None], expect!["take 2 in 7"]);
    check(&me("b", 22), [placed(7, &[]), new("c", 3)], expect!["ask https://a"]);
    check(&me("a", 11), [None, placed(7, &[])], expect!["ask https://c"]);
}

#[test]
fn what_is_lost_is_never_founded_anew() {
    let lost_me = MemberFile { lost: Some(7), ..me("a", 1) };
    check(
        &lost_me,
        [new("b", 2), new("c", 3)],
        expect!["wait: this node's data is lost, and no running member answers"],
    );
    check(
        &me("a", 1),
        [new("b", 2), lost("c")],
        expect!["wait: c has lost its data; its cluster is not founded anew"],
    );
    check(&lost_me, [placed(7, &[]), lost("c")], expect!["ask https://b"]);
}

#[test]
fn a_recovered_cluster_is_joined_and_not_the_one_that_it_replaces() {
    check(&me("c", 33), [placed(7, &[]), placed(8, &[7])], expect!["ask https://b"]);
    check(
        &me("c", 33),
        [placed(7, &[]), placed(8, &[])],
        expect!["wait: members of different clusters answer"],
    );
    let other = Some(Welcome::OtherCluster { token: "u".to_owned() });
    check(
        &me("c", 3),
        [other, None],
        expect!["error: a is a member of the cluster u; give each cluster's members its name and addresses"],
    );
}

#[test]
fn a_place_is_lost_by_removal_or_when_its_cluster_was_given_up() {
    let answer = |now_standing, now_hears| match placed(7, &[]) {
        Some(Welcome::Placed { cluster_id, node_id, name, founders, supersedes, members, .. }) => {
            Welcome::Placed {
                cluster_id,
                node_id,
                process: 4,
                acknowledged: None,
                members,
                name,
                founders,
                supersedes,
                standing: now_standing,
                hears_leader: now_hears,
            }
        }
        _ => unreachable!("placed is Placed"),
    };
    let (removed, unknown) = (answer(Standing::Removed, true), answer(Standing::Unknown, false));
    let alive = answer(Standing::Unknown, true);
    let successor = placed(8, &[7]).expect("an answer");
    let look = |answers: &[&Welcome]| looked(7, answers.iter().map(|answer| ("x", *answer)));
    assert_eq!(look(&[]), Looked::Fine);
    assert_eq!(look(&[&unknown, &new("b", 1).expect("an answer")]), Looked::Fine);
    assert_eq!(look(&[&unknown, &removed]), Looked::Removed);
    assert_eq!(look(&[&alive, &answer(Standing::Elsewhere, true)]), Looked::Elsewhere);
    assert_eq!(look(&[&successor]), Looked::GivenUp { by: "x".to_owned() });
    assert_eq!(look(&[&successor, &unknown]), Looked::GivenUp { by: "x".to_owned() });
    assert_eq!(look(&[&successor, &alive]), Looked::Fine, "it has a leader");
}

#[cfg(debug_assertions)]
#[test]
fn with_the_bug_a_wiped_founder_gets_its_id_back() {
    let wiped = me("b", 22);
    check(&wiped, [placed(7, &[]), None], expect!["ask https://a"]);
    let _planted = seeded::plant_here(Bug::WipedVoterReturns);
    check(&wiped, [placed(7, &[]), None], expect!["take 2 in 7"]);
}
