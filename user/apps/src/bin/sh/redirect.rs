//! Where the standard streams of a command lead: the pipeline first, then its redirections from left to right.

use crate::state::Shell;
use alloc::string::{String, ToString};
use rt::fs::{File, OpenOptions};
use rt::io;
use rt::process::Stdio;
use shell::expand;
use shell::lex::Redirection;
use shell::parse::Redirect;

/// Standard input, output and error; `None` is the shell's own.
#[derive(Debug, Default)]
pub struct Streams(pub [Option<File>; 3]);

impl Streams {
    /// Applies redirections.
    ///
    /// # Errors
    /// What to tell the user.
    pub fn redirect(&mut self, shell: &Shell, redirects: &[Redirect]) -> Result<(), String> {
        for redirect in redirects {
            let target = expand::text(&redirect.target, shell);
            let file = match redirect.operator {
                Redirection::Duplicate => self.duplicate(&target),
                operator => open(operator, &target),
            };
            let file = file.map_err(|error| alloc::format!("{target}: {error}"))?;
            match self.0.get_mut(redirect.fd as usize) {
                Some(slot) => *slot = Some(file),
                None => return Err("only descriptors 0, 1 and 2 can be redirected".to_string()),
            }
        }
        Ok(())
    }

    fn duplicate(&self, target: &str) -> io::Result<File> {
        let invalid = io::Error::new(io::ErrorKind::InvalidInput, "not a descriptor of this command");
        let number: usize = target.parse().map_err(|_| invalid)?;
        match self.0.get(number) {
            Some(Some(file)) => file.try_clone(),
            Some(None) => File::duplicate(number as i32),
            None => Err(invalid),
        }
    }

    /// A stream as a new program takes it.
    pub fn stdio(&mut self, number: usize) -> Stdio {
        self.0[number].take().map_or(Stdio::Inherit, Stdio::File)
    }
}

fn open(operator: Redirection, path: &str) -> io::Result<File> {
    match operator {
        Redirection::Input => File::open(path),
        Redirection::Append => OpenOptions::new().append(true).create(true).open(path),
        _ => File::create(path),
    }
}
