//! Standard output, whose reader may leave: `tidegate status | head` is no error.

use std::{
    fmt,
    io::{self, Write},
    process,
};

/// Like `println!`, but ends the program in order when nobody reads on.
macro_rules! say {
    ($($part:tt)*) => { $crate::out::line(format_args!($($part)*)) };
}

/// Writes a line. If that cannot be done there is nothing left to do: with exit code 0 if the reader left, else 1.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    match io::stdout().lock().write_fmt(format_args!("{text}\n")) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}");
            process::exit(1);
        }
    }
}
