// SPDX-License-Identifier: GPL-2.0

//! What a check has found.

use serde::Serialize;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// It works, and may not be what somebody wants.
    Warning,
    /// It does not work.
    Problem,
}

impl State {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// Who reads the JSON depends on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub state: State,
    pub evidence: String,
    /// Empty where nothing is to be done.
    pub remedy: String,
}

impl Finding {
    pub fn ok(check: &'static str, evidence: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            evidence: evidence.into(),
            remedy: String::new(),
        }
    }

    /// It matters some day, and not now.
    pub fn soften(&mut self) {
        if self.state == State::Problem {
            self.state = State::Warning;
        }
    }

    pub fn warning(
        check: &'static str,
        evidence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Warning,
            remedy: remedy.into(),
            ..Self::ok(check, evidence)
        }
    }

    pub fn problem(
        check: &'static str,
        evidence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Problem,
            remedy: remedy.into(),
            ..Self::ok(check, evidence)
        }
    }
}
