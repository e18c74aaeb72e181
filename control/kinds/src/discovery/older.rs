//! EndpointSlice in v1beta1, for clients from before 1.21: where an endpoint is stands in one map.

use serde_json::{Map, Value};

use super::endpoint_slice::ENDPOINT_SLICE;
use crate::conversion::relocate;
use crate::{Conversion, Kind, tree};

pub static ENDPOINT_SLICE_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.discovery.v1beta1.EndpointSlice",
    conversion: Some(&Conversion {
        to_stored: |object| tree::items_mut(object, "endpoints").for_each(endpoint_to_stored),
        from_stored: |object| tree::items_mut(object, "endpoints").for_each(endpoint_from_stored),
        ..Conversion::same(&ENDPOINT_SLICE)
    }),
    ..ENDPOINT_SLICE
};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn endpoint_to_stored(endpoint: &mut Value) {
    let node = tree::get(endpoint, "nodeName").clone();
    let Some(Value::Object(mut topology)) = tree::remove(endpoint, "topology") else { return };
    if let Some(zone) = topology.shift_remove(ZONE) {
        tree::set(endpoint, "zone", zone);
    }
    if topology.get(HOST) == Some(&node) {
        topology.shift_remove(HOST);
    }
    if !topology.is_empty() {
        tree::set(endpoint, "deprecatedTopology", topology);
    }
}

fn endpoint_from_stored(endpoint: &mut Value) {
    relocate(endpoint, "deprecatedTopology", "topology");
    let zone = tree::remove(endpoint, "zone");
    let node = Some(tree::get(endpoint, "nodeName").clone());
    for (key, value) in [(ZONE, zone), (HOST, node)] {
        let Some(value) = value.filter(|value| !value.is_null()) else { continue };
        tree::set_default(endpoint, "topology", Map::new());
        if let Some(topology) = tree::get_mut(endpoint, "topology").and_then(Value::as_object_mut) {
            topology.insert(key.to_owned(), value);
        }
    }
}
