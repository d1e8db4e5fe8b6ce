//! Secrets in arguments: masked before a record is built.

mod inside;

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

/// Ends of names that tell where a secret is.
const NO_SECRET: &[&str] = &["file", "path", "dir", "stdin"];

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
    let mut script_follows = false;
    for arg in args {
        if value_follows && !arg.starts_with("--") {
            masked.push(MASK.to_owned());
            value_follows = false;
            continue;
        }
        let is_word = !arg.contains(|next: char| next == '=' || next.is_whitespace());
        value_follows = arg.starts_with("--") && is_word && is_secret(arg);
        masked.push(inside::mask(arg, script_follows));
        script_follows = is_script_flag(arg);
    }
    masked
}

/// `-c` of a shell, and `-ec` and `-lc`.
fn is_script_flag(arg: &str) -> bool {
    arg.strip_prefix('-')
        .and_then(|letters| letters.strip_suffix('c'))
        .is_some_and(|letters| letters.bytes().all(|letter| letter.is_ascii_alphabetic()))
}

/// Whether what is called so is a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // `--password-file` names a file: no secret.
    let names_another = NO_SECRET.iter().any(|end| name.ends_with(end));
    // What language models count and cut their texts by.
    let is_of_text =
        name.contains("tokenizer") || (name.contains("max") && name.ends_with("tokens"));
    if names_another || is_of_text {
        return false;
    }
    SECRET.iter().any(|part| name.contains(part)) || name.ends_with("_key") || is_password(&name)
}

/// `MYSQL_PWD` and its like; `PWD`, `OLDPWD` and `--pwd` are folders.
fn is_password(name: &str) -> bool {
    let name = name.trim_start_matches('-');
    name.ends_with("pwd") && !matches!(name, "pwd" | "oldpwd")
}

/// `scheme://user:sec`, cut before the `@` that would have told, loses what may be a secret's
/// start.
fn mask_cut(arg: &str) -> String {
    let userinfo = arg
        .rsplit_once("://")
        .filter(|(_, rest)| !rest.contains(['@', '/', '?', '#', ' ', '\n', '\'', '"']))
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
        assert_eq!(cut("a b://h c://user:hunt"), ["a b://h c://user:***"]);
        assert_eq!(cut("a c://host:80 'b"), ["a c://host:80 'b"]);
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
        assert_eq!(
            masked(&["sh", "-ec", "DB_PASSWORD=hunter2 exec app --port 80"]),
            ["sh", "-ec", "DB_PASSWORD=*** exec app --port 80"]
        );
        assert_eq!(
            masked(&[
                "env",
                "MYSQL_PWD=two words",
                "PWD=/x",
                "curl",
                "-H",
                "Authorization: Bearer abc"
            ]),
            [
                "env",
                "MYSQL_PWD=***",
                "PWD=/x",
                "curl",
                "-H",
                "Authorization: Bearer ***"
            ]
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
