//! The `courier` command; see `courier --help`.

fn main() -> std::process::ExitCode {
    courier::cli::run()
}
