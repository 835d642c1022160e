// SPDX-License-Identifier: GPL-2.0

//! A file that others read at any time.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process,
};

use anyhow::{Context, Result};

use crate::failure::Failure;

/// Who reads it finds the old text or the new one.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(Failure::Usage(format!("{} is no file", path.display())).into());
    };
    // In the same folder, or it could not be renamed; the collector passes over the name.
    let new = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), process::id()));
    let done = fill(&new, text).and_then(|()| fs::rename(&new, path));
    if done.is_err() {
        // It may not be there.
        let _ = fs::remove_file(&new);
    }
    done.with_context(|| format!("cannot write {}", path.display()))
}

fn fill(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
