//! Images from a registry that wants a password: pull secrets of pods and of accounts, pull policies, and what is said
//! when the registry says no.

use std::time::Duration;

use serde_json::Value;
use tests::cluster::{Cluster, Size, runtime};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;
use tests::registry::{Content, PASSWORD, Registry, USER};

/// A pull that failed is tried again after 10 s, then after 20.
const SOON: Duration = Duration::from_secs(90);

#[test]
fn images_are_pulled_with_the_secrets_of_pods_and_accounts() {
    let cluster = Cluster::start(Size { servers: 1, agents: 1 });
    let registry = Registry::start(&cluster, "agent-1");
    let kubectl = cluster.kubectl("1.36");
    let image = registry.push("team/app:1", &Content { files: &[("version", "one")], ..Content::default() });
    kubectl.ok(&format!("create {}", secret("good", &registry, PASSWORD)));
    kubectl.ok(&format!("create {}", secret("mended", &registry, "wrong")));

    // What one pod has pulled another could use, if it were not to ask each time.
    for (pod, secret) in [("plain", ""), ("late", "mended"), ("absent", "gone")] {
        kubectl.apply(&with_policy(pod, &image, "Always", secret));
    }
    kubectl.apply(&pod("let-in", &image, "  imagePullSecrets: [{name: good}]\n"));
    runs(&kubectl, "let-in");
    for (pod, secrets) in [("plain", ""), ("late", ""), ("absent", "gone")] {
        is_refused(&kubectl, pod, secrets);
    }
    mended(&kubectl, &registry);
    an_account_brings_its_secret(&kubectl, &registry, &image);
    policies(&kubectl, &registry, &image);
    mirrored(&cluster, &kubectl, &registry);
    volumes_of_images(&kubectl, &registry);
    terminals(&kubectl, &image);
    images_as_volumes(&kubectl, &registry);
}

fn secret(name: &str, registry: &Registry, password: &str) -> String {
    let address = registry.address();
    format!(
        "secret docker-registry {name} --docker-server={address} --docker-username={USER} \
         --docker-password={password}"
    )
}

fn pod(name: &str, image: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n\
         {more}  containers:\n  - name: c\n    image: {image}\n"
    )
}

fn with_policy(name: &str, image: &str, policy: &str, secret: &str) -> String {
    let secrets =
        if secret.is_empty() { String::new() } else { format!("  imagePullSecrets: [{{name: {secret}}}]\n") };
    pod(name, image, &secrets) + &format!("    imagePullPolicy: {policy}\n")
}

fn runs(kubectl: &Kubectl, pod: &str) {
    eventually(SOON, &format!("{pod} runs"), || {
        let status = status(kubectl, pod);
        expect_that(status["ready"] == true, status.to_string())
    });
}

fn status(kubectl: &Kubectl, pod: &str) -> Value {
    kubectl.pod(pod)["status"]["containerStatuses"][0].clone()
}

fn events(kubectl: &Kubectl, pod: &str) -> String {
    kubectl.run(&format!("get events --field-selector involvedObject.name={pod}")).stdout
}

fn waits_with(kubectl: &Kubectl, pod: &str, reason: &str) -> String {
    eventually(SOON, &format!("{pod} waits with {reason}"), || {
        let status = status(kubectl, pod);
        let waiting = &status["state"]["waiting"];
        expect_that(waiting["reason"] == reason, status.to_string())?;
        Ok::<_, String>(waiting["message"].as_str().unwrap_or_default().to_owned())
    })
}

/// It says so at once and while it waits, and which secret was not to be had.
fn is_refused(kubectl: &Kubectl, pod: &str, missing: &str) {
    let message = waits_with(kubectl, pod, "ImagePullBackOff");
    assert!(message.starts_with("Back-off pulling image"), "{pod}: {message}");
    assert!(message.contains("ErrImagePull") && message.contains("401 Unauthorized"), "{pod}: {message}");
    eventually(SOON, &format!("{pod} has events"), || {
        let events = events(kubectl, pod);
        let mut all = vec!["Error: ErrImagePull", "Error: ImagePullBackOff", "401 Unauthorized"];
        let retrieve = format!("Unable to retrieve some image pull secrets ({missing}); attempting to pull");
        if !missing.is_empty() {
            all.extend(["FailedToRetrieveImagePullSecret", &retrieve]);
        }
        let told = all.iter().all(|text| events.contains(text));
        expect_that(told, events)
    });
    if missing.is_empty() {
        assert!(!events(kubectl, pod).contains("Unable to retrieve"), "{pod}");
    }
}

/// With the right password in it a secret lets the same pods in, and so does one that comes late.
fn mended(kubectl: &Kubectl, registry: &Registry) {
    kubectl.ok("delete secret mended");
    kubectl.ok(&format!("create {}", secret("mended", registry, PASSWORD)));
    kubectl.ok(&format!("create {}", secret("gone", registry, PASSWORD)));
    runs(kubectl, "late");
    runs(kubectl, "absent");
    let status = status(kubectl, "plain");
    assert!(
        status["state"]["waiting"]["reason"].as_str().is_some_and(|reason| reason.contains("Image")),
        "{status}"
    );
    kubectl.ok("delete pod plain late absent");
}

fn an_account_brings_its_secret(kubectl: &Kubectl, registry: &Registry, image: &str) {
    kubectl.ok("create serviceaccount puller");
    kubectl.ok(&format!("create {}", secret("of-account", registry, PASSWORD)));
    let patch = r#"patch serviceaccount puller -p {"imagePullSecrets":[{"name":"of-account"}]}"#;
    kubectl.ok(patch);
    let account = "  serviceAccountName: puller\n";
    kubectl.apply(&(pod("as-account", image, account) + "    imagePullPolicy: Always\n"));
    runs(kubectl, "as-account");
    let named = kubectl.ok("get pod as-account -o jsonpath={.spec.imagePullSecrets[*].name}");
    assert_eq!(named, "of-account");
}

/// What is there is used, unless the policy is to ask each time; what is not there is fetched, unless it is never to be.
fn policies(kubectl: &Kubectl, registry: &Registry, image: &str) {
    registry.push("team/app:1", &Content { files: &[("version", "two")], ..Content::default() });
    let version = |pod: &str| {
        runs(kubectl, pod);
        kubectl.ok(&format!("exec {pod} -- cat /version"))
    };
    kubectl.apply(&with_policy("if-not-present", image, "IfNotPresent", "good"));
    assert_eq!(version("if-not-present"), "one");
    kubectl.apply(&with_policy("never", image, "Never", ""));
    assert_eq!(version("never"), "one");
    assert!(events(kubectl, "never").contains("already present on machine"));
    kubectl.apply(&with_policy("always", image, "Always", "good"));
    assert_eq!(version("always"), "two");
    assert!(events(kubectl, "always").contains("Successfully pulled image"));
    // Who must ask each time must be let in each time.
    kubectl.apply(&with_policy("always-asked", image, "Always", ""));
    let message = waits_with(kubectl, "always-asked", "ImagePullBackOff");
    assert!(message.contains("401 Unauthorized"), "{message}");

    let other =
        registry.push("team/app:2", &Content { files: &[("version", "other")], ..Content::default() });
    kubectl.apply(&with_policy("never-there", &other, "Never", "good"));
    let message = waits_with(kubectl, "never-there", "ErrImageNeverPull");
    assert_eq!(message, format!("Container image \"{other}\" is not present with pull policy of Never"));
    kubectl.apply(&with_policy("not-yet-there", &other, "IfNotPresent", "good"));
    assert_eq!(version("not-yet-there"), "other");
    runs(kubectl, "never-there");
}

/// A registry that is nowhere, and whose images a mirror has.
fn mirrored(cluster: &Cluster, kubectl: &Kubectl, registry: &Registry) {
    let own = cluster.dir().join("certs.d/images.example");
    std::fs::create_dir_all(&own).expect("a folder");
    let address = registry.address();
    let text = format!("[host.\"http://{address}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
    std::fs::write(own.join("hosts.toml"), text).expect("a file");
    let login = format!("--docker-username={USER} --docker-password={PASSWORD}");
    kubectl.ok(&format!("create secret docker-registry mirror --docker-server=images.example {login}"));
    let secret = "  imagePullSecrets: [{name: mirror}]\n";
    kubectl.apply(&pod("mirrored", "images.example/team/app:2", secret));
    runs(kubectl, "mirrored");
    assert_eq!(kubectl.ok("exec mirrored -- cat /version"), "other");
}

/// Each run of a container has its own, with what the image has there, even where the rest cannot be written.
fn volumes_of_images(kubectl: &Kubectl, registry: &Registry) {
    let content = Content { files: &[("data/seed", "of the image")], volumes: &["/data", "/data/deep/er"] };
    let image = registry.push("team/keeper:1", &content);
    let script = "exec 2>&1; cat /data/seed /data/mark; ls /data; stat -c %F /data/deep/er; echo made >/data/mark; \
                  touch /no && exit 3; test -e /pod/first && exec sleep 1000000; touch /pod/first; exit 1";
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: keeper}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         imagePullSecrets: [{{name: good}}]\n  volumes: [{{name: pod, emptyDir: {{}}}}]\n  containers:\n  - name: c\n    \
         image: {image}\n    command: [sh, -c, '{script}']\n    securityContext: {{readOnlyRootFilesystem: true}}\n    \
         volumeMounts: [{{name: pod, mountPath: /pod}}]\n"
    ));
    eventually(SOON, "it runs again", || {
        let status = status(kubectl, "keeper");
        expect_that(status["ready"] == true && status["restartCount"] == 1, status.to_string())
    });
    let first = kubectl.ok("logs keeper --previous");
    assert_eq!(kubectl.ok("logs keeper"), first, "nothing of the first run is left");
    assert!(first.starts_with("of the image"), "{first}");
    assert!(first.contains("deep\nseed\ndirectory\n"), "{first}");
    assert!(first.contains("touch: /no: Read-only file system"), "{first}");
}

/// A terminal is on the container's own `/dev/pts`, for its first process and for those executed beside it.
fn terminals(kubectl: &Kubectl, image: &str) {
    let more = "    imagePullPolicy: IfNotPresent\n    tty: true\n    command: [sh, -c, 'tty; ls -1 /dev/pts; sleep 1000000']\n";
    kubectl.apply(&(pod("typed-on", image, "  imagePullSecrets: [{name: good}]\n") + more));
    runs(kubectl, "typed-on");
    eventually(SOON, "it tells its terminal", || {
        let log = kubectl.ok("logs typed-on").replace('\r', "");
        expect_that(log == "/dev/pts/0\n0\nptmx\n", log)
    });
}

/// An image's files in another's container, to look at; where the runtime cannot, it says so and what to do.
fn images_as_volumes(kubectl: &Kubectl, registry: &Registry) {
    let files = [("model/weights", "of the model"), ("README", "read me")];
    let model = registry.push("team/model:1", &Content { files: &files, ..Content::default() });
    let script = "exec 2>&1; cat /m/README /m/model/weights /w/weights; echo; touch /m/no; touch /w/no; /m/bin/busybox true; sleep 1000000";
    let manifest = |name: &str, reference: &str, sub_path: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
             imagePullSecrets: [{{name: good}}]\n  volumes: [{{name: v, image: {{reference: '{reference}'}}}}]\n  \
             containers:\n  - name: c\n    image: localhost/web:1\n    command: [sh, -c, '{script}']\n    \
             volumeMounts: [{{name: v, mountPath: /m}}, {{name: v, mountPath: /w, subPath: {sub_path}}}]\n"
        )
    };
    kubectl.apply(&manifest("reader", &model, "model"));
    let policy = kubectl.ok("get pod reader -o jsonpath={.spec.volumes[0].image.pullPolicy}");
    assert_eq!(policy, "IfNotPresent");
    if runtime() == "containerd" {
        let message = waits_with(kubectl, "reader", "CreateContainerError");
        let all = [r#"volume "v" is an image"#, "--runtime builtin", "init container"];
        assert!(all.iter().all(|part| message.contains(part)), "{message}");
        assert!(events(kubectl, "reader").contains(&message), "an event says the same");
        return;
    }
    runs(kubectl, "reader");
    let log = eventually(SOON, "it has read all", || {
        let log = kubectl.ok("logs reader");
        expect_that(log.contains("busybox: Permission denied"), log.clone())?;
        Ok::<_, String>(log)
    });
    assert!(log.starts_with("read meof the modelof the model"), "{log}");
    for path in ["/m/no", "/w/no"] {
        assert!(log.contains(&format!("touch: {path}: Read-only file system")), "{log}");
    }
    kubectl.apply(&manifest("nowhere", &format!("{}/team/none:1", registry.address()), "model"));
    let message = waits_with(kubectl, "nowhere", "ImagePullBackOff");
    assert!(message.contains("team/none:1: not found"), "{message}");
    kubectl.apply(&manifest("lost", &model, "absent"));
    let message = waits_with(kubectl, "lost", "CreateContainerConfigError");
    assert!(message.contains(r#"failed to prepare subPath for volumeMount "v""#), "{message}");
    kubectl.ok("delete pod reader nowhere lost");
}
