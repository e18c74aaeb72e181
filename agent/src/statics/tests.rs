//! A folder of pods, and a gateway that is a channel.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

const WEB: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: c, image: 'localhost/web:1'}]}
";

struct Fixture {
    folder: tempfile::TempDir,
    wanted: watch::Sender<Arc<Desired>>,
    joined: Joined,
    inbox: ReportInbox,
    tasks: Tasks,
}

impl Fixture {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (wanted, wanted_rx) = Desired::channel();
        let (out, inbox) = Reports::channel();
        let tasks = Tasks::new(CancellationToken::new());
        let joined = start("n1", folder.path().to_owned(), wanted_rx, out, &tasks);
        Self { folder, wanted, joined, inbox, tasks }
    }

    fn write(&self, name: &str, text: &str) {
        let hidden = self.folder.path().join(format!(".{name}"));
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, self.folder.path().join(name)).unwrap();
    }

    async fn joined(&mut self, fits: impl Fn(&Desired) -> bool) -> Arc<Desired> {
        let waiting = self.joined.desired.wait_for(|desired| fits(desired));
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time").unwrap().clone()
    }

    async fn told(&mut self, fits: impl Fn(&Report) -> bool) -> Report {
        tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let report = self.inbox.next().await.expect("it runs");
                if fits(&report) {
                    return report;
                }
            }
        })
        .await
        .expect("in time")
    }

    fn show(&self, mut mirror: Pod, change: impl FnOnce(&mut Pod)) {
        mirror.metadata.uid = Some("mirror".to_owned());
        change(&mut mirror);
        let key = PodKey::new("default", "web-n1");
        let pods = [(key, Arc::new(mirror))].into();
        self.wanted.send_replace(Arc::new(Desired { synced: true, pods, ..Desired::default() }));
    }
}

#[tokio::test]
async fn files_run_without_a_server_and_are_shown_by_mirrors() {
    let mut fixture = Fixture::start();
    fixture.write("bad.yaml", "kind: [");
    fixture.write("web.yaml", WEB);
    let desired = fixture.joined(|desired| desired.pods.len() == 1).await;
    assert!(!desired.synced, "no server has answered");
    let key = PodKey::new("default", "web-n1");
    let own = desired.pods[&key].clone();
    assert!(is_static(&own));

    fixture.wanted.send_replace(Arc::new(Desired { synced: true, ..Desired::default() }));
    let Report::Mirrors(mirrors) = fixture.told(|report| matches!(report, Report::Mirrors(_))).await else {
        unreachable!("only mirrors fit")
    };
    assert_eq!(mirrors.len(), 1);
    assert!(mirror::shows(&mirrors[0], &own));
    fixture.show(mirrors[0].clone(), |_| {});
    let desired = fixture.joined(|desired| desired.synced).await;
    assert!(Arc::ptr_eq(&desired.pods[&key], &own), "the pod runs, not its mirror");

    let status = PodStatus { phase: Some("Running".to_owned()), ..PodStatus::default() };
    let uid = own.metadata.uid.clone().unwrap();
    fixture.joined.reports.pod_status(&key, &uid, status).await;
    let is_of_mirror = |report: &Report| matches!(report, Report::PodStatus { uid, .. } if uid == "mirror");
    fixture.told(is_of_mirror).await;

    fixture.show(mirrors[0].clone(), |mirror| {
        mirror.metadata.deletion_timestamp = Some(Time(base::Timestamp::UNIX_EPOCH));
    });
    fixture.told(|report| matches!(report, Report::PodTerminated { uid, .. } if uid == "mirror")).await;
    fixture.told(|report| matches!(report, Report::Mirrors(pods) if pods.len() == 1)).await;

    std::fs::remove_file(fixture.folder.path().join("web.yaml")).unwrap();
    fixture.joined(|desired| desired.pods.is_empty()).await;
    fixture.show(mirrors[0].clone(), |_| {});
    fixture.told(|report| matches!(report, Report::Mirrors(pods) if pods.is_empty())).await;
    fixture.tasks.stop().cancel();
    fixture.tasks.join(Duration::from_secs(5)).await.expect("no task failed");
}
