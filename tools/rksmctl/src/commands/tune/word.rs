// SPDX-License-Identifier: GPL-2.0

//! A word of the command line: a profile, or `KNOB=VALUE`.

use std::ffi::OsStr;

use clap::{
    builder::{PossibleValue, TypedValueParser},
    error::ErrorKind,
    Arg, Command, Error, ValueEnum,
};

use super::profile::Profile;
use crate::system::knobs::{self, Knob, Setting, KNOBS};

#[derive(Clone, Debug)]
pub enum Word {
    Profile(Profile),
    Setting(Setting),
}

/// Checks words, and tells help and completion which there are.
#[derive(Clone)]
pub struct WordParser;

impl TypedValueParser for WordParser {
    type Value = Word;

    fn parse_ref(&self, cmd: &Command, _: Option<&Arg>, word: &OsStr) -> Result<Word, Error> {
        parse(&word.to_string_lossy())
            .map_err(|why| Error::raw(ErrorKind::ValueValidation, why + "\n").with_cmd(cmd))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let profiles = Profile::value_variants()
            .iter()
            .filter_map(Profile::to_possible_value);
        let settings = KNOBS.iter().map(|knob| {
            PossibleValue::new(format!("{}=", knob.name)).help(format!(
                "{} ({})",
                knob.meaning,
                knob.takes_what()
            ))
        });
        Some(Box::new(profiles.chain(settings)))
    }
}

fn parse(word: &str) -> Result<Word, String> {
    if let Ok(profile) = Profile::from_str(word, false) {
        return Ok(Word::Profile(profile));
    }
    let Some((name, value)) = word.split_once('=') else {
        let profiles: Vec<_> = Profile::value_variants()
            .iter()
            .filter_map(Profile::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        return Err(match knobs::find(word) {
            Some(Knob { name, default, .. }) => {
                format!("{name} takes a value, {name}={default} for one")
            }
            None => format!(
                "{word} is neither a profile ({}) nor KNOB=VALUE",
                profiles.join(", ")
            ),
        });
    };
    Setting::new(name, value).map(Word::Setting)
}
