// SPDX-License-Identifier: GPL-2.0

//! The subcommands.

pub mod doctor;
pub mod enrol;
pub mod export;
pub mod generate;
pub mod pages;
pub mod record;
pub mod report;
pub mod status;
pub mod top;
pub mod tune;
pub mod why;

use anyhow::Result;

use crate::{
    cli::{Cli, Command},
    system::{enrolment::Wish, System},
};

pub fn run(cli: Cli) -> Result<()> {
    let system = System::new(cli.root);
    match cli.command {
        Command::Pages(args) => pages::run(&system, &args),
        Command::Status(args) => status::run(&system, &args),
        Command::Top(args) => top::run(&system, &args),
        Command::Record(args) => record::run(&system, &args),
        Command::Report(args) => report::run(&args),
        Command::Export(args) => export::run(&system, &args),
        Command::Tune(args) => tune::run(&system, &args),
        Command::Enrol(args) => enrol::run(&system, &args, Wish::Enrol),
        Command::Release(args) => enrol::run(&system, &args, Wish::Release),
        Command::Doctor(args) => doctor::run(&system, &args),
        Command::Generate(args) => generate::run(&args),
        Command::Why(args) => why::run(&system, &args),
    }
}
