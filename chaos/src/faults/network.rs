//! Links that are cut, slow or bad; the shapes that partitions have; and the probes that show them.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::cluster::{Cluster, Impairment, Link, Probed};
use crate::history::Step;

/// Cuts or impairs links; what a probe sees must be what was asked for.
pub(super) async fn impair(
    cluster: &mut Cluster,
    fault: u64,
    links: &[Link],
    impairment: Impairment,
) -> Result<Step> {
    if links.is_empty() {
        return Ok(Step::Skipped { reason: "no link is named".to_owned() });
    }
    cluster.impair(fault, &links.iter().map(|link| (link.clone(), impairment)).collect())?;
    // The links back show that it is the direction that was meant.
    let others = links.iter().map(Link::back).filter(|back| !links.contains(back));
    let probed: Vec<Link> = links.iter().cloned().chain(others).collect();
    let probed = cluster.probe(&probed).await?;
    let evidence = told(&probed);
    let felt = links.iter().filter_map(|link| probed.get(link)).all(|seen| is_felt(impairment, *seen));
    Ok(match felt {
        true => Step::Installed { evidence },
        false => Step::Indeterminate { reason: format!("a probe sees otherwise: {evidence}") },
    })
}

/// Takes the rules back, and looks.
pub(super) async fn mend(cluster: &mut Cluster, fault: u64, links: &[Link]) -> Result<String> {
    cluster.mend(fault);
    Ok(told(&cluster.probe(links).await?))
}

/// Whether a link does what it should, as far as a few datagrams can show; chance alone shows little.
fn is_felt(impairment: Impairment, seen: Probed) -> bool {
    if impairment.cut {
        return seen.arrived == 0;
    }
    u128::from(impairment.delay_us) <= seen.delay.as_micros()
}

/// `n1>n2 20/20 in 0.1 ms, n2>n1 0/20`
fn told(probed: &BTreeMap<Link, Probed>) -> String {
    let words = probed.iter().map(|(link, seen)| match seen.arrived {
        0 => format!("{link} 0/{}", seen.sent),
        arrived => {
            format!("{link} {arrived}/{} in {:.1} ms", seen.sent, seen.delay.as_secs_f64() * 1000.0)
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The links that no longer are when members can only reach those of their own group, both ways.
pub fn apart(groups: &[Vec<String>]) -> Vec<Link> {
    let of = |member: &String| groups.iter().position(|group| group.contains(member));
    let members: Vec<&String> = groups.iter().flatten().collect();
    between(&members, |from, to| of(from) != of(to))
}

/// One member reaches nobody, and nobody reaches it.
pub fn isolated(member: &str, members: &[String]) -> Vec<Link> {
    let all: Vec<&String> = members.iter().collect();
    between(&all, |from, to| from == member || to == member)
}

/// Nobody hears the member, which hears everyone.
pub fn muted(member: &str, members: &[String]) -> Vec<Link> {
    let all: Vec<&String> = members.iter().collect();
    between(&all, |from, _| from == member)
}

/// The member hears nobody, and is heard by everyone.
pub fn deafened(member: &str, members: &[String]) -> Vec<Link> {
    let all: Vec<&String> = members.iter().collect();
    between(&all, |_, to| to == member)
}

/// Two halves that reach each other only through the one in the middle of the list.
pub fn bridged(members: &[String]) -> Vec<Link> {
    let middle = members.len() / 2;
    let all: Vec<&String> = members.iter().collect();
    let place = |member: &String| members.iter().position(|known| known == member).unwrap_or(middle);
    between(&all, |from, to| {
        let (from, to) = (place(from), place(to));
        from != middle && to != middle && (from < middle) != (to < middle)
    })
}

/// Everyone reaches a majority, each another one: only neighbours in the ring of the list reach each other. Of three
/// members all are neighbours, so there the first and the last are apart.
pub fn majorities_ring(members: &[String]) -> Vec<Link> {
    let (count, all) = (members.len(), members.iter().collect::<Vec<_>>());
    let place = |member: &String| members.iter().position(|known| known == member).unwrap_or(0);
    // Oneself and as many on either side as make a majority.
    let reach = if count > 3 { (count / 2).div_ceil(2) } else { 0 };
    between(&all, |from, to| {
        let apart = place(from).abs_diff(place(to));
        if reach == 0 { apart == count - 1 } else { apart.min(count - apart) > reach }
    })
}

fn between(members: &[&String], is_cut: impl Fn(&String, &String) -> bool) -> Vec<Link> {
    let pairs = members.iter().flat_map(|from| members.iter().map(move |to| (*from, *to)));
    pairs.filter(|(from, to)| from != to && is_cut(from, to)).map(|(from, to)| Link::new(from, to)).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(links: &[Link], expected: Expect) {
        expected.assert_eq(&links.iter().map(Link::to_string).collect::<Vec<_>>().join(" "));
    }

    fn members(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("n{number}")).collect()
    }

    #[test]
    fn partitions_have_many_shapes() {
        let three = members(3);
        check(&isolated("n1", &three), expect!["n1>n2 n1>n3 n2>n1 n3>n1"]);
        check(&muted("n1", &three), expect!["n1>n2 n1>n3"]);
        check(&deafened("n1", &three), expect!["n2>n1 n3>n1"]);
        check(&bridged(&three), expect!["n1>n3 n3>n1"]);
        check(&majorities_ring(&three), expect!["n1>n3 n3>n1"]);
        let groups = [vec!["n1".to_owned(), "n2".to_owned()], vec!["n3".to_owned()]];
        check(&apart(&groups), expect!["n1>n3 n2>n3 n3>n1 n3>n2"]);
    }

    #[test]
    fn in_a_ring_of_five_everyone_reaches_two_others() {
        let five = members(5);
        let cut = majorities_ring(&five);
        for member in &five {
            assert_eq!(cut.iter().filter(|link| link.from == *member).count(), 2, "{member}");
        }
        check(&bridged(&five), expect!["n1>n4 n1>n5 n2>n4 n2>n5 n4>n1 n4>n2 n5>n1 n5>n2"]);
    }
}
