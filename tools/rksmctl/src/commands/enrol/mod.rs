// SPDX-License-Identifier: GPL-2.0

//! `rksmctl enrol` and `rksmctl release`: who is merged, decided from outside.

mod next_start;
mod target;

use std::{
    io::{self, Write as _},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{bail, Result};

use self::target::Target;
use crate::{
    failure::{remedy, words, Failure},
    show::{counted, say},
    system::{
        cgroup::Cgroup,
        enrolment::{Answer, Asker, Wish},
        Provider, System,
    },
};

pub const ENROL_EXAMPLES: &str = "\
Examples:
  rksmctl enrol 4711                                 a process, and what it starts from now on
  rksmctl enrol nginx.service                        a unit, now and when it is started again
  rksmctl enrol nginx.service --save                 the same after a reboot
  rksmctl enrol nginx.service --forget               its unit decides again when it is started
  rksmctl enrol web                                  the guest that QEMU knows as web
  rksmctl enrol /user.slice --follow 10              a cgroup, and whoever joins it
";
pub const RELEASE_EXAMPLES: &str = "\
Examples:
  rksmctl release 4711                               unmerges it, and leaves it alone from now on
  rksmctl release vault.service --save               not even if scope is all, nor after a reboot
";

#[derive(clap::Args)]
pub struct Args {
    /// The number of a process, a cgroup (/...), a unit of the system, or the name of a guest.
    ///
    /// What a process starts inherits it. Of a cgroup or unit all processes that are there are meant, and
    /// so is what they start. What joins a cgroup from outside does not inherit it: --follow. What systemd
    /// starts again does so by MemoryKSM= in a file that this writes for a service of the system.
    #[arg(value_name = "PID|CGROUP|UNIT|GUEST")]
    target: String,
    /// For a service: also after a reboot.
    #[arg(long)]
    save: bool,
    /// Goes on, and looks for processes that have joined the cgroup after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    follow: Option<u64>,
    /// For a service: takes back what enrol and release have written for when it is started again.
    ///
    /// Its unit decides then. What runs now stays as it is.
    #[arg(long, conflicts_with_all = ["save", "follow"])]
    forget: bool,
}

pub fn run(system: &System, args: &Args, wish: Wish) -> Result<()> {
    if args.forget {
        return forget(system, &args.target);
    }
    let target = Target::find(system, &args.target)?;
    let service = match &target {
        Target::Unit(name, _) if name.ends_with(".service") => Some(name),
        _ => None,
    };
    let cgroup = match &target {
        Target::Cgroup(cgroup) | Target::Unit(_, Some(cgroup)) => Some(cgroup),
        _ => None,
    };
    if args.save && service.is_none() {
        return wrong("only for a service of the system it can be saved: it has a file for it");
    }
    if args.follow.is_some() && cgroup.is_none() {
        return wrong(
            "only a cgroup, or a unit that runs, can be followed: nobody joins a process",
        );
    }
    let possible = system.exists(Provider::Rksm.file(wish.file()));
    if !possible && service.is_none() {
        bail!("{}", why_not(system, wish));
    }

    let mut said = Ok(());
    if let Some(service) = service {
        let file = next_start::write(system, service, wish, args.save)?;
        said = say(&format!(
            "{service}, whenever it is started: {}.\n",
            file.display()
        ));
    }
    if !possible {
        return said.and(say(&format!(
            "What runs now stays as it is: {}.\n",
            why_not(system, wish)
        )));
    }
    match (&target, cgroup) {
        (Target::Process(pid) | Target::Guest(pid), _) => one(system, *pid, wish)?,
        (_, Some(cgroup)) => {
            let mut asker = Asker::new(system, wish);
            match args.follow {
                None => all(&mut asker, system, cgroup, wish)?,
                Some(seconds) => follow(&mut asker, system, cgroup, wish, seconds)?,
            }
        }
        (_, None) => say("It does not run now.\n")?,
    }
    said
}

/// The service itself may be gone.
fn forget(system: &System, name: &str) -> Result<()> {
    if name.contains('/') {
        return wrong("there is something to forget only for a service of the system");
    }
    let service = match name.strip_suffix(".service") {
        Some(_) => name.to_owned(),
        None => format!("{name}.service"),
    };
    if !next_start::forget(system, &service)? {
        bail!("neither enrol nor release has written anything for {service}");
    }
    say(&format!(
        "{service}, whenever it is started: as its unit says.\n"
    ))
}

fn wrong(why: &str) -> Result<()> {
    Err(Failure::Usage(why.into()).into())
}

fn why_not(system: &System, wish: Wish) -> String {
    match system.provider() {
        Some(Provider::Rksm) => format!(
            "this rksm is too old, it has no {}",
            Provider::Rksm.file(wish.file()).display()
        ),
        Some(Provider::InTree) => {
            "the kernel's own KSM takes nobody in from outside; modprobe rksm".into()
        }
        None => "this kernel merges no pages".into(),
    }
}

fn done(wish: Wish) -> &'static str {
    match wish {
        Wish::Enrol => "merged from now on, and so is what it starts",
        Wish::Release => "left alone from now on, and so is what it starts",
    }
}

fn one(system: &System, pid: i32, wish: Wish) -> Result<()> {
    let mut asker = Asker::new(system, wish);
    ask(&mut asker, pid);
    asker.wait();
    for (pid, answer) in asker.answers() {
        answer.map_err(|error| refused(pid, wish, &error))?;
    }
    say(&format!("Process {pid} is {}.\n", done(wish)))
}

/// Asks, and says so where that takes long.
fn ask(asker: &mut Asker, pid: i32) {
    if !asker.ask(pid) {
        complain(&format!(
            "still waiting for process {pid}: it has much to unmerge, or its address space is locked"
        ));
    }
}

fn complain(what: &str) {
    // There may be nowhere to say it.
    let _ = writeln!(io::stderr(), "rksmctl: {what}");
}

fn refused(pid: i32, wish: Wish, error: &io::Error) -> anyhow::Error {
    let why = remedy(error, Path::new(wish.file()));
    anyhow::anyhow!("process {pid}: {} ({why})", words(error))
}

/// All processes of a cgroup.
fn all(asker: &mut Asker, system: &System, cgroup: &Cgroup, wish: Wish) -> Result<()> {
    ask_new(asker, system, cgroup)?;
    asker.wait();
    let (good, bad) = sorted(asker.answers(), wish);
    say(&format!(
        "{} has {}, each is {}.\n",
        cgroup.path.display(),
        counted(good, "process", "processes"),
        done(wish)
    ))?;
    let others = bad.len();
    match bad.into_iter().next() {
        None => Ok(()),
        Some(first) if others == 1 => Err(first),
        Some(first) => Err(first.context(format!("{others} processes are not, the first of them"))),
    }
}

/// The same, and who joins it later. Nobody is asked twice, and nobody else is waited for.
fn follow(
    asker: &mut Asker,
    system: &System,
    cgroup: &Cgroup,
    wish: Wish,
    seconds: u64,
) -> Result<()> {
    let mut names = ("process", "processes");
    loop {
        ask_new(asker, system, cgroup)?;
        let (good, mut bad) = sorted(asker.answers(), wish);
        let is_first = names.0 == "process";
        if is_first && good == 0 && !bad.is_empty() {
            // It will not be otherwise later.
            return Err(bad.swap_remove(0));
        }
        if is_first || good > 0 {
            say(&format!(
                "{} has {}, each is {}.\n",
                cgroup.path.display(),
                counted(good, names.0, names.1),
                done(wish)
            ))?;
        }
        for why in bad {
            complain(&format!("{why:#}"));
        }
        names = ("more process", "more processes");
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// Asks who was not asked yet. What they start meanwhile is found by the next look.
fn ask_new(asker: &mut Asker, system: &System, cgroup: &Cgroup) -> Result<()> {
    loop {
        let mut pids = cgroup.pids(system)?;
        asker.keep(&pids);
        pids.retain(|pid| !asker.has_asked(*pid));
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            ask(asker, pid);
        }
    }
}

/// How many have done so, and why others have not.
fn sorted(answers: Vec<Answer>, wish: Wish) -> (u64, Vec<anyhow::Error>) {
    let (mut good, mut bad) = (0, Vec::new());
    for (pid, answer) in answers {
        match answer.as_ref().map_err(|error| error.raw_os_error()) {
            Ok(()) => good += 1,
            // It has ended meanwhile, or is a kernel thread.
            Err(Some(libc::ESRCH | libc::EINVAL)) => {}
            Err(_) => bad.extend(answer.err().map(|error| refused(pid, wish, &error))),
        }
    }
    (good, bad)
}
