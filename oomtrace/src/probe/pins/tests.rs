use super::*;

#[test]
fn a_name_tells_what_it_is() {
    let programs = Programs {
        wire: 7,
        mark: 0xabc,
    };
    let name = name(programs, 0x1234);
    assert_eq!(name, "v7-0000000000000abc-1234");
    assert!(!name.contains('.'));
    assert_eq!(parse(&name), Some((programs, 0x1234)));
    for other in ["new", "v7", "v7-1", "v7-1-2-3", "7-1-2", "vx-1-2", "v7-g-2"] {
        assert_eq!(parse(other), None, "{other}");
    }
}

/// A folder with these files, and what is left of it once all that is ours is removed.
fn removed(name: &str, files: &[&str]) -> (Fate, Vec<String>) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join(name);
    fs::create_dir(&folder).unwrap();
    for file in files {
        let file = folder.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    let pins = Pins::locked(&folder, File::open(&folder).unwrap()).unwrap();
    let generations = pins.generations().unwrap();
    for generation in &generations {
        generation.remove().unwrap();
    }
    let fate = pins.remove_folder(!generations.is_empty()).unwrap();
    assert_eq!(folder.exists(), fate != Fate::Removed, "{fate:?}");
    let mut left: Vec<String> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    (fate, left)
}

#[test]
fn a_folder_goes_only_if_it_was_ours_and_is_empty() {
    let generation = "v7-0000000000000abc-1234/link_x";
    let none = Vec::<String>::new();
    assert_eq!(removed("of-others", &[]), (Fate::NotOurs, none.clone()));
    assert_eq!(
        removed("ours", &[generation]),
        (Fate::Removed, none.clone())
    );
    assert_eq!(
        removed("begun", &["new/map_x", "new/link_x"]),
        (Fate::Removed, none)
    );
    assert_eq!(
        removed("shared", &[generation, "cilium"]),
        (Fate::NotEmpty, vec!["cilium".to_owned()])
    );
    assert_eq!(
        removed("new-of-others", &["new/prog"]),
        (Fate::NotOurs, vec!["new".to_owned()])
    );
}

#[test]
fn a_mount_point_stays() {
    let error = |number| io::Error::from_raw_os_error(number);
    assert_eq!(stays(&error(libc::EBUSY)), Some(Fate::MountPoint));
    assert_eq!(stays(&error(libc::ENOTEMPTY)), Some(Fate::NotEmpty));
    assert_eq!(stays(&error(libc::EACCES)), None);
}

#[test]
fn elsewhere_nothing_is_pinned() {
    let folder = std::env::temp_dir().join("oomtrace-no-bpf");
    let error = Pins::open(&folder).unwrap_err();
    assert!(error.to_string().contains("mount -t bpf"), "{error}");
    assert!(!folder.exists());
}

#[test]
fn a_generation_is_hooked_while_each_of_its_own_programs_is() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("v7-0000000000000abc-1234");
    fs::create_dir(&folder).unwrap();
    let generation = Generation::at(&folder).unwrap();
    let is_hooked = |but: &[&str]| generation.is_hooked(but).unwrap();
    assert!(!is_hooked(&[]), "it has no programs");
    for pin in ["program_a", "link_a", "program_b", "map_x"] {
        fs::write(folder.join(pin), "").unwrap();
    }
    assert!(!is_hooked(&[]));
    assert!(is_hooked(&["b"]));
    assert!(generation.has("b"));
    assert!(!generation.has("c"));
    fs::write(folder.join("link_b"), "").unwrap();
    assert!(is_hooked(&[]));
    assert!(generation.has_hooks().unwrap());
    generation.detach_all().unwrap();
    assert!(!is_hooked(&["b"]));
    assert!(!generation.has_hooks().unwrap());
}
