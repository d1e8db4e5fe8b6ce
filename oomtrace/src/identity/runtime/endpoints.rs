//! The sockets of runtimes as they are asked: which of them about what, with time limits,
//! and those that hang or talk nonsense left in peace for a while.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc::unbounded_channel},
    time::{Instant, timeout, timeout_at},
};

use super::{
    api::{ApiError, Known},
    containerd::Containerd,
    cri::Cri,
    docker::Docker,
    sockets::{Api, Socket},
};
use crate::{event::container::Ask, identity::place::Place};

/// A runtime has so long for an answer. One that was late gets twice and three times that: a
/// machine may be busy.
const LIMIT: Duration = Duration::from_millis(300);
/// The same, where nothing waits for it: a busy machine may end many containers at once, and
/// Podman's service is started by the question.
const BUSY_LIMIT: Duration = Duration::from_secs(4);
/// After so many failures in a row it is left in peace.
const FAILURES: u32 = 3;
/// For so long.
const ASIDE: Duration = Duration::from_secs(5);
/// All of them together have so long.
const IN_ALL: Duration = Duration::from_secs(1);
/// An API that is not offered at a socket is not asked for again for so long.
const NOT_SERVED: Duration = Duration::from_secs(60);
/// So many questions are put to one socket at a time.
const AT_A_TIME: usize = 16;

/// What was heard of a container.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) known: Vec<Known>,
    /// Who did not know it or could not say, and why.
    pub(crate) why: Vec<String>,
    /// Somebody who could have known did not answer this time.
    pub(crate) is_partial: bool,
}

/// How long a runtime has for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A record waits for it.
    Little,
    /// It is about something that ends, and busy with that.
    Much,
}

impl Patience {
    /// What all together may take.
    fn in_all(self) -> Duration {
        match self {
            Self::Little => IN_ALL,
            Self::Much => BUSY_LIMIT + IN_ALL,
        }
    }

    /// When one knows the container, the others are waited for so long: they may know more.
    fn with_others(self) -> Duration {
        Duration::from_millis(match self {
            Self::Little => 50,
            Self::Much => 10,
        })
    }
}

/// All sockets.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(Mutex<Vec<Arc<Endpoint>>>);

impl Endpoints {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<Endpoint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the sockets that are there now; those that were there before keep their record.
    pub(crate) fn update(&self, sockets: Vec<Socket>) {
        let mut all = self.all();
        all.retain(|endpoint| sockets.contains(&endpoint.socket));
        for socket in sockets {
            if !all.iter().any(|endpoint| endpoint.socket == socket) {
                log::info!("found {}", socket.describe());
                all.push(Arc::new(Endpoint::new(socket)));
            }
        }
    }

    /// Those that may know of a container. `runtime`: whose it is, if that is known.
    fn of(&self, ask: &Ask, runtime: Option<&str>) -> Vec<Arc<Endpoint>> {
        // Where people choose the ids, a container in a container is not the node's.
        let is_inner = Place::of(&ask.cgroup).containers.len() > 1;
        let may = |endpoint: &&Arc<Endpoint>| {
            let socket = &endpoint.socket;
            let chosen = socket.api == Api::Containerd;
            socket.speaks_for(&ask.cgroup) && socket.api.may_know(runtime) && !(chosen && is_inner)
        };
        self.all().iter().filter(may).cloned().collect()
    }

    /// Asks all that may know, at once, and each with this patience.
    pub(crate) async fn ask(&self, ask: &Ask, runtime: Option<&str>, patience: Patience) -> Heard {
        let (answers, mut answered) = unbounded_channel();
        for endpoint in self.of(ask, runtime) {
            let (id, answers) = (ask.id.clone(), answers.clone());
            // It goes on when nobody waits for it any more: that it is late is to be noted.
            tokio::spawn(async move {
                let answer = endpoint.ask(&id, patience).await;
                let _ = answers.send((endpoint, answer));
            });
        }
        drop(answers);
        let mut heard = Heard::default();
        let mut end = Instant::now() + patience.in_all();
        loop {
            match timeout_at(end, answered.recv()).await {
                Ok(None) => break,
                Ok(Some((_, Ok(known)))) => {
                    heard.known.push(known);
                    end = end.min(Instant::now() + patience.with_others());
                }
                Ok(Some((endpoint, Err(error)))) => {
                    heard.is_partial |= error.is_failure() && endpoint.is_ready();
                    if error.is_worth_telling() {
                        let whom = endpoint.socket.describe();
                        heard.why.push(format!("{whom}: {error}"));
                    }
                }
                Err(_) => {
                    let why = "some sockets have not answered yet";
                    heard.why.push(why.to_owned());
                    heard.is_partial = true;
                    break;
                }
            }
        }
        heard
    }
}

impl Socket {
    fn describe(&self) -> String {
        let path = self.path.display();
        match self.api {
            Api::Docker => format!("Docker's API at {path}"),
            Api::Cri => format!("CRI at {path}"),
            Api::Containerd => format!("containerd's API at {path}"),
        }
    }

    /// A user's own daemons speak for what runs in that user's slice of systemd's.
    fn speaks_for(&self, cgroup: &str) -> bool {
        self.user.is_none_or(|user| {
            let slice = format!("user-{user}.slice");
            cgroup.split('/').any(|name| name == slice)
        })
    }
}

impl Api {
    fn may_know(self, runtime: Option<&str>) -> bool {
        let whose = match runtime {
            // It may be another's, which had them make it.
            None | Some("runc" | "crun") => return true,
            Some(runtime) => runtime,
        };
        let of_its_own: &[&str] = match self {
            Self::Docker => &["docker", "podman"],
            Self::Cri => &["containerd", "cri-o", "docker"],
            Self::Containerd => &["containerd"],
        };
        of_its_own.contains(&whose)
    }
}

/// One API at one socket.
#[derive(Debug)]
struct Endpoint {
    socket: Socket,
    permits: Semaphore,
    health: Mutex<Health>,
}

#[derive(Debug)]
struct Health {
    client: Option<Arc<Client>>,
    failures: u32,
    aside_until: Option<Instant>,
    why_aside: ApiError,
    /// It was logged that it does not answer.
    told: bool,
}

#[derive(Debug)]
enum Client {
    Docker(Docker),
    Cri(Cri),
    Containerd(Containerd),
}

impl Endpoint {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            permits: Semaphore::new(AT_A_TIME),
            health: Mutex::new(Health {
                client: None,
                failures: 0,
                aside_until: None,
                why_aside: ApiError::NotServed,
                told: false,
            }),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ready(&self) -> bool {
        let aside = self.health().aside_until;
        aside.is_none_or(|until| until <= Instant::now())
    }

    fn client(&self) -> Result<Arc<Client>, ApiError> {
        let mut health = self.health();
        if let Some(client) = &health.client {
            return Ok(Arc::clone(client));
        }
        let path = &self.socket.path;
        let client = Arc::new(match self.socket.api {
            Api::Docker => Client::Docker(Docker::at(path)?),
            Api::Cri => Client::Cri(Cri::at(path)?),
            Api::Containerd => Client::Containerd(Containerd::at(path)?),
        });
        health.client = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn ask(&self, id: &str, patience: Patience) -> Result<Known, ApiError> {
        // Waiting for one's turn is no failure of the runtime's.
        let _permit = self.permits.acquire().await;
        if !self.is_ready() {
            return Err(self.health().why_aside.clone());
        }
        let limit = match patience {
            Patience::Little => LIMIT * (self.health().failures + 1).min(FAILURES),
            Patience::Much => BUSY_LIMIT,
        };
        let asking = async {
            match &*self.client()? {
                Client::Docker(docker) => docker.inspect(id).await,
                Client::Cri(cri) => cri.inspect(id).await,
                Client::Containerd(containerd) => containerd.inspect(id).await,
            }
        };
        let answer = timeout(limit, asking).await.unwrap_or_else(|_| {
            let limit = limit.as_millis();
            Err(ApiError::Failed(format!("no answer within {limit} ms")))
        });
        self.note(&answer);
        answer
    }

    fn note(&self, answer: &Result<Known, ApiError>) {
        let mut health = self.health();
        match answer {
            Ok(_) | Err(ApiError::NotKnown) => {
                health.failures = 0;
                health.aside_until = None;
            }
            // Whoever listened there has gone for good, or comes back with another socket.
            Err(ApiError::Gone) => health.client = None,
            Err(ApiError::NotServed) => {
                health.aside_until = Some(Instant::now() + NOT_SERVED);
                health.why_aside = ApiError::NotServed;
            }
            Err(ApiError::Failed(why)) => {
                health.client = None;
                health.failures += 1;
                if health.failures < FAILURES {
                    return;
                }
                health.aside_until = Some(Instant::now() + ASIDE);
                health.why_aside = ApiError::Failed(format!("left in peace for a while: {why}"));
                if !health.told {
                    health.told = true;
                    log::warn!("{} does not answer: {why}", self.socket.describe());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_users_socket_speaks_for_that_users_slice() {
        let mut socket = Socket {
            path: PathBuf::from("/run/user/1000/docker.sock"),
            api: Api::Docker,
            user: Some(1000),
        };
        let own = "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-4f.scope";
        assert!(socket.speaks_for(own));
        assert!(!socket.speaks_for("/system.slice/docker-4f.scope"));
        assert!(!socket.speaks_for("/user.slice/user-10001.slice/docker-4f.scope"));
        socket.user = None;
        assert!(socket.speaks_for("/system.slice/docker-4f.scope"));
    }

    #[test]
    fn who_is_asked_depends_on_whose_it_is() {
        assert!(Api::Docker.may_know(Some("podman")));
        assert!(!Api::Docker.may_know(Some("cri-o")));
        assert!(!Api::Cri.may_know(Some("podman")));
        assert!(Api::Cri.may_know(Some("runc")), "it may be containerd's");
        assert!(Api::Containerd.may_know(None));
    }
}
