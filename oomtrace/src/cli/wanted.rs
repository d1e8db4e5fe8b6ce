//! Whose death is asked for, as it was typed.

use crate::identity::target::Target;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A death, by its id or the start of it.
    Id(String),
    /// The latest death of this process id.
    Pid(u32),
    /// One of what is or was there.
    Of(Target),
}

impl Wanted {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(pid) = text.strip_prefix("pid:") {
            return pid
                .parse()
                .map(Self::Pid)
                .map_err(|_| format!("{pid:?} is no process id: for example pid:31744"));
        }
        if text.starts_with("id:") {
            return id(text).map(Self::Id);
        }
        Target::parse(text)
            .map(Self::Of)
            .map_err(|error| error.to_string())
    }
}

impl std::fmt::Display for Wanted {
    /// As it is typed.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(to, "id:{id}"),
            Self::Pid(pid) => write!(to, "pid:{pid}"),
            Self::Of(target) => target.fmt(to),
        }
    }
}

/// A death's id, or the start of it, with or without its kind.
pub(super) fn id(text: &str) -> Result<String, String> {
    match text.strip_prefix("id:").unwrap_or(text) {
        "" => Err("no death has an empty id: take one from `oomtrace list`".to_owned()),
        id => Ok(id.to_owned()),
    }
}

/// The reader of a name behind the kind that an option stands for.
pub(super) fn of_kind(kind: &'static str) -> impl Fn(&str) -> Result<Target, String> + Clone {
    move |name| Target::parse(&format!("{kind}:{name}")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_read_and_told_as_it_is_typed() {
        assert_eq!(Wanted::parse("pid:12"), Ok(Wanted::Pid(12)));
        assert_eq!(Wanted::parse("id:9f2c"), Ok(Wanted::Id("9f2c".to_owned())));
        for typed in ["pid:12", "id:9f2c", "pod:shop/web", "web", "runc:[2:INIT]"] {
            assert_eq!(Wanted::parse(typed).unwrap().to_string(), typed);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_wrong_usage() {
        for (wrong, says) in [
            ("pid:abc", "pid:31744"),
            ("pid:", "pid:31744"),
            ("pid:-1", "pid:31744"),
            ("id:", "oomtrace list"),
            ("cgroup:x", "starts with a slash"),
            ("unit:", "nginx.service"),
            ("", "container:web"),
        ] {
            let error = Wanted::parse(wrong).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
        assert!(of_kind("container")("").is_err());
    }
}
