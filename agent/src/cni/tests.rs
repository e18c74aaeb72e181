//! What the plugin says to a runtime, as far as no namespace is needed.

use expect_test::{Expect, expect};

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "expect! makes values")]
fn check(called_as: &str, variables: &[(&str, &str)], stdin: &str, expected: Expect) {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = CniEnvironment::from_variables(&format!("/opt/cni/bin/{called_as}"), variables);
    let output = run(&environment, stdin);
    expected.assert_eq(&format!("{} {}", output.exit_code, output.stdout));
}

#[test]
fn tells_its_versions() {
    check(
        PLUGIN,
        &[("CNI_COMMAND", "VERSION")],
        r#"{"cniVersion":"1.0.0"}"#,
        expect![[r#"0 {"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}"#]],
    );
}

#[test]
fn refuses_what_it_cannot_do_with_the_codes_of_the_specification() {
    let add = [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0")];
    check(
        PLUGIN,
        &add,
        r#"{"cniVersion":"0.2.0"}"#,
        expect![[
            r#"1 {"cniVersion":"0.2.0","code":1,"msg":"CNI version \"0.2.0\" is not supported","details":"supported: 0.3.1, 0.4.0, 1.0.0"}"#
        ]],
    );
    check(
        PLUGIN,
        &add,
        "{",
        expect![[
            r#"1 {"cniVersion":"0.1.0","code":6,"msg":"the network configuration on stdin is not valid","details":"EOF while parsing an object at line 1 column 1"}"#
        ]],
    );
    check(
        PLUGIN,
        &add,
        r#"{"cniVersion":"0.4.0","subnet":"10.1.0.0/24","mtu":1450,"stateDir":"/nowhere"}"#,
        expect![[r#"1 {"cniVersion":"0.4.0","code":4,"msg":"CNI_NETNS is missing or empty","details":""}"#]],
    );
    check(
        PLUGIN,
        &add,
        r#"{"cniVersion":"0.4.0","subnet":"10.1.0.5/24","mtu":1450,"stateDir":"/nowhere"}"#,
        expect![[
            r#"1 {"cniVersion":"0.4.0","code":6,"msg":"the network configuration on stdin is not valid","details":"\"10.1.0.5/24\" has host bits set, the network is 10.1.0.0/24 at line 1 column 44"}"#
        ]],
    );
    check(
        PLUGIN,
        &[("CNI_COMMAND", "ADD")],
        r#"{"cniVersion":"0.4.0"}"#,
        expect![[
            r#"1 {"cniVersion":"0.4.0","code":4,"msg":"CNI_CONTAINERID is missing or empty","details":""}"#
        ]],
    );
    check(
        LOOPBACK,
        &[("CNI_COMMAND", "GC"), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "lo")],
        r#"{"cniVersion":"0.3.1"}"#,
        expect![[
            r#"1 {"cniVersion":"0.3.1","code":4,"msg":"CNI_COMMAND \"GC\" is not known","details":""}"#
        ]],
    );
}

#[test]
fn the_address_family_is_said_only_to_older_callers() {
    let link = PodLink {
        node_name: "nv-0".into(),
        pod_name: "eth0".into(),
        namespace: "/run/netns/x".into(),
        address: std::net::Ipv4Addr::new(10, 1, 0, 2),
        mtu: 1450,
    };
    for (version, said) in [("0.4.0", true), ("1.0.0", false)] {
        let result: serde_json::Value =
            serde_json::from_str(&result::added(version, &link)).expect("valid JSON");
        assert_eq!(result["ips"][0].get("version").is_some(), said);
        assert_eq!(result["ips"][0]["address"], "10.1.0.2/32");
        assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/x");
    }
}
