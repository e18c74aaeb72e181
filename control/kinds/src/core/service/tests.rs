//! Families of addresses, and what a Service keeps when it changes.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

const DUAL: [&str; 2] = [IPV4, IPV6];

fn settled(spec: Value, old: Option<Value>, cluster: &[&str], expected: Expect) {
    let mut service = json!({"spec": spec});
    let old = old.map(|old| json!({"spec": old}));
    let errors = settle_families(&mut service, old.as_ref(), cluster);
    let of = |path: &str| tree::get(&service, path).to_string();
    let told = match errors.is_empty() {
        true => format!("{} {} {}", of("spec.ipFamilyPolicy"), of("spec.ipFamilies"), of("spec.clusterIPs")),
        false => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    expected.assert_eq(&told);
}

#[test]
fn families_follow_from_policy_addresses_and_cluster() {
    settled(json!({}), None, &DUAL, expect![[r#""SingleStack" ["IPv4"] null"#]]);
    let prefers = json!({"ipFamilyPolicy": "PreferDualStack"});
    settled(prefers.clone(), None, &DUAL, expect![[r#""PreferDualStack" ["IPv4","IPv6"] null"#]]);
    settled(prefers.clone(), None, &[IPV6], expect![[r#""PreferDualStack" ["IPv6"] null"#]]);
    settled(
        json!({"ipFamilyPolicy": "RequireDualStack", "clusterIPs": ["fd00::1"]}),
        None,
        &DUAL,
        expect![[r#""RequireDualStack" ["IPv6","IPv4"] ["fd00::1"]"#]],
    );
    settled(
        json!({"clusterIPs": ["10.0.0.1", "fd00::1"]}),
        None,
        &DUAL,
        expect![[
            r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"#
        ]],
    );
    settled(
        json!({"clusterIPs": ["fd00::1"]}),
        None,
        &[IPV4],
        expect![[
            r#"spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster"#
        ]],
    );
    let dual = json!({
        "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"], "clusterIPs": ["10.0.0.1", "fd00::1"],
    });
    let mut single = dual.clone();
    single["ipFamilyPolicy"] = json!("SingleStack");
    settled(single, Some(dual.clone()), &DUAL, expect![[r#""SingleStack" ["IPv4"] ["10.0.0.1"]"#]]);
    let fewer = json!({"ipFamilyPolicy": "RequireDualStack", "clusterIPs": ["10.0.0.1"]});
    settled(
        fewer,
        Some(dual),
        &DUAL,
        expect![[
            r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be 'SingleStack' to release the secondary cluster IP"#
        ]],
    );
}

#[test]
fn what_is_held_follows_from_the_service() {
    let held = |spec: Value| {
        let held = Held::of(&json!({"spec": spec}));
        format!("{:?} {:?}", held.addresses, held.ports)
    };
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "clusterIPs": ["10.0.0.1", "fd00::1"],
        "healthCheckNodePort": 30001, "ports": [{"nodePort": 30002}, {"port": 80}, {"nodePort": 0}],
    });
    assert_eq!(held(spec.clone()), "{10.0.0.1, fd00::1} {30001, 30002}");
    let mut other = spec.clone();
    other["type"] = json!("ExternalName");
    assert_eq!(held(other), "{} {}");
    let mut everywhere = spec;
    everywhere["externalTrafficPolicy"] = json!("Cluster");
    assert_eq!(held(everywhere), "{10.0.0.1, fd00::1} {30002}");
    assert_eq!(held(json!({"clusterIPs": ["None"]})), "{} {}");
}
