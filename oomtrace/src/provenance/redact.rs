//! Secrets in arguments: masked before a record is built.

/// What of a process's arguments may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArgvPolicy {
    /// Values of well-known secret flags and variables are masked.
    #[default]
    Mask,
    /// Only `argv[0]` is kept.
    NameOnly,
    /// All is kept.
    Keep,
}

const MASK: &str = "***";

/// Parts of names whose values are secrets.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "access-key",
    "access_key",
    "private-key",
    "private_key",
    "credential",
    "auth-key",
];

impl ArgvPolicy {
    /// The arguments as they may be written. `truncated`: they were cut off, maybe within the
    /// last one.
    #[must_use]
    pub fn apply(self, args: &[String], truncated: bool) -> Vec<String> {
        match self {
            Self::Keep => args.to_vec(),
            Self::NameOnly => args.iter().take(1).cloned().collect(),
            Self::Mask => {
                let mut masked = mask(args);
                if let Some(last) = masked.last_mut().filter(|_| truncated) {
                    *last = mask_cut(last);
                }
                masked
            }
        }
    }
}

fn mask(args: &[String]) -> Vec<String> {
    let mut masked = Vec::with_capacity(args.len());
    let mut value_follows = false;
    for arg in args {
        if value_follows && !arg.starts_with("--") {
            masked.push(MASK.to_owned());
            value_follows = false;
            continue;
        }
        value_follows = arg.starts_with("--") && !arg.contains('=') && is_secret(arg);
        masked.push(mask_one(arg));
    }
    masked
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // `--password-file` names a file: no secret. A variable `…_KEY` holds one.
    !name.ends_with("file")
        && !name.ends_with("path")
        && (SECRET.iter().any(|part| name.contains(part)) || name.ends_with("_key"))
}

fn mask_one(arg: &str) -> String {
    if let Some((name, _)) = arg.split_once('=')
        && !name.contains(char::is_whitespace)
        && is_secret(name)
    {
        return format!("{name}={MASK}");
    }
    mask_userinfo(arg)
}

/// `scheme://user:secret@host` loses its secret.
fn mask_userinfo(arg: &str) -> String {
    let Some((scheme, rest)) = arg.split_once("://") else {
        return arg.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((userinfo, host)) => {
            let user = userinfo.split(':').next().unwrap_or_default();
            let user = if userinfo.contains(':') {
                format!("{user}:{MASK}")
            } else {
                MASK.to_owned()
            };
            format!("{scheme}://{user}@{host}{tail}")
        }
        None => arg.to_owned(),
    }
}

/// `scheme://user:sec`, cut before the `@` that would have told, loses what may be a secret's
/// start.
fn mask_cut(arg: &str) -> String {
    let userinfo = arg
        .split_once("://")
        .filter(|(_, rest)| !rest.contains(['@', '/', '?', '#']))
        .and_then(|(scheme, rest)| Some((scheme, rest.split_once(':')?.0)));
    match userinfo {
        Some((scheme, user)) => format!("{scheme}://{user}:{MASK}"),
        None => arg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::ArgvPolicy;

    fn masked(args: &[&str]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        ArgvPolicy::Mask.apply(&args, false)
    }

    #[test]
    fn a_secret_that_was_cut_is_one_still() {
        let cut = |arg: &str| ArgvPolicy::Mask.apply(&[arg.to_owned()], true);
        assert_eq!(
            cut("--broker=amqp://user:hunt"),
            ["--broker=amqp://user:***"]
        );
        assert_eq!(cut("amqp://user:x@host"), ["amqp://user:***@host"]);
        assert_eq!(cut("http://host/a:b"), ["http://host/a:b"]);
        assert_eq!(cut("plain"), ["plain"]);
    }

    #[test]
    fn values_of_secret_flags_go() {
        assert_eq!(
            masked(&["x", "--password", "hunter2", "-v"]),
            ["x", "--password", "***", "-v"]
        );
        assert_eq!(masked(&["x", "--token=abc"]), ["x", "--token=***"]);
        assert_eq!(
            masked(&["env", "AWS_SECRET_ACCESS_KEY=abc", "app"]),
            ["env", "AWS_SECRET_ACCESS_KEY=***", "app"]
        );
        assert_eq!(masked(&["SIGNING_KEY=abc"]), ["SIGNING_KEY=***"]);
        assert_eq!(
            masked(&["psql", "postgres://bob:pw@db/x?y=1"]),
            ["psql", "postgres://bob:***@db/x?y=1"]
        );
    }

    #[test]
    fn the_rest_stays() {
        let plain = [
            "runc",
            "--root",
            "/run/x",
            "kill",
            "3f2a",
            "9",
            "--password-file",
            "/etc/pw",
            "a=b",
        ];
        assert_eq!(masked(&plain), plain);
    }

    #[test]
    fn a_policy_can_keep_less_or_all() {
        let args = ["x".to_owned(), "--token=abc".to_owned()];
        assert_eq!(ArgvPolicy::NameOnly.apply(&args, false), ["x"]);
        assert_eq!(ArgvPolicy::Keep.apply(&args, false), args);
    }
}
