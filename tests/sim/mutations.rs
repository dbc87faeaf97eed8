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
const PARTS: [&str; 9] =
    ["Cargo.toml", "Cargo.lock", "src", "lanes", "shards", "tests", "tools", "perf", "fuzz"];

struct Mutation {
    name: &'static str,
    file: &'static str,
    line: &'static str,
    broken: &'static str,
}

const MUTATIONS: [Mutation; 44] = [
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
    Mutation {
        name: "publish before the manifest is durable",
        file: "shards/src/log/release.rs",
        line: "        self.write_manifest_slot();\n    }\n\n    fn write",
        broken: "        let number = manifest.number;\n        \
                 self.released.manifest = None;\n        \
                 self.transferred.push_back(LogEvent::ManifestWritten { number });\n    }\n\n    \
                 #[allow(dead_code)]\n    fn write",
    },
    Mutation {
        name: "forget who died while columns were written",
        file: "shards/src/space/section_writer.rs",
        line: "section.bury(row, *at);",
        broken: "let _ = (row, at, &section);",
    },
    Mutation {
        name: "save no tombstones",
        file: "shards/src/consolidation/saving.rs",
        line: "dead.into_iter().filter(|(_, died)| *died <= through)",
        broken: "dead.into_iter().filter(|(_, died)| *died > through)",
    },
    Mutation {
        name: "save deaths that are not durable",
        file: "shards/src/consolidation/saving.rs",
        line: "dead.into_iter().filter(|(_, died)| *died <= through)",
        broken: "dead.into_iter().filter(|_| true)",
    },
    Mutation {
        name: "forget whose links changed while columns were written",
        file: "shards/src/space/section_writer.rs",
        line: "section.relinked.set(row);",
        broken: "let _ = (row, &section);",
    },
    Mutation {
        name: "take links away that changed since the freeze",
        file: "shards/src/space/links.rs",
        line: "if overlay.changed <= through && !stays(*row) {",
        broken: "if !stays(*row) {",
    },
    Mutation {
        name: "forget what was superseded while columns were written",
        file: "shards/src/space/section_writer.rs",
        line: "section.supersessions.set(row, superseded.clone(), at);",
        broken: "let _ = (row, superseded, at);",
    },
    Mutation {
        name: "save nothing of what was superseded behind a columns file",
        file: "shards/src/consolidation/saving.rs",
        line: "self.writer.push(&StateRecord::Superseded(record));",
        broken: "drop(record);",
    },
    Mutation {
        name: "leave what superseded what is erased in the log",
        file: "shards/src/eraser.rs",
        line: "(supersede.space, supersede.id, false)",
        broken: "(supersede.space, supersede.by, false)",
    },
    Mutation {
        name: "leave as it is what is superseded and comes again",
        file: "shards/src/shard/same.rs",
        line: "            && part.superseded(at.row, u64::MAX).is_none()\n",
        broken: "",
    },
    Mutation {
        name: "leave links of what is erased in the log",
        file: "shards/src/eraser.rs",
        line: "(link.space, link.from, false)",
        broken: "(link.space, link.to, false)",
    },
    Mutation {
        name: "save no idempotency keys",
        file: "shards/src/consolidation/saving.rs",
        line: "self.writer.push(&StateRecord::Keys(keys));",
        broken: "",
    },
    Mutation {
        name: "freeze what is applied and not durable",
        file: "shards/src/consolidation/deciding.rs",
        line: "if memory.applied != place.through_sequence || ground.is_erasing {",
        broken: "if ground.is_erasing {",
    },
    Mutation {
        name: "copy what is being erased",
        file: "shards/src/consolidation/deciding.rs",
        line: "if memory.applied != place.through_sequence || ground.is_erasing {",
        broken: "if memory.applied != place.through_sequence {",
    },
    Mutation {
        name: "answer an erase before the columns are merged",
        file: "shards/src/shard/consolidate.rs",
        line: "let request = if is_in_columns { self.consolidator.ask(true) } else { 0 };",
        broken: "let request = if is_in_columns { 0 } else { 0 };",
    },
    Mutation {
        name: "answer before the older files are gone",
        file: "shards/src/shard/consolidate.rs",
        line: "*request <= consolidator.done() && is_settled {",
        broken: "*request <= consolidator.done() && (is_settled || true) {",
    },
    Mutation {
        name: "take a merge that was asked for later for done",
        file: "shards/src/consolidation/publishing.rs",
        line: "        self.failure = None;\n",
        broken: "        self.failure = None;\n        self.is_full = false;\n",
    },
    Mutation {
        name: "forget the highest space number",
        file: "shards/src/consolidation/restore.rs",
        line: "memory.last_space = reader.header().last_space;",
        broken: "",
    },
    Mutation {
        name: "name files that are not flushed",
        file: "shards/src/consolidation/files.rs",
        line: "        io.seal_file(self.file);\n        self.life = Life::Sealing;\n        \
               Ok(Advanced::Waits)",
        broken: "        self.life = Life::Sealed;\n        let _ = io;\n        \
                 Ok(Advanced::Waits)",
    },
    Mutation {
        name: "spread from episodes that are gone",
        file: "shards/src/space/associations.rs",
        line: "let Some((part, row)) = self.live_row(node) else { return self.look_up(node) };",
        broken: "let Some((part, row)) = self.row(node) else { return self.look_up(node) };",
    },
    Mutation {
        name: "spread along links as they were",
        file: "shards/src/space/fresh.rs",
        line: "        self.laid.remove(&row);\n",
        broken: "        let _ = row;\n",
    },
    Mutation {
        name: "spread nowhere though it is stored by now",
        file: "shards/src/space/fresh.rs",
        line: "laid.nowhere_at.is_none_or(|at| at == added)",
        broken: "laid.nowhere_at.is_none_or(|_| added > 0)",
    },
    Mutation {
        name: "hand mass over again when rows have moved",
        file: "shards/src/spreading/outgoing.rs",
        line: "self.owed = self.had.by_id();",
        broken: "self.owed.clear();",
    },
    Mutation {
        name: "hide nothing that has expired",
        file: "shards/src/memory.rs",
        line: "if now_us < self.next_expiry_us {",
        broken: "if true {",
    },
    Mutation {
        name: "write columns without when rows expire",
        file: "shards/src/space/section_writer.rs",
        line: "ColumnKind::Expiries => self.has_expiries,",
        broken: "ColumnKind::Expiries => false,",
    },
    Mutation {
        name: "go round and round while the disk works",
        file: "src/server/core.rs",
        line: "        self.may_work = false;\n",
        broken: "",
    },
    Mutation {
        name: "forget what is too young to be forgotten",
        file: "shards/src/space/fading.rs",
        line: "recorded_at_us) >= kept_us",
        broken: "recorded_at_us) >= kept_us.min(0)",
    },
    Mutation {
        name: "forget nothing that has faded",
        file: "shards/src/shard/lapses.rs",
        line: "if !is_due || !may_log",
        broken: "if true || !is_due || !may_log",
    },
    Mutation {
        name: "trust whoever is not named",
        file: "shards/src/trust.rs",
        line: "self.others.unwrap_or(1.0)",
        broken: "1.0",
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
