//! Pods of Kubernetes, over the interface that the kubelet uses.

use anyhow::Result;
use oomtrace_scenarios::check::{Death, Is};

use super::{Case, KILLED, LIMIT_BYTES, OOM, OOM_CHILD, Part, STOPPED, STUBBORN, pod::Pod};
use crate::{scene::Scene, subject::Expected};

pub(crate) const CASES: &[Case] = &[
    Case::new("cri-stop-container", Part::Cri, stop_container),
    Case::new("cri-stop-pod", Part::Cri, stop_pod),
    Case::new("cri-oom", Part::Cri, oom),
    Case::new("cri-oom-child", Part::Cri, oom_child),
    Case::new("cri-oom-pod-limit", Part::Cri, oom_pod_limit),
];

/// With less patience than the pod's own.
fn stop_container(scene: &Scene) -> Result<()> {
    const SHORTER: Death = STOPPED.stop("delivered").evidence(&["grace_shorter"]);
    let pod = Pod::run(scene)?;
    let web = pod.container("web", LIMIT_BYTES, STUBBORN)?;
    let (init, child) = pod.init_and(&web, "sleep")?;
    pod.cri.stop(&web.id, 2)?;
    let expected = [
        Expected::init("sh", init, SHORTER)
            .by("containerd")
            .with("/stop/reason", "handled")
            .with("/stop/configured_grace_ms", 30_000)
            .with("/stop/grace_ms", Is::AtLeast(1900))
            .with("/summary", Is::Saying("container web of pod shop/web-"))
            .runtime_says(false, Some(137), true),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&pod.subject(&web), &expected);
    Ok(())
}

/// The sandbox is killed at once, and its container with it.
fn stop_pod(scene: &Scene) -> Result<()> {
    let pod = Pod::run(scene)?;
    let web = pod.container("web", LIMIT_BYTES, STUBBORN)?;
    let (init, child) = pod.init_and(&web, "sleep")?;
    pod.cri.stop_pod(&pod.id)?;
    let expected = [
        Expected::init("sh", init, KILLED).by("containerd"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&pod.subject(&web), &expected);
    let sandbox = Expected::init_of("sleep", KILLED).by("containerd");
    scene.deaths(&pod.sandbox(), &[sandbox]);
    Ok(())
}

fn oom(scene: &Scene) -> Result<()> {
    let pod = Pod::run(scene)?;
    let web = pod.container("web", LIMIT_BYTES, "sleep 1; exec tail /dev/zero")?;
    let (reason, code) = pod.end(&web)?;
    // containerd hears of the exit and of the OOM kill by different ways: on a slow machine it
    // says `Error`.
    let said = reason == "OOMKilled";
    let expected = Expected::init_of("tail", OOM)
        .with("/oom/levels/0/of", "container")
        .with("/oom/levels/1/of", "pod")
        .with("/oom/limit_of", Is::Saying("container"))
        .runtime_says(said, Some(code), said);
    scene.deaths(&pod.subject(&web), &[expected]);
    Ok(())
}

/// CRI says `OOMKilled` of a container that ended by itself.
fn oom_child(scene: &Scene) -> Result<()> {
    let pod = Pod::run(scene)?;
    let web = pod.container("web", LIMIT_BYTES, OOM_CHILD)?;
    let (reason, code) = pod.end(&web)?;
    let said = reason == "OOMKilled";
    let expected = Expected::child("tail", OOM)
        .with("/outcome/container_survived", true)
        .with("/summary", Is::Saying("goes on without it"))
        .runtime_says(said, Some(code), !said);
    scene.deaths(&pod.subject(&web), &[expected]);
    Ok(())
}

/// Pod and container have one limit: the kernel finds the pod's hit first, for the container's
/// memory is the pod's too.
fn oom_pod_limit(scene: &Scene) -> Result<()> {
    let mut pod = Pod::planned(scene)?;
    pod.limit(LIMIT_BYTES)?;
    pod.start()?;
    let web = pod.container("web", LIMIT_BYTES, "sleep 1; exec tail /dev/zero")?;
    pod.end(&web)?;
    let expected = Expected::init_of("tail", OOM)
        .with("/oom/levels/0/limit_bytes", LIMIT_BYTES)
        .with("/oom/levels/1/of", "pod")
        .with("/oom/levels/1/limit_bytes", LIMIT_BYTES)
        .with("/oom/limit_of", Is::Saying("pod"))
        .with("/oom/limit_cgroup", Is::Saying("pod"));
    scene.deaths(&pod.subject(&web), &[expected]);
    Ok(())
}
