//! What is asked, in turn: so many questions at a time, and what is being looked into already
//! is not looked into twice.

use std::{
    collections::{HashMap, VecDeque},
    mem::{Discriminant, discriminant},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinSet,
};

use super::{
    Desk, Options, Pending, Question,
    look::{Answers, Sources, Told, unknown},
};
use crate::{
    event::{
        container::{Ask, ContainerUnknown, What},
        entry::Entry,
    },
    identity::host,
};

/// So many questions are looked into at a time.
const AT_A_TIME: usize = 256;
/// The same, for containers that ran before anybody asked.
const AT_START: usize = 8;
/// So many answers may wait to be passed on.
const ANSWERS: usize = 64;
/// Longest id, bytes.
const ID_BYTES: usize = 256;

/// One container's facts, or its end.
type Key = (String, Discriminant<What>);

fn key(ask: &Ask) -> Key {
    (ask.id.clone(), discriminant(&ask.what))
}

fn of_end(ask: &Ask) -> bool {
    matches!(ask.what, What::End { .. })
}

/// Answers questions until nobody takes the answers any more.
pub(super) async fn run(
    options: Options,
    mut asked: Receiver<Question>,
    desk: &Desk,
    answer: impl Fn(Entry) -> bool,
) {
    let Some(sources) = Sources::new(options) else {
        return answer_nothing(asked, desk, answer).await;
    };
    let sources = Arc::new(sources);
    let (out, mut answers) = channel::<Told>(ANSWERS);
    let mut queue = Queue {
        sources: Arc::clone(&sources),
        out,
        looking: JoinSet::new(),
        under_way: HashMap::new(),
        at_start: VecDeque::new(),
    };
    let mut starting = std::pin::pin!(sources.running());
    let mut is_starting = true;
    loop {
        tokio::select! {
            biased;
            Some((entry, settled)) = answers.recv() => {
                let goes_on = answer(entry);
                // Not pending any more, but only now that it is passed on.
                drop(settled);
                if !goes_on {
                    return;
                }
            }
            Some(done) = queue.looking.join_next() => {
                if let Ok(key) = done {
                    queue.done(&key);
                }
            }
            () = desk.some_refused.notified() => {
                for question in take_refused(desk) {
                    if !answer(no_room(&question.ask)) {
                        return;
                    }
                }
            }
            running = &mut starting, if is_starting => {
                is_starting = false;
                log::info!("{} containers run already", running.len());
                queue.at_start = running.into();
            }
            question = asked.recv(), if queue.looking.len() < AT_A_TIME => match question {
                Some(Question { ask, pending }) => queue.take(ask, vec![pending]),
                None => return,
            },
        }
        queue.go_on_with_start();
    }
}

/// A question that is being looked into.
#[derive(Debug)]
struct UnderWay {
    pending: Arc<Mutex<Vec<Pending>>>,
    /// An end that was asked for since: what is found now may be that of the run before.
    next: Option<(Ask, Vec<Pending>)>,
}

struct Queue {
    sources: Arc<Sources>,
    out: Sender<Told>,
    looking: JoinSet<Key>,
    under_way: HashMap<Key, UnderWay>,
    /// What ran before, to be looked into when there is time.
    at_start: VecDeque<Ask>,
}

impl Queue {
    fn take(&mut self, ask: Ask, pending: Vec<Pending>) {
        let Some(same) = self.under_way.get_mut(&key(&ask)) else {
            return self.look(ask, pending);
        };
        if !of_end(&ask) {
            let mut all = same.pending.lock().unwrap_or_else(PoisonError::into_inner);
            return all.extend(pending);
        }
        let (next, waiting) = same.next.get_or_insert_with(|| (ask.clone(), Vec::new()));
        *next = ask;
        waiting.extend(pending);
    }

    fn look(&mut self, ask: Ask, pending: Vec<Pending>) {
        let key = key(&ask);
        let pending = Arc::new(Mutex::new(pending));
        let under_way = UnderWay {
            pending: Arc::clone(&pending),
            next: None,
        };
        self.under_way.insert(key.clone(), under_way);
        let answers = Answers {
            ask,
            out: self.out.clone(),
            pending,
        };
        let sources = Arc::clone(&self.sources);
        self.looking.spawn(async move {
            look(&sources, &answers).await;
            key
        });
    }

    fn done(&mut self, key: &Key) {
        let done = self.under_way.remove(key);
        if let Some((ask, pending)) = done.and_then(|done| done.next) {
            self.look(ask, pending);
        }
    }

    fn go_on_with_start(&mut self) {
        while self.looking.len() < AT_START
            && let Some(ask) = self.at_start.pop_front()
        {
            self.take(ask, Vec::new());
        }
    }
}

async fn look(sources: &Sources, answers: &Answers) {
    let ask = &answers.ask;
    if !is_id(&ask.id) {
        let why = "this is no id of a container".to_owned();
        let entry = unknown(&ask.id, of_end(ask), why);
        return answers.tell_last(entry).await;
    }
    match ask.what {
        What::Facts | What::Whether => sources.facts(answers).await,
        What::End { since_ns } => sources.end(answers, since_ns).await,
    }
}

/// Names of cgroups can hold anything, and this one goes into paths and addresses.
fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !id.is_empty() && id.len() <= ID_BYTES && !id.starts_with('.') && id.bytes().all(is_plain)
}

fn take_refused(desk: &Desk) -> VecDeque<Question> {
    let mut refused = desk.refused.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *refused)
}

fn no_room(ask: &Ask) -> Entry {
    Entry::ContainerUnknown(ContainerUnknown {
        boottime_ns: host::now().boottime_ns,
        id: ask.id.clone(),
        of_end: of_end(ask),
        why: "too many containers were asked about at once".to_owned(),
        is_busy: true,
    })
}

/// Nobody is to be asked.
async fn answer_nothing(
    mut asked: Receiver<Question>,
    desk: &Desk,
    answer: impl Fn(Entry) -> bool,
) {
    loop {
        let questions = tokio::select! {
            question = asked.recv() => match question {
                Some(question) => VecDeque::from([question]),
                None => return,
            },
            () = desk.some_refused.notified() => take_refused(desk),
        };
        for Question { ask, pending } in questions {
            let why = "container runtimes are not asked".to_owned();
            let goes_on = answer(unknown(&ask.id, of_end(&ask), why));
            drop(pending);
            if !goes_on {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn what_is_no_id_goes_into_no_path() {
        for id in ["c1", "4f2a", "a_b-c.d"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "..", ".hidden", "a/b", "a b", "a\nb", "a%2f", "ä"] {
            assert!(!is_id(id), "{id}");
        }
        assert!(!is_id(&"a".repeat(1000)));
    }
}
