//! Two samples, and what is told of the time between them.

use expect_test::expect;

use super::*;

fn sample(seconds: u64, containers: &[(&str, u64)]) -> Sample {
    let started_at = Timestamp::UNIX_EPOCH;
    let pod = |name: &str| {
        Arc::new(PodName { namespace: "ns".into(), name: name.to_owned(), uid: format!("uid-{name}") })
    };
    let running = |(id, cpu_nanos): &(&str, u64)| {
        let (name, container) = id.split_once('/').expect("pod/container");
        let usage = ContainerUsage { cpu_nanos: *cpu_nanos, memory_bytes: 4096, layer_bytes: 1 };
        ((*id).to_owned(), Running { pod: pod(name), name: container.to_owned(), started_at, usage })
    };
    Sample {
        at: Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap(),
        instant: Instant::now() + Duration::from_secs(seconds),
        machine: Machine { cpu_nanos: seconds * 500_000_000, working_set_bytes: 9, ..Machine::default() },
        containers: containers.iter().map(running).collect(),
    }
}

fn measured() -> Usage {
    let base = sample(0, &[("a/x", 1_000_000_000), ("a/y", 7), ("b/x", 5)]);
    let mut next = sample(10, &[("a/x", 3_000_000_000), ("a/y", 7), ("b/x", 4), ("c/x", 0)]);
    next.instant = base.instant + Duration::from_secs(10);
    let (_, measured) = watch::channel(Arc::new(rates::between(&base, &next)));
    Usage { node: "n1".into(), measured }
}

/// One whose counter went back, and one that is new, are not told as used.
#[test]
fn the_brief_has_rates() {
    expect![[r#"
        {
          "timestamp": "1970-01-01T00:00:10Z",
          "windowMillis": 10000,
          "node": {
            "cpuNanoCores": 500000000,
            "memoryBytes": 9
          },
          "pods": [
            {
              "uid": "uid-a",
              "complete": true,
              "containers": [
                {
                  "name": "x",
                  "cpuNanoCores": 200000000,
                  "memoryBytes": 4096
                },
                {
                  "name": "y",
                  "cpuNanoCores": 0,
                  "memoryBytes": 4096
                }
              ]
            },
            {
              "uid": "uid-b",
              "complete": false,
              "containers": []
            },
            {
              "uid": "uid-c",
              "complete": false,
              "containers": []
            }
          ]
        }"#]]
    .assert_eq(&format!("{:#}", measured().brief()));
}

#[test]
fn summary_and_exposition_are_a_kubelets() {
    expect![[r#"{"node":{"nodeName":"n1","cpu":{"time":"1970-01-01T00:00:10Z","usageNanoCores":500000000,"usageCoreNanoSeconds":5000000000},"memory":{"time":"1970-01-01T00:00:10Z","availableBytes":0,"usageBytes":0,"workingSetBytes":9}},"pods":[{"podRef":{"name":"a","namespace":"ns","uid":"uid-a"},"startTime":"1970-01-01T00:00:00Z","containers":[{"name":"x","startTime":"1970-01-01T00:00:00Z","cpu":{"time":"1970-01-01T00:00:10Z","usageNanoCores":200000000,"usageCoreNanoSeconds":3000000000},"memory":{"time":"1970-01-01T00:00:10Z","workingSetBytes":4096},"rootfs":{"time":"1970-01-01T00:00:10Z","usedBytes":1}},{"name":"y","startTime":"1970-01-01T00:00:00Z","cpu":{"time":"1970-01-01T00:00:10Z","usageNanoCores":0,"usageCoreNanoSeconds":7},"memory":{"time":"1970-01-01T00:00:10Z","workingSetBytes":4096},"rootfs":{"time":"1970-01-01T00:00:10Z","usedBytes":1}}],"cpu":{"time":"1970-01-01T00:00:10Z","usageNanoCores":200000000,"usageCoreNanoSeconds":3000000007},"memory":{"time":"1970-01-01T00:00:10Z","workingSetBytes":8192}}]}"#]].assert_eq(&measured().summary().to_string());
    expect![[r##"
        # HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in core-seconds
        # TYPE node_cpu_usage_seconds_total counter
        node_cpu_usage_seconds_total 5.000000000 10000
        # HELP node_memory_working_set_bytes Current working set of the node in bytes
        # TYPE node_memory_working_set_bytes gauge
        node_memory_working_set_bytes 9 10000
        # HELP container_cpu_usage_seconds_total Cumulative cpu time consumed by the container in core-seconds
        # TYPE container_cpu_usage_seconds_total counter
        container_cpu_usage_seconds_total{container="x",namespace="ns",pod="a"} 3.000000000 10000
        container_cpu_usage_seconds_total{container="y",namespace="ns",pod="a"} 0.000000007 10000
        # HELP container_memory_working_set_bytes Current working set of the container in bytes
        # TYPE container_memory_working_set_bytes gauge
        container_memory_working_set_bytes{container="x",namespace="ns",pod="a"} 4096 10000
        container_memory_working_set_bytes{container="y",namespace="ns",pod="a"} 4096 10000
        # HELP container_start_time_seconds Start time of the container since unix epoch in seconds
        # TYPE container_start_time_seconds gauge
        container_start_time_seconds{container="x",namespace="ns",pod="a"} 0
        container_start_time_seconds{container="y",namespace="ns",pod="a"} 0
        # HELP pod_cpu_usage_seconds_total Cumulative cpu time consumed by the pod in core-seconds
        # TYPE pod_cpu_usage_seconds_total counter
        pod_cpu_usage_seconds_total{namespace="ns",pod="a"} 3.000000007 10000
        # HELP pod_memory_working_set_bytes Current working set of the pod in bytes
        # TYPE pod_memory_working_set_bytes gauge
        pod_memory_working_set_bytes{namespace="ns",pod="a"} 8192 10000
        # HELP scrape_error 1 if there was an error while getting container metrics, 0 otherwise
        # TYPE scrape_error gauge
        scrape_error 0
    "##]]
    .assert_eq(&measured().exposition());
}

#[test]
fn before_the_second_sample_nothing_is_known() {
    let (_, measured) = watch::channel(Arc::default());
    let usage = Usage { node: "n1".into(), measured };
    assert_eq!(usage.brief(), json!({"pods": []}));
    assert_eq!(usage.summary(), json!({"node": {"nodeName": "n1"}, "pods": []}));
    assert!(usage.exposition().ends_with("scrape_error 1\n"));
}

#[tokio::test(start_paused = true)]
async fn samples_are_taken_while_the_agent_runs() {
    let runtime = Arc::new(crate::runtime::hollow::HollowRuntime::new(Arc::new(base::SystemClock), "n1"));
    let tasks = Tasks::new(tokio_util::sync::CancellationToken::new());
    let mut usage = start("n1", runtime, Arc::new(base::SystemClock), &tasks);
    let known = usage.measured.wait_for(|measured| measured.window.is_some());
    assert!(tokio::time::timeout(PERIOD * 3, known).await.is_ok());
    tasks.stop().cancel();
}
