//! Commands as text again: what `jobs` lists, and what a second shell is given to run. Parsing the text gives the same
//! command.

use crate::lex::{Part, Redirection, Word};
use crate::parse::{Command, Condition, Job, Pipeline};
use core::fmt::{Display, Formatter, Result, Write};

fn word(f: &mut Formatter<'_>, word: &Word) -> Result {
    for part in word {
        match part {
            Part::Text { text, quoted: false } => f.write_str(text)?,
            Part::Text { text, quoted: true } => {
                f.write_char('\'')?;
                for c in text.chars() {
                    if c == '\'' { f.write_str("'\\''")? } else { f.write_char(c)? }
                }
                f.write_char('\'')?;
            }
            Part::Variable { name, quoted: false } => write!(f, "${{{name}}}")?,
            Part::Variable { name, quoted: true } => write!(f, "\"${{{name}}}\"")?,
        }
    }
    Ok(())
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut space = "";
        for (name, value) in &self.assignments {
            write!(f, "{space}{name}=")?;
            word(f, value)?;
            space = " ";
        }
        for w in &self.words {
            f.write_str(space)?;
            word(f, w)?;
            space = " ";
        }
        for redirect in &self.redirects {
            let operator = match redirect.operator {
                Redirection::Input => "<",
                Redirection::Output => ">",
                Redirection::Append => ">>",
                Redirection::Duplicate => ">&",
            };
            write!(f, "{space}{}{operator}", redirect.fd)?;
            word(f, &redirect.target)?;
            space = " ";
        }
        Ok(())
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(if self.negated { "! " } else { "" })?;
        for (i, command) in self.commands.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " | " })?;
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Job {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (condition, pipeline) in &self.pipelines {
            f.write_str(match condition {
                Condition::Always => "",
                Condition::Success => " && ",
                Condition::Failure => " || ",
            })?;
            pipeline.fmt(f)?;
        }
        Ok(())
    }
}
