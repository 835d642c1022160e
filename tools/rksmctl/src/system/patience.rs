// SPDX-License-Identifier: GPL-2.0

//! Reading what may never answer: some files in `/proc/PID` take the process's mmap lock, and the
//! process may hold it for ever.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        mpsc::{self, Receiver, Sender},
        Arc, Mutex, MutexGuard,
    },
    thread,
    time::Duration,
};

/// How long one file may take: more than a busy machine makes a reader wait for a CPU.
const PATIENCE: Duration = Duration::from_secs(1);

/// Remembers which files have not answered yet, so that nobody asks a second time meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    waiting: Arc<Mutex<HashSet<PathBuf>>>,
    /// A thread for each file would cost more than reading it.
    idle: Arc<Mutex<Option<Worker>>>,
}

/// A thread that reads one file after the other. It ends with this, when the file answers that it
/// waits for, or with this program.
#[derive(Debug)]
struct Worker {
    ask: Sender<PathBuf>,
    told: Receiver<io::Result<String>>,
}

impl Patience {
    /// The text of a file.
    ///
    /// # Errors
    ///
    /// `TimedOut` where it did not answer in time; else what reading it says.
    pub fn read(&self, path: &Path) -> io::Result<String> {
        self.read_within(path, PATIENCE)
    }

    /// As [`Self::read`], for a file that takes long to make.
    pub fn read_within(&self, path: &Path, limit: Duration) -> io::Result<String> {
        if !lock(&self.waiting).insert(path.to_owned()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let idle = lock(&self.idle).take();
        let worker = idle.map_or_else(|| Worker::start(self.waiting.clone()), Ok);
        let worker = worker.inspect_err(|_| {
            lock(&self.waiting).remove(path);
        })?;
        // It waits for this.
        let _ = worker.ask.send(path.to_owned());
        let Ok(text) = worker.told.recv_timeout(limit) else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        *lock(&self.idle) = Some(worker);
        text
    }
}

impl Worker {
    fn start(waiting: Arc<Mutex<HashSet<PathBuf>>>) -> io::Result<Self> {
        let (ask, asked) = mpsc::channel::<PathBuf>();
        let (tell, told) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            for path in asked {
                let text = fs::read(&path).map(|text| String::from_utf8_lossy(&text).into_owned());
                lock(&waiting).remove(&path);
                // Nobody may wait any more.
                let _ = tell.send(text);
            }
        })?;
        Ok(Self { ask, told })
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::time::Instant;

    #[test]
    fn one_that_does_not_answer_holds_up_nobody() {
        let folder = tempfile::TempDir::new().unwrap();
        let (stuck, good) = (folder.path().join("stuck"), folder.path().join("good"));
        mkfifo(&stuck, Mode::S_IRWXU).unwrap();
        fs::write(&good, "text").unwrap();
        let patience = Patience::default();
        let kind = |path| patience.read(path).map_err(|error| error.kind());

        assert_eq!(kind(&stuck), Err(io::ErrorKind::TimedOut));
        // It is not asked again meanwhile.
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(kind(&stuck), Err(io::ErrorKind::TimedOut));
        }
        assert!(start.elapsed() < 10 * PATIENCE);
        assert_eq!(kind(&good), Ok("text".into()));
        let none = folder.path().join("none");
        assert_eq!(kind(&none), Err(io::ErrorKind::NotFound));

        // It answers, too late; after that it can be asked again.
        fs::write(&stuck, "late").unwrap();
        while lock(&patience.waiting).contains(&stuck) {
            thread::yield_now();
        }
        fs::remove_file(&stuck).unwrap();
        fs::write(&stuck, "in time").unwrap();
        assert_eq!(kind(&stuck), Ok("in time".into()));
        assert_eq!(kind(&good), Ok("text".into()));
    }
}
