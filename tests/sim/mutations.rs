//! Does the simulator notice when a safety line is missing?
//!
//! Each entry breaks one line that keeps a promise. `make mutations` copies the tree to
//! `target/mutants`, breaks one line at a time, builds, and demands that the simulator fails. That
//! every line is still there, once, is checked by every `make test`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seeds that a broken tree has to survive to count as unnoticed.
const SEEDS: &str = "3000";
/// What is copied of the tree.
const PARTS: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "src", "shards", "tests", "tools", "perf", "fuzz"];

struct Mutation {
    name: &'static str,
    file: &'static str,
    line: &'static str,
    broken: &'static str,
}

const MUTATIONS: [Mutation; 15] = [
    Mutation {
        name: "acknowledge before the flush",
        file: "shards/src/shard/mod.rs",
        line: "pending.progress = match pending.durability {",
        broken: "pending.progress = match Durability::Os {",
    },
    Mutation {
        name: "ignore a flush that failed",
        file: "shards/src/log/mod.rs",
        line: "self.latch_on(result, \"flush\");",
        broken: "drop(result);",
    },
    Mutation {
        name: "ignore a short write",
        file: "shards/src/io/mod.rs",
        line: "if transferred == bytes {",
        broken: "if transferred <= bytes {",
    },
    Mutation {
        name: "leave what a killed process wrote unflushed",
        file: "shards/src/log/recovery.rs",
        line: "io.flush(number)?;",
        broken: "let _ = number;",
    },
    Mutation {
        name: "ignore what later batches call durable",
        file: "shards/src/log/walk.rs",
        line: "behind.durable = behind.durable.max(header.durable_sequence);",
        broken: "let _ = header;",
    },
    Mutation {
        name: "ignore the anchor",
        file: "shards/src/log/walk.rs",
        line: "map_or(0, |anchor| anchor.durable_sequence);",
        broken: "map_or(0, |_| 0);",
    },
    Mutation {
        name: "ignore a frame's checksum",
        file: "shards/src/format/batch.rs",
        line: "if !frame.verifies {",
        broken: "if false {",
    },
    Mutation {
        name: "carry the wrong chain into a new segment",
        file: "shards/src/log/mod.rs",
        line: "self.submitted_chain = batch.builder.chain();",
        broken: "",
    },
    Mutation {
        name: "apply batches out of order",
        file: "shards/src/log/mod.rs",
        line: "            if !batch.applied {\n                break;\n            }\n",
        broken: "",
    },
    Mutation {
        name: "forget idempotency keys",
        file: "shards/src/memory.rs",
        line: "self.keys.insert(key, FirstAnswer { sequence, confidence });",
        broken: "let _ = (key, FirstAnswer { sequence, confidence });",
    },
    Mutation {
        name: "answer a repeated key before the first store is durable",
        file: "shards/src/shard/mod.rs",
        line: "first.filter(|first| first.sequence <= self.log.durable())",
        broken: "first",
    },
    Mutation {
        name: "take stores into a space that is being dropped",
        file: "shards/src/shard/mod.rs",
        line: "if self.changing.contains_key(&space.settings.name) {",
        broken: "if false {",
    },
    Mutation {
        name: "leave a half-done drop as it is",
        file: "src/server/serve.rs",
        line: "own.iter().filter(|space| !truth.contains(space))",
        broken: "own.iter().filter(|_| false)",
    },
    Mutation {
        name: "read before the connection's own writes",
        file: "src/server/commands.rs",
        line: "if connection.has_writes() {",
        broken: "if false {",
    },
    Mutation {
        name: "go on in a segment that is full",
        file: "shards/src/log/mod.rs",
        line: "        self.segment += 1;\n        self.offset = 0;\n",
        broken: "        self.offset = 0;\n",
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file with the line broken.
fn broken(mutation: &Mutation) -> String {
    let text = fs::read_to_string(root().join(mutation.file)).unwrap();
    let times = text.matches(mutation.line).count();
    assert_eq!(times, 1, "'{}': {} occurs {times} times", mutation.name, mutation.line);
    text.replace(mutation.line, mutation.broken)
}

#[test]
fn every_safety_line_is_where_it_was() {
    assert!(MUTATIONS.len() >= 10);
    for mutation in &MUTATIONS {
        assert_ne!(mutation.line, mutation.broken);
        broken(mutation);
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if fs::read(to).ok() != Some(fs::read(from).unwrap()) {
        // Files that are the same stay as they are, so that little is built again.
        fs::copy(from, to).unwrap();
    }
}

/// Cargo in the copy; whether it was content.
fn cargo(tree: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(tree).arg("test").args(["--test", "sim", "--quiet"]).args(arguments);
    command.env("CARGO_TARGET_DIR", tree.join("target")).env("SIM_SEEDS", SEEDS);
    command.env("RUST_BACKTRACE", "0").env_remove("SIM_SEED");
    command.output().unwrap().status.success()
}

#[test]
#[ignore = "builds the tree once for each line; make mutations"]
fn every_broken_safety_line_is_noticed() {
    let tree: PathBuf = root().join("target/mutants");
    fs::create_dir_all(&tree).unwrap();
    let only = std::env::var("MUTATION").unwrap_or_default();
    let mut unnoticed = Vec::new();
    for mutation in MUTATIONS.iter().filter(|mutation| mutation.name.contains(&only)) {
        PARTS.iter().for_each(|part| copy(&root().join(part), &tree.join(part)));
        fs::write(tree.join(mutation.file), broken(mutation)).unwrap();
        assert!(cargo(&tree, &["--no-run"]), "'{}' does not compile", mutation.name);
        let is_noticed = !cargo(&tree, &["--", "--skip", "mutations"]);
        eprintln!("{}: {}", if is_noticed { "noticed" } else { "UNNOTICED" }, mutation.name);
        if !is_noticed {
            unnoticed.push(mutation.name);
        }
    }
    assert!(unnoticed.is_empty(), "the simulator does not notice: {unnoticed:?}");
}
