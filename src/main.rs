//! The `courier` command; see `courier --help`.

fn main() -> std::process::ExitCode {
    courier::cli::run()
}

/// What shards free they keep at hand.
#[global_allocator]
static BLOCKS: courier::stdx::blocks::Blocks = courier::stdx::blocks::Blocks;
