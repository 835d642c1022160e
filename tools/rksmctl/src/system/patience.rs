// SPDX-License-Identifier: GPL-2.0

//! Reading what may never answer: some files in `/proc/PID` take the process's mmap lock, and the
//! process may hold it for ever.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{mpsc, Arc, Mutex},
    thread,
    time::Duration,
};

/// How long one file may take.
const PATIENCE: Duration = Duration::from_millis(200);

/// Remembers which files have not answered yet, so that nobody asks a second time meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    waiting: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Patience {
    /// The text of a file.
    ///
    /// # Errors
    ///
    /// `TimedOut` where it did not answer in time; else what reading it says.
    pub fn read(&self, path: &Path) -> io::Result<String> {
        let waiting = || self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        if !waiting().insert(path.to_owned()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (tell, told) = mpsc::channel();
        let (all, path) = (self.waiting.clone(), path.to_owned());
        // It ends when the file answers, or with this program.
        thread::Builder::new().spawn(move || {
            let text = fs::read_to_string(&path);
            all.lock().unwrap_or_else(|e| e.into_inner()).remove(&path);
            // Nobody may wait any more.
            let _ = tell.send(text);
        })?;
        told.recv_timeout(PATIENCE)
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
