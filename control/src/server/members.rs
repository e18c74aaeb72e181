//! `--initial-cluster`: the first members, as NAME=HOST:PEERPORT/CLIENTPORT; `--join`: members of a running cluster.

use anyhow::{Context, Result, bail};

use store::{Cluster, InitialMember};

use crate::cli::ServerArgs;

/// The founders of a cluster; or a running one, to be joined.
pub(crate) fn cluster(args: &ServerArgs) -> Result<Cluster> {
    let token = args.cluster_name.clone();
    if args.join.is_empty() {
        return Ok(Cluster::Static { token, members: initial(args)? });
    }
    let me = match &args.advertise {
        Some(addresses) => parse(&format!("{}={addresses}", args.name))
            .with_context(|| format!("--advertise {addresses} is not HOST:PEERPORT/CLIENTPORT"))?,
        None => myself(args),
    };
    let through = args.join.iter().map(|address| format!("https://{address}")).collect();
    Ok(Cluster::Join { token, through, me })
}

fn myself(args: &ServerArgs) -> InitialMember {
    let url = |address: std::net::SocketAddr| format!("https://{address}");
    let (peer_url, client_url) = (url(args.peer_listen), url(args.client_listen));
    InitialMember { name: args.name.clone(), peer_url, client_urls: vec![client_url] }
}

/// The members that this server was told, or itself alone.
fn initial(args: &ServerArgs) -> Result<Vec<InitialMember>> {
    if args.initial_cluster.is_empty() {
        return Ok(vec![myself(args)]);
    }
    let members: Vec<InitialMember> =
        args.initial_cluster.iter().map(|text| parse(text)).collect::<Result<_>>()?;
    if !members.iter().any(|member| member.name == args.name) {
        bail!("--initial-cluster does not name --name {}", args.name);
    }
    Ok(members)
}

pub(crate) fn parse(text: &str) -> Result<InitialMember> {
    let parsed = || {
        let (name, addresses) = text.split_once('=')?;
        let (peer, client_port) = addresses.split_once('/')?;
        let (host, peer_port) = peer.rsplit_once(':')?;
        let port = |text: &str| text.parse::<u16>().ok();
        Some(InitialMember {
            name: name.to_owned(),
            peer_url: format!("https://{host}:{}", port(peer_port)?),
            client_urls: vec![format!("https://{host}:{}", port(client_port)?)],
        })
    };
    parsed().with_context(|| format!("--initial-cluster {text} is not NAME=HOST:PEERPORT/CLIENTPORT"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let shown = match parse(text) {
            Ok(member) => format!("{} {} {}", member.name, member.peer_url, member.client_urls.join(",")),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_member_has_a_name_and_two_ports_on_one_host() {
        check("a=127.0.0.1:2380/2379", expect!["a https://127.0.0.1:2380 https://127.0.0.1:2379"]);
        check("a=[::1]:2380/2379", expect!["a https://[::1]:2380 https://[::1]:2379"]);
        check("a=host:2380", expect!["--initial-cluster a=host:2380 is not NAME=HOST:PEERPORT/CLIENTPORT"]);
        check("host:1/2", expect!["--initial-cluster host:1/2 is not NAME=HOST:PEERPORT/CLIENTPORT"]);
        check("a=host:x/2", expect!["--initial-cluster a=host:x/2 is not NAME=HOST:PEERPORT/CLIENTPORT"]);
    }
}
