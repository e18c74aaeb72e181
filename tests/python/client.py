"""The official Python client against a cluster: client.py KUBECONFIG.

Says nothing when all is well. Works with Debian's python3-kubernetes (22.6) and with what PyPI has now; what only newer
clients can do (server-side apply, informers) is done where the client can.
"""

import sys
import threading
import time

from kubernetes import client, config, dynamic, stream, watch

NAMESPACE = "python"
VERSION = int(client.ApiClient().user_agent.split("/")[1].split(".")[0])
WITHIN = 60


def main(kubeconfig):
    config.load_kube_config(kubeconfig)
    core = client.CoreV1Api()
    core.create_namespace(client.V1Namespace(metadata=named(NAMESPACE)))
    objects_are_written(core)
    watches_tell_what_selectors_see(core)
    pods_run(core, client.AppsV1Api())
    custom_kinds_are_found()
    one_may_ask_who_one_is(core)
    if VERSION >= 37:
        informers_follow(core)
    core.delete_collection_namespaced_config_map(NAMESPACE)
    core.delete_namespace(NAMESPACE)
    eventually("the namespace is gone", lambda: refused(404, core.read_namespace, NAMESPACE))


def objects_are_written(core):
    made = core.create_namespaced_config_map(NAMESPACE, config_map("a", {"k": "v"}))
    made.data["k"] = "w"
    core.replace_namespaced_config_map("a", NAMESPACE, made)
    assert refused(409, core.replace_namespaced_config_map, "a", NAMESPACE, made), "a stale write landed"
    again = config_map("a", {})
    assert refused(409, core.create_namespaced_config_map, NAMESPACE, again), "it was made twice"
    core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"z": "1"}})
    patch = [{"op": "add", "path": "/data/y", "value": "2"}]
    patched = core.patch_namespaced_config_map("a", NAMESPACE, patch)
    assert patched.data == {"k": "w", "z": "1", "y": "2"}, patched.data
    for number in range(7):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{number}", {}, {"page": "yes"}))
    names, more = [], None
    while more != "":
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="page", limit=3, _continue=more)
        names += [item.metadata.name for item in page.items]
        more = page.metadata._continue or ""
    assert names == [f"page-{number}" for number in range(7)], names


def watches_tell_what_selectors_see(core):
    since = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("b", {}, {"x": "y"}))
    core.patch_namespaced_config_map("b", NAMESPACE, {"data": {"n": "1"}})
    core.patch_namespaced_config_map("b", NAMESPACE, {"metadata": {"labels": {"x": "other"}}})
    seen = []
    events = watch.Watch()
    for event in events.stream(
        core.list_namespaced_config_map,
        NAMESPACE,
        label_selector="x=y",
        resource_version=since,
        timeout_seconds=WITHIN,
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 3:
            events.stop()
    assert seen == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")], seen


def pods_run(core, apps):
    labels = {"app": "web"}
    container = client.V1Container(name="c", image="localhost/web:1")
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0),
    )
    spec = client.V1DeploymentSpec(
        replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template
    )
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=named("web"), spec=spec))
    apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 2}})

    def ready():
        return apps.read_namespaced_deployment_status("web", NAMESPACE).status.ready_replicas == 2

    eventually("two pods are ready", ready)
    pod = core.list_namespaced_pod(NAMESPACE).items[0].metadata.name
    log = core.read_namespaced_pod_log(pod, NAMESPACE)
    assert log.startswith("serving"), log
    commands_run_in(core, pod)
    core.create_namespaced_pod_eviction(pod, NAMESPACE, client.V1Eviction(metadata=named(pod)))
    eventually("the evicted pod is gone", lambda: refused(404, core.read_namespaced_pod, pod, NAMESPACE))
    apps.delete_namespaced_deployment("web", NAMESPACE, propagation_policy="Foreground")
    eventually("no pod is left", lambda: not core.list_namespaced_pod(NAMESPACE).items)


def commands_run_in(core, pod):
    """Over WebSocket, v4."""

    def run(*command):
        connect = core.connect_get_namespaced_pod_exec
        wanted = {"stdin": True, "stdout": True, "stderr": True, "tty": False, "_preload_content": False}
        return stream.stream(connect, pod, NAMESPACE, command=list(command), **wanted)

    said = run("sh", "-c", "read line; echo heard $line; echo bad >&2; exit 3")
    said.write_stdin("hello\n")
    said.run_forever(timeout=WITHIN)
    assert said.read_stdout() == "heard hello\n"
    assert said.read_stderr() == "bad\n"
    assert said.returncode == 3, said.returncode
    # The client's thread does not expect that a pod hangs up first, and dies.
    threading.excepthook = lambda _: None
    ports = stream.portforward(core.connect_get_namespaced_pod_portforward, pod, NAMESPACE, ports="8080")
    port = ports.socket(8080)
    port.setblocking(True)
    port.sendall(b"GET / HTTP/1.0\r\n\r\n")
    page = b""
    while not page.endswith(pod.encode() + b"\n"):
        page += port.recv(1024)
    assert page.startswith(b"HTTP/1.1 200"), page
    assert ports.error(8080) is None, ports.error(8080)


def custom_kinds_are_found():
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "bars", "singular": "bar", "kind": "Bar", "listKind": "BarList"}
    spec = {"group": "python.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    definition = client.V1CustomResourceDefinition(
        api_version="apiextensions.k8s.io/v1",
        kind="CustomResourceDefinition",
        metadata=named("bars.python.example.com"),
        spec=spec,
    )
    definitions = client.ApiextensionsV1Api()
    definitions.create_custom_resource_definition(definition)

    def established():
        status = definitions.read_custom_resource_definition("bars.python.example.com").status
        wanted = ("Established", "True")
        return any((now.type, now.status) == wanted for now in (status and status.conditions) or [])

    eventually("the definition is served", established)
    kinds = dynamic.DynamicClient(client.ApiClient())
    bars = kinds.resources.get(api_version="python.example.com/v1", kind="Bar")
    bar = {"apiVersion": "python.example.com/v1", "kind": "Bar", "metadata": {"name": "x"}, "spec": {"n": 1}}
    assert bars.create(body=bar, namespace=NAMESPACE).spec.n == 1
    bar["spec"] = {"n": 2}
    if VERSION >= 25:
        applied = bars.server_side_apply(body=bar, namespace=NAMESPACE, field_manager="p", force_conflicts=True)
    else:
        applied = bars.patch(body=bar, namespace=NAMESPACE, content_type="application/merge-patch+json")
    assert applied.spec.n == 2, applied
    bar["spec"] = {"n": "many"}
    merge = "application/merge-patch+json"
    assert refused(422, bars.patch, body=bar, namespace=NAMESPACE, content_type=merge), "the schema is not kept"
    first = next(iter(bars.watch(namespace=NAMESPACE, timeout=WITHIN)))
    assert (first["type"], first["object"].metadata.name) == ("ADDED", "x"), first
    bars.delete(name="x", namespace=NAMESPACE)
    definitions.delete_custom_resource_definition("bars.python.example.com")


def one_may_ask_who_one_is(core):
    attributes = client.V1ResourceAttributes(verb="get", resource="pods")
    question = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    )
    assert client.AuthorizationV1Api().create_self_subject_access_review(question).status.allowed
    wanted = client.V1TokenRequestSpec(audiences=[], expiration_seconds=600)
    eventually("there is an account", lambda: core.read_namespaced_service_account("default", NAMESPACE))
    token = core.create_namespaced_service_account_token(
        "default", NAMESPACE, client.AuthenticationV1TokenRequest(spec=wanted)
    )
    as_account = client.Configuration.get_default_copy()
    as_account.api_key = {"authorization": token.status.token}
    as_account.api_key_prefix = {"authorization": "Bearer"}
    as_account.cert_file = as_account.key_file = None
    account = client.CoreV1Api(client.ApiClient(as_account))
    assert refused(403, account.list_namespaced_pod, NAMESPACE), "an account without roles lists pods"


def informers_follow(core):
    from kubernetes import informer

    seen = set()
    every = informer.SharedInformer(core.list_namespaced_config_map, namespace=NAMESPACE)
    every.add_event_handler(informer.ADDED, lambda one: seen.add(one.metadata.name))
    every.start()
    core.create_namespaced_config_map(NAMESPACE, config_map("late", {}))
    eventually("the informer has seen it", lambda: "late" in seen)
    every.stop()


def config_map(name, data, labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def named(name):
    return client.V1ObjectMeta(name=name)


def refused(status, call, *args, **keywords):
    """Whether the call is refused with this status; other refusals are errors."""
    try:
        call(*args, **keywords)
        return False
    except client.ApiException as error:
        if error.status != status:
            raise
        return True


def eventually(what, holds):
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except client.ApiException as error:
            if error.status != 404:
                raise
        time.sleep(0.1)
    raise AssertionError(f"not in {WITHIN} s: {what}")


if __name__ == "__main__":
    main(sys.argv[1])
