//! What the examples share: their command lines.

use emberform::{Device, Result};

/// The arguments of an example: `--name value` options, and the rest in order.
pub struct Arguments {
    options: Vec<(String, String)>,
    rest: Vec<String>,
}

impl Arguments {
    /// Reads the command line; prints `usage` and ends the program when an option is not in
    /// `known` or has no value.
    pub fn read(usage: &str, known: &[&str]) -> Arguments {
        let mut arguments = Arguments { options: vec![], rest: vec![] };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => match words.next() {
                    Some(value) if known.contains(&name) => {
                        arguments.options.push((name.to_string(), value));
                    }
                    _ => stop(usage),
                },
                None => arguments.rest.push(word),
            }
        }
        arguments
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The value of an option as a number, or `default`.
    pub fn number(&self, name: &str, default: usize) -> usize {
        match self.option(name).map(str::parse) {
            None => default,
            Some(Ok(number)) => number,
            Some(Err(_)) => stop(&format!("--{name} takes a whole number")),
        }
    }

    /// The option `--device`; the default is `auto`.
    ///
    /// # Errors
    /// When its text names no device.
    pub fn device(&self) -> Result<Device> {
        self.option("device").unwrap_or("auto").parse()
    }

    /// The argument at place `i`, or `default`.
    pub fn at<'a>(&'a self, i: usize, default: &'a str) -> &'a str {
        self.rest.get(i).map_or(default, String::as_str)
    }

    /// The arguments from place `i` on.
    pub fn from(&self, i: usize) -> &[String] {
        self.rest.get(i..).unwrap_or_default()
    }
}

fn stop(usage: &str) -> ! {
    eprintln!("{usage}");
    std::process::exit(2)
}
