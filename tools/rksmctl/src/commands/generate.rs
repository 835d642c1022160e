// SPDX-License-Identifier: GPL-2.0

//! `rksmctl generate`: completion for shells, and manual pages, for who makes a package.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::{generate_to, Shell};
use clap_mangen::{
    roff::{roman, Roff},
    Man,
};

use crate::cli::Cli;

/// What each subcommand's `after_long_help` begins with.
pub const EXAMPLES: &str = "Examples:\n";

#[derive(clap::Args)]
pub struct Args {
    /// Where they go: bash/, fish/, zsh/ and man/ are made there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let mut cli = told_of();
    cli.build();
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let folder = make(&args.folder.join(shell.to_string()))?;
        generate_to(shell, &mut cli.clone(), "rksmctl", &folder)?;
        if shell == Shell::Bash {
            // bash-completion looks for a file that is named like the program.
            fs::rename(folder.join("rksmctl.bash"), folder.join("rksmctl"))?;
        }
    }
    let folder = make(&args.folder.join("man"))?;
    let mut first = Vec::new();
    for command in cli.get_subcommands() {
        let examples = examples_of(command);
        first.extend(examples.first().cloned());
        write(command, &examples, &folder)?;
    }
    write(&cli, &first, &folder)
}

/// The program as users are told of it: nothing that is hidden, and no help on help.
fn told_of() -> Command {
    let cli = Cli::command();
    let command = Command::new("rksmctl")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(
            cli.get_subcommands()
                .filter(|command| !command.is_hide_set())
                .cloned(),
        );
    let (about, long) = (cli.get_about().cloned(), cli.get_long_about().cloned());
    command
        .about(about.unwrap_or_default())
        .long_about(long.unwrap_or_default())
}

fn make(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_owned())
}

/// Commands, and what each is for.
fn examples_of(command: &Command) -> Vec<(String, String)> {
    let text = command.get_after_long_help().map(ToString::to_string);
    let text = text.unwrap_or_default();
    text.strip_prefix(EXAMPLES)
        .unwrap_or_default()
        .lines()
        .map(|line| {
            let (example, what) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
            (example.to_owned(), what.trim().to_owned())
        })
        .collect()
}

/// Writes a manual page. What clap_mangen makes of examples has no lines.
fn write(command: &Command, examples: &[(String, String)], folder: &Path) -> Result<()> {
    let man = Man::new(command.clone().after_long_help(""))
        .source(concat!("rksmctl ", env!("CARGO_PKG_VERSION")))
        .manual("Page merging");
    let mut page = Vec::new();
    man.render(&mut page)?;
    // An empty text has a heading all the same, and an empty date is no argument.
    let page = String::from_utf8(page)?
        .replace(".SH EXTRA\n", "")
        .replacen(" 1  \"", " 1 \"\" \"", 1);

    let mut roff = Roff::default();
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    let width = examples.iter().map(|(example, _)| example.len()).max();
    let width = width.unwrap_or_default();
    for (example, what) in examples {
        roff.text([roman(format!("{example:<width$}  {what}").trim_end())]);
    }
    roff.control("fi", []);

    let mut file = File::create(folder.join(man.get_filename()))?;
    file.write_all(page.trim_end().as_bytes())?;
    file.write_all(b"\n")?;
    roff.to_writer(&mut file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subcommand_has_examples() {
        for command in told_of().get_subcommands() {
            let start = format!("rksmctl {}", command.get_name());
            assert!(
                examples_of(command)
                    .iter()
                    .any(|(example, what)| example.starts_with(&start) && !what.is_empty()),
                "after_long_help of {} begins with '{EXAMPLES}  {start}'",
                command.get_name()
            );
        }
    }
}
