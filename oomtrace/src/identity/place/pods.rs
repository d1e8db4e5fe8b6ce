//! Kubernetes pods, as the kubelet names their cgroups.

use super::{PodPlace, names};

/// A pod found in a name.
pub(super) struct Found<'a> {
    /// The part of the name that is the pod's.
    pub(super) name: &'a str,
    uid: &'a str,
    qos: &'static str,
}

impl Found<'_> {
    pub(super) fn place(&self, cgroup: String) -> PodPlace {
        PodPlace {
            // systemd keeps the dash for nested slices, so the kubelet writes underscores.
            uid: self.uid.replace('_', "-"),
            qos: self.qos,
            cgroup,
        }
    }
}

/// With the systemd driver: `kubepods-burstable-pod<uid>.slice`. A kubelet with a cgroup root
/// of its own has that in front. The runtime's own driver may be cgroupfs, which takes all of
/// `<slice>:<prefix>:<id>` for a name.
pub(super) fn slice(name: &str) -> Option<Found<'_>> {
    let end = name.find(".slice")?;
    let (stem, rest) = (&name[..end], &name[end + ".slice".len()..]);
    if !rest.is_empty() && !rest.starts_with(':') {
        return None;
    }
    let (before, after) = stem.split_once("kubepods-")?;
    if !before.is_empty() && !before.ends_with('-') {
        return None;
    }
    let (qos, uid) = if let Some(uid) = after.strip_prefix("burstable-pod") {
        ("burstable", uid)
    } else if let Some(uid) = after.strip_prefix("besteffort-pod") {
        ("besteffort", uid)
    } else {
        ("guaranteed", after.strip_prefix("pod")?)
    };
    is_uid(uid).then_some(Found {
        name: &name[..end + ".slice".len()],
        uid,
        qos,
    })
}

/// With the cgroupfs driver: `kubepods/burstable/pod<uid>`.
pub(super) fn folder<'a>(above: &[&str], name: &'a str) -> Option<Found<'a>> {
    let qos = match above {
        [.., "kubepods"] => "guaranteed",
        [.., "kubepods", "burstable"] => "burstable",
        [.., "kubepods", "besteffort"] => "besteffort",
        _ => return None,
    };
    let uid = name.strip_prefix("pod").filter(|uid| is_uid(uid))?;
    Some(Found { name, uid, qos })
}

/// A UUID as a rule; 32 hexadecimal digits for a static pod; what a static pod's file says.
fn is_uid(uid: &str) -> bool {
    (1..=names::MAX_NAME).contains(&uid.len())
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
