//! The archive that is handed out: binary, licences, README, man page, what a service needs, and
//! a checksum beside it.
//!
//! The same commit gives the same bytes: names sorted, times and owners fixed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Arch, BuildArgs},
    command, compile,
    project::Project,
    setup,
};

const DOCUMENTS: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];
/// What goes with a service: the unit, alert rules, the dashboard.
const DEPLOY: [&str; 4] = [
    "deploy/grafana/oomtrace.json",
    "deploy/prometheus/oomtrace.rules.yml",
    "deploy/prometheus/oomtrace.scrape.yml",
    "deploy/systemd/oomtrace.service",
];

pub(crate) fn run(project: &Project) -> Result<()> {
    let tools = setup::run(project)?;
    let args = BuildArgs {
        release: true,
        target: Arch::X86_64,
    };
    let binary = compile::tracer(project, &tools, &args, false)?;
    let name = format!("oomtrace-{}-x86_64-linux-musl", version(&binary)?);
    let dist = project.target.join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    copy(&binary, &folder.join("oomtrace"))?;
    for document in DOCUMENTS {
        copy(&project.root.join(document), &folder.join(document))?;
    }
    for file in DEPLOY {
        let to = folder.join(file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        copy(&project.root.join(file), &to)?;
    }
    let page = command::output(command::clean(&binary).arg("man"))
        .context("the tracer does not print its man page")?;
    let page_path = folder.join("oomtrace.1");
    fs::write(&page_path, page).with_context(|| format!("cannot write {}", page_path.display()))?;

    let archive = pack(project, &dist, &name)?;
    let sum = command::output(command::clean("sha256sum").arg(&archive).current_dir(&dist))?;
    let sum_path = dist.join(format!("{archive}.sha256"));
    fs::write(&sum_path, sum).with_context(|| format!("cannot write {}", sum_path.display()))?;
    println!("{}", sum_path.display());
    println!("{}", dist.join(archive).display());
    Ok(())
}

/// Packs one folder of `dist` and returns the archive's name.
fn pack(project: &Project, dist: &Path, name: &str) -> Result<String> {
    let archive = format!("{name}.tar.gz");
    command::check(
        command::clean("tar")
            .args([
                "--create",
                "--sort=name",
                "--format=ustar",
                "--numeric-owner",
            ])
            .args(["--owner=0", "--group=0", "--mode=u=rwX,go=rX"])
            .arg(format!("--mtime=@{}", epoch(project)))
            .args([
                "--use-compress-program=gzip -9 --no-name",
                "--file",
                &archive,
                name,
            ])
            .current_dir(dist),
    )?;
    Ok(archive)
}

/// The time that all files get: `SOURCE_DATE_EPOCH`, else that of the last commit.
fn epoch(project: &Project) -> String {
    let digits = |text: String| {
        let text = text.trim().to_owned();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
    };
    env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(digits)
        .or_else(|| {
            let mut git = command::clean("git");
            git.args(["log", "-1", "--format=%ct"])
                .current_dir(&project.root);
            command::output(&mut git).ok().and_then(digits)
        })
        .unwrap_or_else(|| "0".to_owned())
}

/// What the binary says of itself, so that the name cannot disagree with it.
fn version(binary: &Path) -> Result<String> {
    let said = command::output(command::clean(binary).arg("--version"))?;
    said.split_whitespace()
        .nth(1)
        .map(str::to_owned)
        .with_context(|| format!("`oomtrace --version` printed no version: {said}"))
}

fn copy(from: &Path, to: &PathBuf) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
