//! The steps of `cargo xtask test` that need a whole Debian: in images, and for Vagrant.

use anyhow::Result;

use super::{Ground, steps};
use crate::{
    cases::Outcome,
    cli::{Image, TestArgs, VmArgs},
    command, packages,
    vm::{self, image::Trouble},
};

/// The images that a run is to boot.
pub(super) fn wanted(args: &TestArgs) -> &'static [Image] {
    if args.images { &Image::ALL } else { &[] }
}

/// Real runtimes. An image that cannot be built here is skipped, one that is wrong fails.
pub(super) fn images(ground: &Ground<'_>) -> Result<Outcome> {
    let wanted = wanted(ground.args);
    let mut outcome = Outcome::default();
    let mut systems = Vec::new();
    for release in Image::ALL {
        let name = format!("image {}", release.name());
        if !wanted.contains(&release) {
            let why =
                "emulated, it takes ten minutes and more: --images, or cargo xtask vm --image";
            outcome.absorb(Outcome::skip(&name, why));
            continue;
        }
        match vm::image::get(ground.project, release) {
            Ok(system) => systems.push(system),
            Err(error) if error.root_cause().is::<Trouble>() => {
                outcome.absorb(Outcome::skip(&name, format!("{error:#}")));
            }
            Err(error) => outcome.absorb(Outcome::fail(&name, format!("{error:#}"), None)),
        }
    }
    if systems.is_empty() {
        return Ok(outcome);
    }
    println!();
    let binaries = steps::built(ground);
    let args = VmArgs::default();
    outcome.absorb(vm::image::run(ground.project, &args, systems, &binaries)?);
    Ok(outcome)
}

/// What Vagrant says of our file. Its script is the one that the images are made with.
pub(super) fn vagrant(ground: &Ground<'_>) -> Result<Outcome> {
    const NAME: &str = "vagrant-validate";
    if command::find("vagrant").is_none() {
        if let Err(error) = packages::install(&["vagrant"], "no Vagrant, which checks its file") {
            return Ok(Outcome::skip(NAME, format!("{error:#}")));
        }
    }
    let mut vagrant = command::clean("vagrant");
    // Whether a hypervisor is here says nothing about the file.
    vagrant.args(["validate", "--ignore-provider"]);
    vagrant.current_dir(ground.project.root.join("tests/vm"));
    vagrant.env("VAGRANT_CHECKPOINT_DISABLE", "1");
    for (name, folder) in [
        ("VAGRANT_HOME", "home"),
        ("VAGRANT_DOTFILE_PATH", "machines"),
    ] {
        vagrant.env(name, ground.logs.join("vagrant").join(folder));
    }
    ground.case(NAME, &mut vagrant)
}
