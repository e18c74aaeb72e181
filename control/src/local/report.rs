//! Tables for people: columns as wide as their widest cell.

use super::status::{ClusterStatus, Member};

/// Members, nodes and pods, a table each.
pub(crate) fn tables(status: &ClusterStatus) -> String {
    let members = status.members.iter().map(member_cells).collect();
    let nodes = status.nodes.iter().map(|node| {
        vec![node.name.clone(), node.status.clone(), node.address.clone(), node.pod_cidr.clone()]
    });
    let pods = status.pods.iter().map(|pod| {
        let ready = if pod.ready { "yes" } else { "no" };
        vec![
            pod.namespace.clone(),
            pod.name.clone(),
            pod.phase.clone(),
            ready.to_owned(),
            pod.restarts.to_string(),
            pod.ip.clone(),
            pod.node.clone(),
        ]
    });
    [
        table(&["MEMBER", "ID", "ROLE", "TERM", "APPLIED", "REVISION"], members),
        table(&["NODE", "STATUS", "ADDRESS", "POD-CIDR"], nodes.collect()),
        table(&["NAMESPACE", "POD", "PHASE", "READY", "RESTARTS", "IP", "NODE"], pods.collect()),
    ]
    .join("\n")
}

fn member_cells(member: &Member) -> Vec<String> {
    fn cell(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    vec![
        member.name.clone(),
        member.id.map_or_else(|| "-".to_owned(), |id| format!("{id:x}")),
        member.role.to_owned(),
        cell(member.term),
        cell(member.applied_index),
        cell(member.revision),
    ]
}

fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let show = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let members = ["leader", "unreachable"].map(|role| Member {
            name: format!("server-{}", role.len()),
            id: (role == "leader").then_some(255),
            role,
            term: (role == "leader").then_some(2),
            applied_index: None,
            revision: None,
        });
        let status = ClusterStatus { members: members.into(), nodes: Vec::new(), pods: Vec::new() };
        expect![[r"
            MEMBER      ID   ROLE          TERM   APPLIED   REVISION
            server-6    ff   leader        2      -         -
            server-11   -    unreachable   -      -         -

            NODE   STATUS   ADDRESS   POD-CIDR

            NAMESPACE   POD   PHASE   READY   RESTARTS   IP   NODE
        "]]
        .assert_eq(&tables(&status));
    }
}
