//! Finding out about one container: files first, which are there at once, then sockets; and
//! again after a while, since what is asked for may come into being a moment later.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, mpsc::Sender},
    time::{Instant, sleep_until},
};

use super::{Options, Pending, cache::Cache, merge, reads::Reads};
use crate::{
    event::{
        container::{Ask, ContainerFacts, ContainerUnknown, What},
        entry::Entry,
    },
    identity::{
        host,
        place::Place,
        runtime::{
            Known,
            endpoints::{Endpoints, Heard, Patience},
            files::{Files, Roots},
            sockets,
        },
    },
};

/// Facts are looked for when they are asked for, and then again, so many milliseconds later.
const LOOK_AT: [u64; 4] = [0, 50, 200, 800];
/// What need not be a container at all is looked for until then: its deaths wait for that, and it
/// is asked about again where one dies.
const MAYBE_UNTIL: u64 = 200;
/// Once more after this, for a container that is known and whose process 1 is not: on a busy
/// machine it may take long to start.
const LATE: u64 = 3200;
/// New sockets are looked for after this.
pub(super) const STALE: Duration = Duration::from_secs(10);
/// The same, while nobody knows the container.
const STALE_UNKNOWN: Duration = Duration::from_secs(1);

/// An answer on its way, with the questions that it settles.
pub(super) type Told = (Entry, Vec<Pending>);

/// Where the answers to one question go.
pub(super) struct Answers {
    pub(super) ask: Ask,
    pub(super) out: Sender<Told>,
    /// All that ask the same.
    pub(super) pending: Arc<Mutex<Vec<Pending>>>,
}

impl Answers {
    async fn tell(&self, entry: Entry) {
        // Where nobody takes it any more, everything ends.
        let _ = self.out.send((entry, Vec::new())).await;
    }

    /// The last answer: nothing is pending any more once it has been passed on.
    pub(super) async fn tell_last(&self, entry: Entry) {
        let settled = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *pending)
        };
        let _ = self.out.send((entry, settled)).await;
    }
}

/// Nobody could say.
pub(super) fn unknown(id: &str, of_end: bool, why: String) -> Entry {
    Entry::ContainerUnknown(ContainerUnknown {
        boottime_ns: host::now().boottime_ns,
        id: id.to_owned(),
        of_end,
        why,
        is_busy: false,
    })
}

/// What is known so far, and what stood in the way of more.
#[derive(Default)]
struct Seen {
    facts: Option<ContainerFacts>,
    why: Vec<String>,
    /// Its runtime says that it does not run any more.
    has_ended: bool,
    /// Nobody told more than the files, and somebody who could have did not answer.
    is_partial: bool,
    /// What was told.
    told: Option<ContainerFacts>,
}

impl Seen {
    fn add(&mut self, facts: ContainerFacts) {
        match &mut self.facts {
            Some(old) => merge::add(old, facts),
            None => self.facts = Some(facts),
        }
    }

    fn hear(&mut self, heard: Heard) {
        self.has_ended = heard.known.iter().any(Known::has_ended);
        self.is_partial = heard.is_partial && heard.known.is_empty();
        for known in heard.known {
            self.add(known.facts);
        }
        self.why.extend(heard.why);
    }

    /// What is known, unless it was told before.
    fn untold(&mut self) -> Option<ContainerFacts> {
        let mut facts = self.facts.clone()?;
        facts.is_final = false;
        facts.boottime_ns = 0;
        if self.told.as_ref() == Some(&facts) {
            return None;
        }
        self.told = Some(facts.clone());
        facts.boottime_ns = host::now().boottime_ns;
        Some(facts)
    }
}

/// Who can be asked.
pub(super) struct Sources {
    roots: Roots,
    docker_host: Option<String>,
    pub(super) files: Arc<Files>,
    pub(super) reads: Reads,
    pub(super) endpoints: Endpoints,
    looked_at: AsyncMutex<Option<Instant>>,
    pub(super) cache: Cache,
}

impl Sources {
    /// `None`: nobody is to be asked.
    pub(super) fn new(options: Options) -> Option<Self> {
        let roots = options.roots?;
        Some(Self {
            files: Arc::new(Files::new(roots.clone())),
            roots,
            docker_host: options.docker_host,
            reads: Reads::default(),
            endpoints: Endpoints::default(),
            looked_at: AsyncMutex::default(),
            cache: Cache::default(),
        })
    }

    /// The containers that run already.
    pub(super) async fn running(&self) -> Vec<Ask> {
        let files = Arc::clone(&self.files);
        let running = self.reads.run(move || files.running()).await;
        running.unwrap_or_else(|why| {
            log::warn!("which containers run already is not known: {why}");
            Vec::new()
        })
    }

    /// Finds the sockets, unless that was done just now.
    pub(super) async fn look_around(&self, stale: Duration) {
        let mut looked_at = self.looked_at.lock().await;
        if looked_at.is_some_and(|at| at.elapsed() < stale) {
            return;
        }
        let (roots, docker_host) = (self.roots.clone(), self.docker_host.clone());
        let find = move || sockets::find(&roots, docker_host.as_deref());
        match self.reads.run(find).await {
            Ok(found) => self.endpoints.update(found),
            Err(why) => log::info!("sockets of container runtimes: {why}"),
        }
        *looked_at = Some(Instant::now());
    }

    /// Name, image, pod and the like.
    pub(super) async fn facts(&self, answers: &Answers) {
        let ask = &answers.ask;
        if let Some(why) = self.cache.why_unknown(&ask.id) {
            return answers.tell_last(unknown(&ask.id, false, why)).await;
        }
        let mut seen = Seen::default();
        if let Some(mut kept) = self.cache.facts(&ask.id) {
            if kept.is_final && kept.init_pid.is_some_and(|pid| self.is_alive(pid)) {
                kept.boottime_ns = host::now().boottime_ns;
                let entry = Entry::ContainerFacts(Box::new(kept));
                return answers.tell_last(entry).await;
            }
            // It may have been started again since.
            kept.init_pid = None;
            seen.facts = Some(kept);
        }
        let began = Instant::now();
        let may_be_none = ask.what == What::Whether;
        for at in LOOK_AT.into_iter().chain([LATE]) {
            if at > MAYBE_UNTIL && may_be_none || at == LATE && seen.facts.is_none() {
                break;
            }
            sleep_until(began + Duration::from_millis(at)).await;
            // What need not be a container at all is no API's business.
            if may_be_none {
                self.look_into_files(ask, &mut seen).await;
            } else {
                self.look(answers, &mut seen, at == 0).await;
            }
            let lacks = |facts| merge::lacks(facts, &ask.cgroup, seen.has_ended);
            if !seen.is_partial && !seen.facts.as_ref().is_none_or(lacks) {
                break;
            }
            self.tell_new(answers, &mut seen).await;
        }
        let entry = if let Some(mut facts) = seen.facts {
            facts.boottime_ns = host::now().boottime_ns;
            // There may be more to it than its files tell.
            facts.is_final = !may_be_none;
            self.cache.keep(&facts);
            facts.is_final = true;
            Entry::ContainerFacts(Box::new(facts))
        } else {
            let why = in_words(&seen.why);
            if !may_be_none {
                self.cache.keep_unknown(&ask.id, why.clone());
            }
            unknown(&ask.id, false, why)
        };
        answers.tell_last(entry).await;
    }

    /// Looks once: files, which are there at once, then sockets.
    async fn look(&self, answers: &Answers, seen: &mut Seen, is_first: bool) {
        let ask = &answers.ask;
        seen.why.clear();
        self.look_into_files(ask, seen).await;
        // Told before anybody is asked: that may take a while.
        self.tell_new(answers, seen).await;
        let stale = if is_first || seen.facts.is_some() {
            STALE
        } else {
            STALE_UNKNOWN
        };
        self.look_around(stale).await;
        let runtime = whose(ask, seen.facts.as_ref());
        // Podman starts anew for each question, and a machine may be busy.
        let patience = if seen.is_partial {
            Patience::Much
        } else {
            Patience::Little
        };
        let heard = self.endpoints.ask(ask, runtime.as_deref(), patience).await;
        seen.hear(heard);
    }

    async fn look_into_files(&self, ask: &Ask, seen: &mut Seen) {
        let (files, asked) = (Arc::clone(&self.files), ask.clone());
        let now_ns = host::now().boottime_ns;
        let found = self.reads.run(move || files.facts(&asked, now_ns)).await;
        match found {
            Ok(Ok(Some(facts))) => seen.add(facts),
            Ok(Ok(None)) => seen.why.push("no files of a runtime tell of it".to_owned()),
            Ok(Err(error)) => seen.why.push(error.to_string()),
            Err(why) => seen.why.push(format!("files: {why}")),
        }
    }

    async fn tell_new(&self, answers: &Answers, seen: &mut Seen) {
        if let Some(facts) = seen.untold() {
            self.cache.keep(&facts);
            answers.tell(Entry::ContainerFacts(Box::new(facts))).await;
        }
    }

    fn is_alive(&self, pid: u32) -> bool {
        self.roots.proc.join(pid.to_string()).exists()
    }
}

/// Whose container it is, as far as is known.
pub(super) fn whose(ask: &Ask, facts: Option<&ContainerFacts>) -> Option<String> {
    let known = facts.and_then(|facts| facts.runtime.clone());
    known.or_else(|| {
        let place = Place::of(&ask.cgroup);
        let own = place.containers.first()?;
        own.runtime.map(str::to_owned)
    })
}

pub(super) fn in_words(why: &[String]) -> String {
    if why.is_empty() {
        return "no runtime could be asked".to_owned();
    }
    why.join("; ")
}
