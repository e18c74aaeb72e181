//! The table of kinds: complete, and as discovery tells it.

use super::*;
use crate::schema::Schema;
use expect_test::expect;

#[test]
fn every_kind_is_found_by_its_names_and_in_the_schema() {
    let registry = Registry::with_legacy();
    let schema = Schema::builtin();
    for kind in ALL.iter().chain(LEGACY) {
        assert!(registry.resource(kind.group, kind.version, kind.plural).is_some(), "{}", kind.kind);
        assert!(registry.of_type(&kind.api_version(), kind.kind).is_some(), "{}", kind.kind);
        // What is measured has no schema: nobody sends it.
        let is_known = schema.type_of(kind.definition).is_some();
        assert!(is_known || kind.strategy.measured.is_some(), "{}", kind.definition);
        assert!(GROUPS.contains(&kind.group), "{}", kind.group);
    }
    assert_eq!(registry.groups().len(), GROUPS.len());
}

fn line(kind: &&Kind) -> String {
    let subresources: Vec<&str> = kind.subresources.iter().map(|subresource| subresource.name).collect();
    let columns: Vec<String> = kind
        .columns
        .iter()
        .map(|column| format!("{}{}", column.name, if column.priority > 0 { "+" } else { "" }))
        .collect();
    format!(
        "{} {:?} {:?} /{} | {}\n",
        kind.resource(),
        kind.short_names,
        kind.categories,
        subresources.join("/"),
        columns.join(" ")
    )
}

#[test]
fn what_is_served_in_namespaces() {
    let kinds = ALL.iter().filter(|kind| kind.namespaced);
    expect![[r#"
        configmaps ["cm"] [] / | Name Data Age
        endpoints ["ep"] [] / | Name Endpoints Age
        events ["ev"] [] / | Last Seen Type Reason Object Subobject+ Source+ Message First Seen+ Count+ Name+
        limitranges ["limits"] [] / | Name Created At
        persistentvolumeclaims ["pvc"] [] /status | Name Status Volume Capacity Access Modes StorageClass VolumeAttributesClass Age VolumeMode+
        pods ["po"] ["all"] /attach/binding/ephemeralcontainers/eviction/exec/log/portforward/proxy/resize/status | Name Ready Status Restarts Age IP+ Node+ Nominated Node+ Readiness Gates+
        podtemplates [] [] / | Name Containers Images Pod Labels
        replicationcontrollers ["rc"] ["all"] /scale/status | Name Desired Current Ready Age Containers+ Images+ Selector+
        resourcequotas ["quota"] [] /status | Name Request Limit Age
        secrets [] [] / | Name Type Data Age
        serviceaccounts ["sa"] [] /token | Name Secrets Age
        services ["svc"] ["all"] /proxy/status | Name Type Cluster-IP External-IP Port(s) Age Selector+
        controllerrevisions.apps [] [] / | Name Controller Revision Age
        daemonsets.apps ["ds"] ["all"] /status | Name Desired Current Ready Up-to-date Available Node Selector Age Containers+ Images+ Selector+
        deployments.apps ["deploy"] ["all"] /scale/status | Name Ready Up-to-date Available Age Containers+ Images+ Selector+
        replicasets.apps ["rs"] ["all"] /scale/status | Name Desired Current Ready Age Containers+ Images+ Selector+
        statefulsets.apps ["sts"] ["all"] /scale/status | Name Ready Age Containers+ Images+
        events.events.k8s.io ["ev"] [] / | Last Seen Type Reason Object Subobject+ Source+ Message First Seen+ Count+ Name+
        localsubjectaccessreviews.authorization.k8s.io [] [] / | Name Age
        horizontalpodautoscalers.autoscaling ["hpa"] ["all"] /status | Name Reference Targets MinPods MaxPods Replicas Age
        horizontalpodautoscalers.autoscaling ["hpa"] ["all"] /status | Name Reference Targets MinPods MaxPods Replicas Age
        cronjobs.batch ["cj"] ["all"] /status | Name Schedule Timezone Suspend Active Last Schedule Age Containers+ Images+ Selector+
        jobs.batch [] ["all"] /status | Name Status Completions Duration Age Containers+ Images+ Selector+
        ingresses.networking.k8s.io ["ing"] [] /status | Name Class Hosts Address Ports Age
        networkpolicies.networking.k8s.io ["netpol"] [] / | Name Pod-Selector Age
        poddisruptionbudgets.policy ["pdb"] [] /status | Name Min Available Max Unavailable Allowed Disruptions Age
        rolebindings.rbac.authorization.k8s.io [] [] / | Name Role Age Users+ Groups+ ServiceAccounts+
        roles.rbac.authorization.k8s.io [] [] / | Name Created At
        csistoragecapacities.storage.k8s.io [] [] / | Name StorageClassName Capacity
        leases.coordination.k8s.io [] [] / | Name Holder Age
        endpointslices.discovery.k8s.io [] [] / | Name AddressType Ports Endpoints Age
        resourceclaims.resource.k8s.io [] [] /status | Name State Age
        resourceclaimtemplates.resource.k8s.io [] [] / | Name Age
        pods.metrics.k8s.io [] [] / | Name CPU Memory Window
    "#]].assert_eq(&kinds.map(line).collect::<String>());
}

#[test]
fn what_is_served_beside_namespaces() {
    let kinds = ALL.iter().filter(|kind| !kind.namespaced);
    expect![[r#"
        componentstatuses ["cs"] [] / | Name Status Message Error
        namespaces ["ns"] [] /finalize/status | Name Status Age
        nodes ["no"] [] /proxy/status | Name Status Roles Age Version Internal-IP+ External-IP+ OS-Image+ Kernel-Version+ Container-Runtime+
        persistentvolumes ["pv"] [] /status | Name Capacity Access Modes Reclaim Policy Status Claim StorageClass VolumeAttributesClass Reason Age VolumeMode+
        apiservices.apiregistration.k8s.io [] ["api-extensions"] /status | Name Service Available Age
        selfsubjectreviews.authentication.k8s.io [] [] / | Name Age
        tokenreviews.authentication.k8s.io [] [] / | Name Age
        selfsubjectaccessreviews.authorization.k8s.io [] [] / | Name Age
        selfsubjectrulesreviews.authorization.k8s.io [] [] / | Name Age
        subjectaccessreviews.authorization.k8s.io [] [] / | Name Age
        certificatesigningrequests.certificates.k8s.io ["csr"] [] /approval/status | Name Age SignerName Requestor RequestedDuration Condition
        ingressclasses.networking.k8s.io [] [] / | Name Controller Parameters Age
        ipaddresses.networking.k8s.io ["ip"] [] / | Name ParentRef Age
        servicecidrs.networking.k8s.io [] [] /status | Name CIDRs Age
        clusterrolebindings.rbac.authorization.k8s.io [] [] / | Name Role Age Users+ Groups+ ServiceAccounts+
        clusterroles.rbac.authorization.k8s.io [] [] / | Name Created At
        csidrivers.storage.k8s.io [] [] / | Name AttachRequired PodInfoOnMount StorageCapacity TokenRequests RequiresRepublish Modes Age
        csinodes.storage.k8s.io [] [] / | Name Drivers Age
        storageclasses.storage.k8s.io ["sc"] [] / | Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion Age
        volumeattachments.storage.k8s.io [] [] /status | Name Attacher PV Node Attached Age
        volumeattributesclasses.storage.k8s.io ["vac"] [] / | Name DriverName Age
        mutatingadmissionpolicies.admissionregistration.k8s.io [] ["api-extensions"] / | Name Mutations ParamKind Age
        mutatingadmissionpolicybindings.admissionregistration.k8s.io [] ["api-extensions"] / | Name PolicyName ParamRef Age
        mutatingwebhookconfigurations.admissionregistration.k8s.io [] ["api-extensions"] / | Name Webhooks Age
        validatingadmissionpolicies.admissionregistration.k8s.io [] ["api-extensions"] /status | Name Validations ParamKind Age
        validatingadmissionpolicybindings.admissionregistration.k8s.io [] ["api-extensions"] / | Name PolicyName ParamRef Age
        validatingwebhookconfigurations.admissionregistration.k8s.io [] ["api-extensions"] / | Name Webhooks Age
        priorityclasses.scheduling.k8s.io ["pc"] [] / | Name Value Global-Default Age PreemptionPolicy
        runtimeclasses.node.k8s.io [] [] / | Name Handler Age
        flowschemas.flowcontrol.apiserver.k8s.io [] [] /status | Name PriorityLevel MatchingPrecedence DistinguisherMethod Age MissingPL
        prioritylevelconfigurations.flowcontrol.apiserver.k8s.io [] [] /status | Name Type NominalConcurrencyShares Queues HandSize QueueLengthLimit Age
        deviceclasses.resource.k8s.io [] [] / | Name Age
        resourceslices.resource.k8s.io [] [] / | Name Node Driver Pool Age
        customresourcedefinitions.apiextensions.k8s.io ["crd", "crds"] ["api-extensions"] /status | Name Created At
        nodes.metrics.k8s.io [] [] / | Name CPU Memory Window
    "#]].assert_eq(&kinds.map(line).collect::<String>());
}
