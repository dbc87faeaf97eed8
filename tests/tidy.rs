//! The house style that a machine can check.
//!
//! Every check is a function from files to violations. One test runs it over the repository and
//! lists what it found; a second one runs it over a bad example in memory, so that a check that
//! went blind is noticed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const LINES_MAX: usize = 800;
const COLUMNS_MAX: usize = 100;

/// A text file; the path is relative to the repository and has forward slashes.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines with their numbers, which start at 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository that people write.
fn repository() -> Vec<File> {
    let mut files = Vec::new();
    collect(root(), &mut files);
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the repository was not found");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let skipped = name == "target" || (name.starts_with('.') && name != ".ci");
        if skipped {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            collect(&path, files);
            continue;
        }
        let written_by_people = ["rs", "md", "toml", "sh", "py", "service", "socket"]
            .iter()
            .any(|extension| path.extension().is_some_and(|have| have == *extension))
            || ["Makefile", "run"].contains(&name.as_str());
        if written_by_people && let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
}

fn assert_tidy(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}\n", violations.join("\n  "));
}

/// An example for a check's own test.
fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

// ---- Reading Rust --------------------------------------------------------------------------

/// The text with comments and literals blanked out; lines keep their numbers.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blank = literal_or_comment(rest, code.chars().next_back());
        if blank == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..blank].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[blank..];
        }
    }
    code
}

/// Bytes of the comment or literal that `rest` begins with; 0 when it begins with code.
fn literal_or_comment(rest: &str, before: Option<char>) -> usize {
    let until = |needle: &str, from: usize| {
        rest[from..].find(needle).map_or(rest.len(), |at| from + at + needle.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let in_word = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    if rest.starts_with('r') && (!in_word || before == Some('b')) {
        let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
        if rest[1 + hashes..].starts_with('"') {
            return until(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
        }
    }
    if rest.starts_with('"') || rest.starts_with("'\\") {
        return quoted(rest.as_bytes());
    }
    // A lifetime has no closing quote; a character has one right behind itself.
    let mut chars = rest.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some(letter), Some('\'')) => 2 + letter.len_utf8(),
        _ => 0,
    }
}

fn quoted(rest: &[u8]) -> usize {
    let mut end = 1;
    while end < rest.len() && rest[end] != rest[0] {
        end += if rest[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(rest.len())
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut end) = (0, 0);
    while end < rest.len() {
        match &rest.as_bytes()[end..] {
            [b'/', b'*', ..] => (depth, end) = (depth + 1, end + 2),
            [b'*', b'/', ..] => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            break;
        }
    }
    end
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where a name stands as a whole word.
fn positions(code: &str, name: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    code.match_indices(name)
        .map(|(at, _)| at)
        .filter(|&at| {
            let (before, after) = (at.checked_sub(1), at + name.len());
            !before.is_some_and(|before| is_word(bytes[before]))
                && !bytes.get(after).is_some_and(|byte| is_word(*byte))
        })
        .collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[test]
fn comments_and_literals_are_not_code() {
    let text =
        "a /* b /* c */ d */ e // f\n\"g \\\" h\" i r#\"j \" k\"# br\"\\\" l 'm' '\\'' <'n> 'é' o";
    let words: Vec<String> = code_of(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "e", "i", "b", "l", "<'n>", "o"]);
    assert_eq!(code_of(text).lines().count(), 2);
}

// ---- Imports -------------------------------------------------------------------------------

/// Names that may be used only in some places.
struct Direction {
    names: &'static [&'static str],
    /// Where the rule looks; empty means everywhere.
    within: &'static [&'static str],
    /// Where the names are at home.
    except: &'static [&'static str],
    why: &'static str,
}

const DIRECTIONS: [Direction; 7] = [
    Direction {
        names: &["engramd", "glommio", "tokio", "std::thread", "std::net", "SystemTime", "Instant"],
        within: &["shards/src/"],
        except: &[],
        why: "the engine is passive: time, threads and sockets belong to the daemon",
    },
    Direction {
        names: &["engram_tools"],
        within: &[],
        except: &["tools/"],
        why: "the tools stand on top; nothing imports them",
    },
    Direction {
        names: &["engram_perf"],
        within: &[],
        except: &["perf/"],
        why: "the benchmarks stand on top; nothing imports them",
    },
    Direction {
        names: &["glommio"],
        within: &[],
        except: &["src/runtime/", "perf/src/queue_"],
        why: "replacing the runtime must stay a job of one folder; perf races its channel",
    },
    Direction {
        names: &["memmap2"],
        within: &[],
        except: &["shards/src/arena.rs", "perf/"],
        why: "all mapped memory is in one file that states its danger; perf probes with its own",
    },
    Direction {
        names: &["io_uring"],
        within: &[],
        except: &["shards/src/io/", "perf/"],
        why: "the log's ring is behind the engine's I/O seam; perf probes the machine with its own",
    },
    Direction {
        names: &["axum", "tokio", "hyper"],
        within: &[],
        except: &["src/edge/"],
        why: "the edge has one thread of its own; the shards run no second runtime",
    },
];

fn wrong_imports(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let code = code_of(&file.text);
        let applies = |rule: &&Direction| {
            let under = |prefixes: &[&str]| prefixes.iter().any(|at| file.path.starts_with(at));
            (rule.within.is_empty() || under(rule.within)) && !under(rule.except)
        };
        for rule in DIRECTIONS.iter().filter(applies) {
            for name in rule.names {
                for at in uses_of(&code, name) {
                    let line = line_of(&code, at);
                    violations.push(format!("{}:{line} names {name}: {}", file.path, rule.why));
                }
            }
        }
    }
    violations
}

/// Where a name or a path of two names is used, also as `std::{net, thread}`.
fn uses_of(code: &str, name: &str) -> Vec<usize> {
    let mut found = positions(code, name);
    if let Some((parent, child)) = name.split_once("::") {
        let group = format!("{parent}::{{");
        for (at, _) in code.match_indices(&group) {
            let body = &code[at + group.len()..];
            let body = &body[..body.find(';').unwrap_or(body.len())];
            if !positions(body, child).is_empty() {
                found.push(at);
            }
        }
    }
    found
}

#[test]
fn imports_point_one_way() {
    assert_tidy("imports against the direction of the design", &wrong_imports(&repository()));
}

#[test]
fn imports_check_sees_a_wrong_one() {
    let files = [
        file("shards/src/log.rs", "use std::time::Instant;\n// Instant\nuse std::{fs, thread};"),
        file("src/server.rs", "fn f() { glommio::spawn_local(\"glommio\"); memmap2::x(); }"),
        file("src/runtime/a.rs", "use glommio::x; use instant::InstantLike;"),
        file("perf/src/probe.rs", "use io_uring::IoUring; use engram_tools::x;"),
    ];
    let places: Vec<String> = wrong_imports(&files)
        .iter()
        .map(|violation| violation.split(':').take(2).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(
        places,
        [
            "shards/src/log.rs:3 names std",
            "shards/src/log.rs:1 names Instant",
            "src/server.rs:1 names glommio",
            "src/server.rs:1 names memmap2",
            "perf/src/probe.rs:1 names engram_tools",
        ]
    );
}

// ---- Unsafe --------------------------------------------------------------------------------

/// Unsafe blocks and impls without a `SAFETY:` comment on their statement.
fn unexplained_unsafe(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let code = code_of(&file.text);
        let code_lines: Vec<&str> = code.lines().collect();
        let lines: Vec<&str> = file.text.lines().collect();
        for at in positions(&code, "unsafe") {
            let after = code[at + "unsafe".len()..].trim_start();
            if !after.starts_with('{') && !after.starts_with("impl") {
                continue;
            }
            let line = line_of(&code, at) - 1;
            if !lines[line].contains("SAFETY:") && !explained_above(&lines, &code_lines, line) {
                violations.push(format!("{}:{}", file.path, line + 1));
            }
        }
    }
    violations
}

/// Looks upwards through comments, attributes and the beginning of the same statement.
fn explained_above(lines: &[&str], code_lines: &[&str], line: usize) -> bool {
    for above in (0..line).rev() {
        if lines[above].trim_start().starts_with("//") && lines[above].contains("SAFETY:") {
            return true;
        }
        let code = code_lines[above].trim_end();
        let attribute = code.trim_start().starts_with("#[");
        let statement_before = code.ends_with([';', '{', '}', ',']) && !attribute;
        if lines[above].trim().is_empty() || statement_before {
            return false;
        }
    }
    false
}

#[test]
fn unsafe_is_explained() {
    assert_tidy("unsafe without a SAFETY: comment", &unexplained_unsafe(&repository()));
}

#[test]
fn unsafe_check_sees_a_bare_block() {
    let text = "\
// SAFETY: of the one above only
let a = unsafe { f() };
let b = unsafe { f() };
// SAFETY: the statement starts on the next line
let c = g(
    unsafe { f() });
unsafe fn declared() {}
// SAFETY: no fields
#[cfg(x)]
unsafe impl Send for A {}

unsafe impl Sync for A {}
let d = \"unsafe { }\";
";
    let found = unexplained_unsafe(&[file("src/a.rs", text)]);
    assert_eq!(found, ["src/a.rs:3", "src/a.rs:12"]);
}

// ---- Size ----------------------------------------------------------------------------------

fn long_files(files: &[File]) -> Vec<String> {
    let excused = |file: &&File| file.text.starts_with("// tidy: long because ");
    files
        .iter()
        .filter(|file| file.is_rust() && !excused(file))
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect()
}

#[test]
fn files_are_short_or_say_why_not() {
    let rule = format!(
        "more than {LINES_MAX} lines: split the file, or begin it with `// tidy: long because …`"
    );
    assert_tidy(&rule, &long_files(&repository()));
}

#[test]
fn size_check_sees_a_long_file() {
    let long = "x\n".repeat(LINES_MAX + 1);
    let excused = format!("// tidy: long because it is a table\n{long}");
    let files = [
        file("src/long.rs", &long),
        file("src/fits.rs", &long[2..]),
        file("src/excused.rs", &excused),
    ];
    assert_eq!(long_files(&files), [format!("src/long.rs: {} lines", LINES_MAX + 1)]);
}

fn wide_lines(files: &[File]) -> Vec<String> {
    let excused = |file: &&File| file.lines().take(3).any(|(_, line)| line == "// tidy: wide");
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !excused(file)) {
        for (number, line) in file.lines() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !line.contains("https://") {
                violations.push(format!("{}:{number}: {columns} columns", file.path));
            }
        }
    }
    violations
}

#[test]
fn lines_fit_the_page() {
    let rule = format!("lines of more than {COLUMNS_MAX} columns");
    assert_tidy(&rule, &wide_lines(&repository()));
}

#[test]
fn width_check_sees_a_wide_line() {
    let wide = "é".repeat(COLUMNS_MAX + 1);
    let files = [
        file("src/wide.rs", &format!("{}\n{wide}", "é".repeat(COLUMNS_MAX))),
        file("src/excused.rs", &format!("// tidy: wide\n{wide}")),
        file("src/link.rs", &format!("// https://{wide}")),
    ];
    assert_eq!(wide_lines(&files), ["src/wide.rs:2: 101 columns"]);
}

// ---- Documents -----------------------------------------------------------------------------

/// Paths in backticks and in links of documents that do not exist, from the repository's root or
/// from the document's folder. Lines that speak of what is planned or under way are left out.
fn dead_paths(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut violations = Vec::new();
    for document in files.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = document.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut fenced = false;
        for (number, line) in document.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced || line.contains("planned") || line.contains("this release") {
                continue;
            }
            for path in paths_in(line) {
                if !exists(path) && !exists(&format!("{folder}/{path}")) {
                    violations.push(format!("{}:{number}: {path}", document.path));
                }
            }
        }
    }
    violations
}

/// What a path in the repository ends with; others, such as the names of data files, are not ours.
const EXTENSIONS: [&str; 13] = [
    "rs", "md", "toml", "lock", "sh", "py", "service", "socket", "sysusers", "json", "jsonl",
    "npy", "html",
];
const FOLDERS: [&str; 8] =
    ["src/", "shards/", "tools/", "perf/", "systemd/", "tests/", "docs/", "scripts/"];

/// `folder/file.ext`, `src/folder/` and the targets of relative links.
fn paths_in(line: &str) -> Vec<&str> {
    let in_backticks = line.split('`').skip(1).step_by(2);
    let named = in_backticks.map(|text| text.split(':').next().unwrap_or(text)).filter(|text| {
        let extension = text.rsplit_once('.').map(|(_, extension)| extension);
        let is_file = text.contains('/') && extension.is_some_and(|it| EXTENSIONS.contains(&it));
        let is_folder =
            text.ends_with('/') && FOLDERS.iter().any(|folder| text.starts_with(folder));
        let plain = |byte: u8| is_word(byte) || b"/.-".contains(&byte);
        let outside = text.starts_with(['/', '.']) || text.starts_with("target/");
        (is_file || is_folder) && !outside && text.bytes().all(plain)
    });
    let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
    let relative = |link: &&str| !link.is_empty() && !link.contains(':') && !link.starts_with('/');
    named.chain(links.filter(relative)).collect()
}

#[test]
fn documents_name_what_exists() {
    let exists = |path: &str| root().join(path.trim_start_matches('/')).exists();
    assert_tidy("documents that name missing files", &dead_paths(&repository(), exists));
}

#[test]
fn documents_check_sees_a_dead_path() {
    let text = "\
See `src/gone.rs:12`, `src/here.rs`, `here.rs`, `docs/gone/`, `/etc/gone.toml`, `a b/c.rs`.
[link](gone.md#part) [link](../src/here.rs) [link](https://example.org/x.md)
```
`src/gone.rs`
```
| `src/later.rs` | planned: later |
";
    let known = ["src/here.rs", "docs/../src/here.rs"];
    let found = dead_paths(&[file("docs/a.md", text)], |path| known.contains(&path));
    assert_eq!(
        found,
        ["docs/a.md:1: src/gone.rs", "docs/a.md:1: docs/gone/", "docs/a.md:2: gone.md"]
    );
}

// ---- Loose ends ----------------------------------------------------------------------------

/// Markers of unfinished work; written in halves so that this file does not contain them.
const MARKERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

fn ownerless_markers(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            for marker in MARKERS {
                let owned = |at: usize| {
                    let name = line[at + marker.len()..].strip_prefix('(');
                    name.and_then(|name| name.split_once(')'))
                        .is_some_and(|(name, _)| !name.is_empty())
                };
                if positions(line, marker).into_iter().any(|at| !owned(at)) {
                    violations.push(format!("{}:{number}: {}", file.path, line.trim()));
                }
            }
        }
    }
    violations
}

#[test]
fn loose_ends_have_an_owner() {
    let rule = format!("{} without an owner in parentheses", MARKERS.join(", "));
    assert_tidy(&rule, &ownerless_markers(&repository()));
}

#[test]
fn loose_ends_check_sees_a_marker() {
    let [first, second, third] = MARKERS;
    let text = format!("// {first}: a\n// {second}(ada): b\n{third}\n{third}{third}\n{first}()");
    let lines: Vec<String> = ownerless_markers(&[file("src/a.rs", &text)])
        .iter()
        .map(|violation| violation.split(':').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(lines, ["1", "3", "5"]);
}

// ---- CI ------------------------------------------------------------------------------------

/// Commands of CI's script other than calling make and saying so.
fn work_in_ci(files: &[File]) -> Vec<String> {
    let Some(run) = files.iter().find(|file| file.path == ".ci/run") else {
        return vec![".ci/run is missing".to_owned()];
    };
    let allowed = ["set ", "cd ", "make ", "echo ", "started="];
    run.lines()
        .map(|(number, line)| (number, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .filter(|(_, line)| !allowed.iter().any(|command| line.starts_with(command)))
        .map(|(number, line)| format!(".ci/run:{number}: {line}"))
        .collect()
}

#[test]
fn ci_only_calls_make() {
    assert_tidy("CI does what nobody can do by hand with make", &work_in_ci(&repository()));
}

#[test]
fn ci_check_sees_other_work() {
    let text = "#!/bin/sh\nset -e\nmake lint\ncargo test\n";
    assert_eq!(work_in_ci(&[file(".ci/run", text)]), [".ci/run:4: cargo test"]);
    assert_eq!(work_in_ci(&[]), [".ci/run is missing"]);
}

// ---- Coverage of the requirements ----------------------------------------------------------

/// How many lines each part of the requirement ledger has; 409 together.
const LEDGER: [usize; 5] = [58, 62, 86, 108, 95];
const STATUSES: [&str; 4] = ["shown", "this release", "planned", "replaced"];

/// Ids that are missing, repeated or unknown, and rows without a status or a place.
fn coverage_gaps(text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let mut seen: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let is_row = |line: &str| {
        line.strip_prefix("| S").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    for (index, line) in text.lines().enumerate().filter(|(_, line)| is_row(line)) {
        let number = index + 1;
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [ids, _, status, place] = cells[..] else {
            violations.push(format!("line {number}: {} cells instead of 4", cells.len()));
            continue;
        };
        if !STATUSES.contains(&status) {
            violations.push(format!("line {number}: unknown status {status:?}"));
        }
        if place.is_empty() || (status == "shown" && !place.contains('`')) {
            violations.push(format!("line {number}: {status} without a place"));
        }
        for range in ids.split(',').map(str::trim) {
            match expand(range) {
                Some(ids) => ids.for_each(|id| *seen.entry(id).or_default() += 1),
                None => violations.push(format!("line {number}: {range:?} is not an id or range")),
            }
        }
    }
    for (part, lines) in LEDGER.into_iter().enumerate() {
        for line in 1..=lines {
            match seen.remove(&(part, line)).unwrap_or(0) {
                1 => {}
                0 => violations.push(format!("S{part}-{line} is missing")),
                times => violations.push(format!("S{part}-{line} is listed {times} times")),
            }
        }
    }
    violations.extend(seen.keys().map(|(part, line)| format!("S{part}-{line} does not exist")));
    violations
}

/// `S1-7` or `S1-7…9` as (part, line) pairs.
fn expand(range: &str) -> Option<impl Iterator<Item = (usize, usize)>> {
    let (part, lines) = range.strip_prefix('S')?.split_once('-')?;
    let (first, last) = lines.split_once('…').unwrap_or((lines, lines));
    let (part, first, last): (usize, usize, usize) =
        (part.parse().ok()?, first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| (first..=last).map(move |line| (part, line)))
}

#[test]
fn every_requirement_is_covered_once() {
    let text = fs::read_to_string(root().join("docs/COVERAGE.md")).unwrap();
    assert_tidy("docs/COVERAGE.md", &coverage_gaps(&text));
}

#[test]
fn coverage_check_sees_gaps() {
    let mut text = String::new();
    for (part, lines) in LEDGER.into_iter().enumerate() {
        writeln!(text, "| S{part}-1…{lines} | all of it | shown | `src/lib.rs` |").unwrap();
    }
    assert_eq!(coverage_gaps(&text), [""; 0]);
    assert_eq!(LEDGER.iter().sum::<usize>(), 409);

    let broken = text
        .replace("| S0-1…58 |", "| S0-1…5, S0-5…56, S0-60 |")
        .replace("| S1-1…62 | all of it | shown |", "| S1-1…62 | all of it | done |")
        .replace("| S2-1…86 | all of it | shown | `src/lib.rs` |", "| S2-9…1 | a | shown | b |")
        .replace("| S3-1…108 | all of it |", "| S3-1…108 |");
    let found = coverage_gaps(&broken);
    for part in [
        "line 2: unknown status \"done\"",
        "line 3: shown without a place",
        "line 3: \"S2-9…1\" is not an id or range",
        "line 4: 3 cells instead of 4",
        "S0-5 is listed 2 times",
        "S0-57 is missing",
        "S0-60 does not exist",
        "S2-86 is missing",
        "S3-1 is missing",
    ] {
        assert!(found.iter().any(|violation| violation == part), "{part} in {found:#?}");
    }
}
