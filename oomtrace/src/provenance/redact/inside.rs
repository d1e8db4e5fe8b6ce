//! Secrets that stand inside of one argument, as in what `sh -c` is given. The quotes of a shell are
//! followed as far as the end of a value takes; where they are not closed, more is masked.

use super::{MASK, is_secret};

/// Headers whose values are secrets.
const HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "private-token",
    "x-api-key",
    "x-auth-token",
    "x-vault-token",
];

/// What may stand before a secret in an `Authorization:` header.
const SCHEMES: &[&str] = &[
    "basic",
    "bearer",
    "digest",
    "negotiate",
    "ntlm",
    "token",
    "apikey",
    "aws4-hmac-sha256",
];

/// Masks all that is known as a secret. `is_script`: a shell reads it, and white space ends a value.
#[must_use]
pub(super) fn mask(arg: &str, is_script: bool) -> String {
    let arg = &userinfo(arg);
    let mut scan = Scan {
        arg,
        at: 0,
        copied: 0,
        name: 0,
        quote: None,
        masked: String::with_capacity(arg.len()),
    };
    // An argument of its own goes to its end: its value may have blanks in it.
    let mut is_whole = !is_script;
    while let Some(next) = scan.peek() {
        match next {
            '=' if is_secret(scan.name()) => scan.named(is_whole),
            '=' | ':' if is_header(scan.name()) => scan.header(is_whole),
            _ if next.is_whitespace() && is_flag(scan.name()) => scan.flag(),
            _ => scan.step(next),
        }
        is_whole &= !(next.is_whitespace() || is_quote(next));
    }
    scan.done()
}

struct Scan<'a> {
    arg: &'a str,
    at: usize,
    /// Up to here it has been written.
    copied: usize,
    /// Where the name begins that an `=` would end.
    name: usize,
    quote: Option<char>,
    masked: String,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        self.arg.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn name(&self) -> &'a str {
        self.arg.get(self.name..self.at).unwrap_or_default()
    }

    /// Over a character that masks nothing.
    fn step(&mut self, next: char) {
        self.at += next.len_utf8();
        if next == '\\' && self.quote != Some('\'') {
            self.at += self.peek().map_or(0, char::len_utf8);
        } else if is_quote(next) {
            match self.quote {
                None => self.quote = Some(next),
                Some(open) if open == next => self.quote = None,
                Some(_) => {}
            }
        }
        if next.is_whitespace() || is_quote(next) || "=,;&|?(){}<>$/:\\".contains(next) {
            self.name = self.at;
        }
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// `NAME=VALUE`, at the sign.
    fn named(&mut self, is_whole: bool) {
        self.at += 1;
        let end = if is_whole {
            self.arg.len()
        } else {
            self.end_of_word()
        };
        self.mask_to(end);
    }

    /// `--NAME VALUE`, at the blank.
    fn flag(&mut self) {
        self.blanks();
        self.name = self.at;
        let is_value = self.peek().is_some_and(|next| !"|&;<>)".contains(next));
        if is_value && !self.rest().starts_with("--") {
            let end = self.end_of_word();
            self.mask_to(end);
        }
    }

    /// `Authorization: Bearer VALUE`, at the colon.
    fn header(&mut self, is_whole: bool) {
        self.at += 1;
        self.blanks();
        if let Some(open) = self
            .peek()
            .filter(|next| is_quote(*next) && self.quote.is_none())
        {
            self.step(open);
        }
        let word = |rest: &'a str| rest.split(char::is_whitespace).next().unwrap_or_default();
        let scheme = word(self.rest());
        if SCHEMES
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            self.at += scheme.len();
            self.blanks();
        }
        let end = match self.quote {
            _ if is_whole => self.arg.len(),
            Some(quote) => self.find(quote),
            None => self.end_of_word(),
        };
        self.mask_to(end);
    }

    /// Where the value ends that begins here.
    fn end_of_word(&self) -> usize {
        let mut inner = None;
        let mut chars = self.rest().char_indices();
        while let Some((at, next)) = chars.next() {
            let at = self.at + at;
            if self.quote == Some(next) {
                return at;
            }
            match inner {
                Some(open) if open == next => inner = None,
                None if is_quote(next) => inner = Some(next),
                None if next.is_whitespace() => return at,
                Some(_) | None => {}
            }
            if next == '\\' && inner != Some('\'') && self.quote != Some('\'') {
                chars.next();
            }
        }
        self.arg.len()
    }

    fn find(&self, quote: char) -> usize {
        self.rest()
            .find(quote)
            .map_or(self.arg.len(), |at| self.at + at)
    }

    fn mask_to(&mut self, end: usize) {
        if end > self.at {
            self.write();
            self.masked.push_str(MASK);
            self.at = end;
            self.copied = end;
        }
        self.name = self.at;
    }

    /// Writes what was passed over.
    fn write(&mut self) {
        self.masked
            .push_str(self.arg.get(self.copied..self.at).unwrap_or_default());
        self.copied = self.at;
    }

    fn done(mut self) -> String {
        self.write();
        self.masked
    }
}

fn is_quote(next: char) -> bool {
    matches!(next, '\'' | '"' | '`')
}

fn is_flag(name: &str) -> bool {
    name.starts_with("--") && is_secret(name)
}

fn is_header(name: &str) -> bool {
    HEADERS
        .iter()
        .any(|header| name.eq_ignore_ascii_case(header))
}

/// `scheme://user:secret@host` loses its secret, wherever it stands.
fn userinfo(arg: &str) -> String {
    let mut masked = String::with_capacity(arg.len());
    let mut rest = arg;
    while let Some((before, after)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://");
        let ends = |next: char| next.is_whitespace() || is_quote(next) || "/?#".contains(next);
        let (authority, tail) = after.split_at(after.find(ends).unwrap_or(after.len()));
        match authority.rsplit_once('@') {
            Some((userinfo, host)) => {
                if let Some((user, _)) = userinfo.split_once(':') {
                    masked.push_str(user);
                    masked.push(':');
                }
                masked.push_str(MASK);
                masked.push('@');
                masked.push_str(host);
            }
            None => masked.push_str(authority),
        }
        rest = tail;
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample};

    use super::mask;

    #[test]
    fn a_script_loses_its_secrets_and_nothing_else() {
        for (script, masked) in [
            (
                "exec app --password=hunter2 --port 80",
                "exec app --password=*** --port 80",
            ),
            (
                "API_KEY=zzz DB=x exec app -v",
                "API_KEY=*** DB=x exec app -v",
            ),
            ("a && MYSQL_PWD='q r' b", "a && MYSQL_PWD=*** b"),
            ("x --token \"a b\" -v", "x --token *** -v"),
            ("x --password ab'c d'e -v", "x --password *** -v"),
            ("su -c '--password=a b' c", "su -c '--password=*** b' c"),
            ("x --password=a\\ b c", "x --password=*** c"),
            ("x --secret='open", "x --secret=***"),
            (
                "curl -H 'Authorization: Bearer abc' http://u:p@h/ -H \"cookie: a=b; c=d\"",
                "curl -H 'Authorization: Bearer ***' http://u:***@h/ -H \"cookie: ***\"",
            ),
            ("curl -H Authorization:abc h", "curl -H Authorization:*** h"),
            ("a amqp://u:p@h b://x:y@z", "a amqp://u:***@h b://x:***@z"),
            ("psql \"postgres://u:p@h\"", "psql \"postgres://u:***@h\""),
            ("--set auth.password=x", "--set auth.password=***"),
        ] {
            assert_eq!(mask(script, true), masked, "{script}");
        }
    }

    #[test]
    fn an_argument_of_its_own_goes_to_its_end() {
        for (arg, masked) in [
            ("--password=two words", "--password=***"),
            ("PASSWORD=it's mine", "PASSWORD=***"),
            ("Authorization: Bearer abc", "Authorization: Bearer ***"),
            (
                "Authorization: Digest a=\"b\", c=d",
                "Authorization: Digest ***",
            ),
            ("proxy-authorization:abc def", "proxy-authorization:***"),
            ("--env=API_KEY=a b", "--env=API_KEY=***"),
            ("https://u:p@h/?token=abc", "https://u:***@h/?token=***"),
            (
                "OTLP_HEADERS=Authorization=Basic abc",
                "OTLP_HEADERS=Authorization=Basic ***",
            ),
        ] {
            assert_eq!(mask(arg, false), masked, "{arg}");
        }
    }

    #[test]
    fn what_is_harmless_stays() {
        for arg in [
            "exec app --password-file=/x --token-path /y",
            "docker login --password-stdin registry",
            "KEYBOARD=us PWD=/home/x OLDPWD=/ exec app",
            "singularity exec --pwd /data x",
            "--mount=type=bind,src=/run/secrets/x,dst=/y",
            "/data/tokens/day=7",
            "--max-num-batched-tokens=8192 --max-tokens 100 --tokenizer=x TOKENIZERS_PARALLELISM=no",
            "it's \"open",
            "http://host/a:b@c",
            "a --password | b",
            "grep Authorization log",
        ] {
            for is_script in [false, true] {
                assert_eq!(mask(arg, is_script), arg);
            }
        }
    }

    /// What makes trouble where it meets.
    const PIECES: &[&str] = &[
        "--password",
        "--token",
        "API_KEY",
        "MYSQL_PWD",
        "PWD",
        "KEYBOARD",
        "Authorization",
        "Bearer",
        "cookie",
        "=",
        "=",
        ":",
        "://",
        "@",
        "/",
        " ",
        " ",
        "\n",
        "'",
        "\"",
        "`",
        "\\",
        "***",
        "x",
        "hunter2",
        "-",
        "--",
        ";",
        "|",
        "$",
        "é",
    ];

    proptest! {
        #[test]
        fn what_is_masked_stays_as_it_is(
            pieces in vec(sample::select(PIECES), 0..24),
            is_script: bool,
        ) {
            let arg = pieces.concat();
            let once = mask(&arg, is_script);
            prop_assert_eq!(&mask(&once, is_script), &once, "{:?}", arg);
            // A mask for each value, and each has a sign or a blank before it.
            prop_assert!(once.len() <= arg.len() + 3 * pieces.len());
        }

        #[test]
        fn without_a_secrets_name_not_a_byte_changes(arg in "[^=:]*", is_script: bool) {
            prop_assume!(!arg.contains("--"));
            prop_assert_eq!(&mask(&arg, is_script), &arg);
        }

        #[test]
        fn no_value_stays_whatever_is_around_it(
            before in vec(sample::select(&["exec", "app", "-v", "a=b", "'q'", "\"r s\""][..]), 0..6),
            name in sample::select(&["--password=", "--token ", "API_KEY=", "REDIS_PWD="][..]),
            after in vec(sample::select(&["exec", "app", "-v", "a=b", "'q'"][..]), 0..6),
            quote in sample::select(&["", "'", "\""][..]),
        ) {
            let script = format!("{} {name}{quote}hunter2{quote} {}", before.join(" "), after.join(" "));
            let masked = mask(&script, true);
            prop_assert_eq!(masked, script.replace(&format!("{quote}hunter2{quote}"), "***"));
        }
    }
}
