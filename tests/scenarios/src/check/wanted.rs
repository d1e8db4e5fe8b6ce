//! What a row of the scenarios wants of a death.

/// What a scenario wants of a death, beside what the fixture's own report says of it.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub(super) cause: &'static str,
    pub(super) mechanism: &'static str,
    /// Others that are as good: not every release of a program does it in the same way.
    pub(super) or_mechanisms: [Option<&'static str>; 2],
    /// `None`: any, but one must be named.
    pub(super) actor: Option<&'static str>,
    /// `stop.result`, for those that had a stop request.
    pub(super) stop_result: Option<&'static str>,
    /// Codes that must stand in `evidence`.
    pub(super) evidence: &'static [&'static str],
    /// Codes that must stand in `evidence`, and words in the text beside each.
    pub(super) says: &'static [(&'static str, &'static str)],
    /// Further fields of the record.
    pub(super) fields: &'static [(&'static str, Is)],
    /// Codes and fields of the first revision, where there must be more than one.
    pub(super) first: Option<First>,
}

/// What the first of several revisions says.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) evidence: &'static [&'static str],
    pub(super) fields: &'static [(&'static str, Is)],
}

/// What a field of a record must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Is {
    Text(&'static str),
    /// Text with these words in it.
    Saying(&'static str),
    Bool(bool),
    Number(u64),
    /// A number that is not less.
    AtLeast(u64),
    Null,
    /// Anything but null.
    There,
    /// The victim's pid, or null: a task that was interrupted is a sender if it is the victim.
    VictimOrNull,
}

impl Death {
    #[must_use]
    pub const fn of(cause: &'static str, mechanism: &'static str) -> Self {
        Self {
            cause,
            mechanism,
            or_mechanisms: [None; 2],
            actor: None,
            stop_result: None,
            evidence: &[],
            says: &[],
            fields: &[],
            first: None,
        }
    }

    /// The kind of the actor.
    #[must_use]
    pub const fn actor(mut self, kind: &'static str) -> Self {
        self.actor = Some(kind);
        self
    }

    /// Another mechanism that is as good: two at most.
    #[must_use]
    pub const fn or(mut self, mechanism: &'static str) -> Self {
        let [first, second] = &mut self.or_mechanisms;
        let free = if first.is_none() { first } else { second };
        *free = Some(mechanism);
        self
    }

    /// What became of the request to stop.
    #[must_use]
    pub const fn stop(mut self, result: &'static str) -> Self {
        self.stop_result = Some(result);
        self
    }

    /// Codes that must stand in `evidence`; others may.
    #[must_use]
    pub const fn evidence(mut self, codes: &'static [&'static str]) -> Self {
        self.evidence = codes;
        self
    }

    /// Codes that must stand in `evidence`, and words in the text beside each.
    #[must_use]
    pub const fn says(mut self, texts: &'static [(&'static str, &'static str)]) -> Self {
        self.says = texts;
        self
    }

    /// Further fields, by their JSON pointer.
    #[must_use]
    pub const fn fields(mut self, fields: &'static [(&'static str, Is)]) -> Self {
        self.fields = fields;
        self
    }

    /// Written before the victim's end, too: what that first revision says.
    #[must_use]
    pub const fn first(
        mut self,
        evidence: &'static [&'static str],
        fields: &'static [(&'static str, Is)],
    ) -> Self {
        self.first = Some(First { evidence, fields });
        self
    }
}
