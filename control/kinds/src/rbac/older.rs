//! Roles and bindings in v1beta1, for clients from before 1.8. They differ by the version's name.

use super::binding::{CLUSTER_ROLE_BINDING, ROLE_BINDING};
use super::role::{CLUSTER_ROLE, ROLE};
use crate::{Conversion, Kind};

pub static CLUSTER_ROLE_BINDING_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.rbac.v1beta1.ClusterRoleBinding",
    conversion: Some(&Conversion::same(&CLUSTER_ROLE_BINDING)),
    ..CLUSTER_ROLE_BINDING
};

pub static CLUSTER_ROLE_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.rbac.v1beta1.ClusterRole",
    conversion: Some(&Conversion::same(&CLUSTER_ROLE)),
    ..CLUSTER_ROLE
};

pub static ROLE_BINDING_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.rbac.v1beta1.RoleBinding",
    conversion: Some(&Conversion::same(&ROLE_BINDING)),
    ..ROLE_BINDING
};

pub static ROLE_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.rbac.v1beta1.Role",
    conversion: Some(&Conversion::same(&ROLE)),
    ..ROLE
};
