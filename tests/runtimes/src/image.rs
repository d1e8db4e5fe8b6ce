//! Images made on the spot: one layer with a static busybox, as `docker save` writes them, which
//! every runtime can load. No registry is asked.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// What the cases call.
const APPLETS: &[&str] = &["cat", "echo", "head", "kill", "sh", "sleep", "tail", "true"];
const FOLDERS: &[&str] = &["bin", "dev", "etc", "proc", "run", "sys", "tmp"];

/// A layer, which several images may share.
pub(crate) struct Layer {
    bytes: Vec<u8>,
    digest: String,
}

impl Layer {
    /// Busybox with a link for each applet.
    pub(crate) fn busybox(busybox: &Path) -> Result<Self> {
        let program = fs::read(busybox)
            .with_context(|| format!("{} (Debian: busybox-static)", busybox.display()))?;
        let mut layer = Builder::new(Vec::new());
        for name in FOLDERS {
            layer.append_data(
                &mut header(EntryType::Directory, 0o755, 0),
                format!("{name}/"),
                &[][..],
            )?;
        }
        let mut entry = header(EntryType::Regular, 0o755, program.len() as u64);
        layer.append_data(&mut entry, "bin/busybox", &program[..])?;
        for name in APPLETS {
            let mut link = header(EntryType::Symlink, 0o777, 0);
            layer.append_link(&mut link, format!("bin/{name}"), "busybox")?;
        }
        let bytes = layer.into_inner()?;
        let digest = digest(&bytes);
        Ok(Self { bytes, digest })
    }

    /// Writes an image of this layer alone, under these names.
    pub(crate) fn write(&self, path: &Path, names: &[&str], command: &[&str]) -> Result<()> {
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": {"Cmd": command, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", self.digest)]},
            "history": [{"created": "1970-01-01T00:00:00Z"}],
        })
        .to_string();
        let config_name = format!("{}.json", digest(config.as_bytes()));
        let layer_name = format!("{}/layer.tar", self.digest);
        let manifest = json!([
            {"Config": config_name, "RepoTags": names, "Layers": [layer_name]}
        ]);
        let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
        let mut archive = Builder::new(file);
        add(&mut archive, &config_name, config.as_bytes())?;
        add(&mut archive, &layer_name, &self.bytes)?;
        add(
            &mut archive,
            "manifest.json",
            manifest.to_string().as_bytes(),
        )?;
        archive.into_inner()?.flush()?;
        Ok(())
    }

    /// Unpacks the layer, for runtimes that take a folder.
    pub(crate) fn unpack(&self, folder: &Path) -> Result<()> {
        tar::Archive::new(&self.bytes[..])
            .unpack(folder)
            .with_context(|| format!("unpack the image to {}", folder.display()))
    }
}

fn add(archive: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut entry = header(EntryType::Regular, 0o644, bytes.len() as u64);
    Ok(archive.append_data(&mut entry, name, bytes)?)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_known_one() {
        assert_eq!(
            digest(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn an_image_names_what_it_holds() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("oomtrace-image-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let busybox = folder.join("busybox");
        fs::write(&busybox, "not really")?;
        let layer = Layer::busybox(&busybox)?;
        let path = folder.join("image.tar");
        layer.write(&path, &["a/b:c"], &["/bin/sh"])?;
        let mut names = Vec::new();
        for entry in tar::Archive::new(File::open(&path)?).entries()? {
            names.push(entry?.path()?.to_string_lossy().into_owned());
        }
        layer.unpack(&folder.join("root"))?;
        let link = fs::read_link(folder.join("root/bin/sh"))?;
        fs::remove_dir_all(&folder)?;
        assert_eq!(names[2], "manifest.json");
        assert_eq!(names[1], format!("{}/layer.tar", layer.digest));
        assert_eq!(link, Path::new("busybox"));
        Ok(())
    }
}
