//! What the newcomer sees: a line for every step, with a bar while it runs.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Number of steps.
const STEPS: usize = 9;

/// Writes to standard error, so that standard output is for the summary.
pub struct Display {
    on_terminal: bool,
}

/// A step under way.
pub struct Step {
    bar: ProgressBar,
    heading: String,
    started: Instant,
    on_terminal: bool,
}

impl Display {
    /// Draws bars on a terminal, plain lines elsewhere.
    pub fn new() -> Self {
        Self { on_terminal: std::io::stderr().is_terminal() }
    }

    /// Begins the step with this number.
    pub fn step(&self, number: usize, title: &str) -> Step {
        let heading = format!("{number}/{STEPS} {title}");
        let bar = ProgressBar::new_spinner();
        if self.on_terminal {
            // The template is a constant; indicatif's own default is as good.
            let style = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            bar.set_style(style);
            bar.set_prefix(heading.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Step { bar, heading, started: Instant::now(), on_terminal: self.on_terminal }
    }
}

impl Step {
    /// Says what is being done now.
    pub fn now(&self, message: &str) {
        self.bar.set_message(message.to_owned());
    }

    /// A function that shows how many of `total` are done.
    pub fn counter(&self, total: usize, what: &str) -> impl Fn(usize) + Sync + use<> {
        let (bar, what) = (self.bar.clone(), what.to_owned());
        move |done| bar.set_message(format!("{done} of {total} {what}"))
    }

    /// Ends the step; `lines` say what came of it. Gives the seconds it took.
    pub fn done(self, lines: &[String]) -> f64 {
        let seconds = self.started.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        let mark = if self.on_terminal { "\u{1b}[32m✓\u{1b}[0m" } else { "✓" };
        eprintln!("{mark} {} ({seconds:.1} s)", self.heading);
        for line in lines {
            eprintln!("    {line}");
        }
        seconds
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
