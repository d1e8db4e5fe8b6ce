//! KVM or emulation: found out by booting, because /dev/kvm may be there and hang the guest.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    project::Project,
    vm::qemu::{self, Accel, End, Machine, Root},
};

/// With KVM, init runs within a second.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LASTS: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn find(project: &Project, kernel: &Path, initramfs: &Path) -> Result<Accel> {
    let device = fs::File::options().read(true).write(true).open("/dev/kvm");
    if device.is_err() {
        return Ok(Accel::Tcg);
    }
    let note = project.cache.join("accel");
    if let Some(accel) = remembered(&note) {
        return Ok(accel);
    }
    let logs = project.logs("vm").join("kvm-probe");
    let mut machine = Machine::new(
        kernel.into(),
        Root::Initramfs(initramfs.into()),
        Accel::Kvm,
        logs,
    );
    "oomtrace.probe".clone_into(&mut machine.append);
    machine.limit = PROBE_LIMIT;
    let accel = match qemu::boot(&machine)? {
        End::Finished { .. } => Accel::Kvm,
        End::BeforeInit(why) | End::Broken(why) => {
            eprintln!("notice: KVM does not work here ({why}); emulating, which is slower");
            Accel::Tcg
        }
    };
    fs::write(&note, accel.name()).with_context(|| format!("cannot write {}", note.display()))?;
    Ok(accel)
}

fn remembered(note: &Path) -> Option<Accel> {
    if fs::metadata(note).ok()?.modified().ok()?.elapsed().ok()? > ANSWER_LASTS {
        return None;
    }
    let name = fs::read_to_string(note).ok()?;
    [Accel::Kvm, Accel::Tcg]
        .into_iter()
        .find(|accel| accel.name() == name.trim())
}
