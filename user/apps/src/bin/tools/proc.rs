//! `/proc`, for the tools that show what runs.

use alloc::string::String;
use alloc::vec::Vec;
use monitor::Files;
use rt::fs::{self, File};
use rt::io::Read;

/// The files of this system.
pub struct System;

impl Files for System {
    fn text(&self, path: &str, most: usize) -> Option<String> {
        let mut file = File::open(path).ok()?;
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        while bytes.len() < most {
            let room = part.len().min(most - bytes.len());
            // A process that ends while its file is read leaves what was read.
            match file.read(&mut part[..room]) {
                Ok(0) | Err(_) => break,
                Ok(len) => bytes.extend_from_slice(&part[..len]),
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn names(&self) -> Vec<String> {
        fs::read_dir("/proc").unwrap_or_default().into_iter().map(|entry| entry.name).collect()
    }
}
