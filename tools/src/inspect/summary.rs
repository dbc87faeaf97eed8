//! `engram inspect DIR [summary | segments]`: what is in the store.

use std::collections::BTreeMap;

use engramd::config::ByteCount;
use serde_json::json;

use super::directory::Directory;
use super::survey::{Segment, State, Survey, Tail};
use crate::cli::Context;
use crate::error::ToolError;
use crate::render::{self, Align, grouped};
use crate::time::format_us;

const NOTHING: &str = "-";

pub(super) fn run(directory: &Directory, context: &Context) -> Result<(), ToolError> {
    let surveys = surveys(directory);
    if context.json {
        return render::print_json(&json!({ "store": directory.to_json(), "shards": surveys }));
    }
    let mut parts = vec![directory.text(), shard_table(&surveys)];
    parts.extend(space_table(&surveys));
    parts.extend(notes(&surveys));
    render::print(&parts.join("\n\n"))
}

pub(super) fn run_segments(directory: &Directory, context: &Context) -> Result<(), ToolError> {
    let surveys = surveys(directory);
    if context.json {
        let shards: Vec<_> = surveys.iter().map(segments_json).collect();
        return render::print_json(&json!({ "store": directory.to_json(), "shards": shards }));
    }
    let mut parts = vec![directory.text(), segment_table(&surveys)];
    parts.extend(notes(&surveys));
    render::print(&parts.join("\n\n"))
}

fn segments_json(survey: &Survey) -> serde_json::Value {
    json!({ "shard": survey.shard, "end": survey.end, "segments": survey.segments })
}

fn surveys(directory: &Directory) -> Vec<Survey> {
    (0..directory.shards()).map(|shard| Survey::of(directory, shard)).collect()
}

fn shard_table(surveys: &[Survey]) -> String {
    let header = [
        ("shard", Align::Right),
        ("segments", Align::Left),
        ("log", Align::Right),
        ("last sequence", Align::Right),
        ("batches", Align::Right),
        ("stores", Align::Right),
        ("forgets", Align::Right),
        ("spaces +/-", Align::Right),
        ("last recorded (UTC)", Align::Left),
    ];
    let row = |survey: &Survey| {
        let operations = &survey.operations;
        vec![
            survey.shard.to_string(),
            states(&survey.segments),
            ByteCount(survey.bytes).rounded(),
            grouped(survey.last_sequence),
            grouped(survey.batches),
            grouped(operations.store),
            grouped(operations.forget),
            format!("{}/{}", operations.space_create, operations.space_drop),
            survey.last_recorded_at_us.map_or(NOTHING.to_owned(), format_us),
        ]
    };
    let rows: Vec<_> = surveys.iter().map(row).collect();
    render::table(&header, &rows, render::terminal_width())
}

/// `2 full, 1 active, 1 unused`
fn states(segments: &[Segment]) -> String {
    let count = |state| segments.iter().filter(|segment| segment.state == state).count();
    let part = |state| {
        let count = count(state);
        (count > 0).then(|| format!("{count} {}", name(state)))
    };
    let all = [State::Full, State::Active, State::Unused, State::Unreached];
    let parts: Vec<String> = all.into_iter().filter_map(part).collect();
    if parts.is_empty() { NOTHING.to_owned() } else { parts.join(", ") }
}

fn name(state: State) -> &'static str {
    match state {
        State::Full => "full",
        State::Active => "active",
        State::Unused => "unused",
        State::Unreached => "unreached",
    }
}

/// Spaces by number, with their stores summed over the shards.
fn space_table(surveys: &[Survey]) -> Option<String> {
    let mut rows: BTreeMap<u32, (Vec<String>, u64)> = BTreeMap::new();
    for space in surveys.iter().flat_map(|survey| &survey.spaces) {
        let (_, stores) = rows.entry(space.number).or_insert_with(|| {
            let shards = space.shards.to_string();
            let number = space.number.to_string();
            let (dimensions, codes) = (space.dimensions.to_string(), space.codes.to_string());
            let fan_cap = space.fan_cap.map_or(NOTHING.to_owned(), |links| grouped(links.into()));
            let ttl = space.ttl.map_or(NOTHING.to_owned(), |seconds| grouped(seconds.into()));
            let fan = [space.fan.clone(), fan_cap, space.decay.clone(), ttl];
            let row = [number, dimensions, space.metric.into(), codes].into_iter().chain(fan);
            (row.chain([shards, space.model.clone(), space.name.clone()]).collect(), 0)
        });
        *stores += space.stores;
    }
    let header = [
        ("space", Align::Right),
        ("dim", Align::Right),
        ("metric", Align::Left),
        ("codes", Align::Right),
        ("fan", Align::Right),
        ("fan cap", Align::Right),
        ("decay", Align::Right),
        ("ttl", Align::Right),
        ("shards", Align::Right),
        ("model", Align::Left),
        ("stores", Align::Right),
        ("name", Align::Left),
    ];
    let rows: Vec<_> = rows
        .into_values()
        .map(|(mut row, stores)| {
            row.insert(row.len() - 1, grouped(stores));
            row
        })
        .collect();
    (!rows.is_empty()).then(|| render::table(&header, &rows, render::terminal_width()))
}

fn segment_table(surveys: &[Survey]) -> String {
    let header = [
        ("shard", Align::Right),
        ("segment", Align::Right),
        ("state", Align::Left),
        ("used", Align::Right),
        ("of", Align::Right),
        ("batches", Align::Right),
        ("frames", Align::Right),
        ("first", Align::Right),
        ("last", Align::Right),
        ("activated (UTC)", Align::Left),
    ];
    let or_nothing = |number: Option<u64>| number.map_or(NOTHING.to_owned(), grouped);
    let row = |shard: u32, segment: &Segment| {
        vec![
            shard.to_string(),
            segment.segment.to_string(),
            name(segment.state).to_owned(),
            ByteCount(segment.used_bytes).rounded(),
            ByteCount(segment.file_bytes).rounded(),
            grouped(segment.batches),
            grouped(segment.frames),
            or_nothing(segment.first_sequence),
            or_nothing(segment.last_sequence),
            segment.activated_at_us.map_or(NOTHING.to_owned(), format_us),
        ]
    };
    let rows: Vec<_> = surveys
        .iter()
        .flat_map(|survey| survey.segments.iter().map(move |segment| row(survey.shard, segment)))
        .collect();
    render::table(&header, &rows, render::terminal_width())
}

/// What there is to say beyond the table, shard by shard.
pub(super) fn notes(surveys: &[Survey]) -> Option<String> {
    let notes: Vec<String> = surveys.iter().flat_map(notes_of).collect();
    (!notes.is_empty()).then(|| notes.join("\n"))
}

fn notes_of(survey: &Survey) -> Vec<String> {
    let Survey { shard, end, .. } = survey;
    let mut notes = Vec::new();
    notes.extend(survey.covered.as_ref().map(|files| {
        format!(
            "shard {shard}: sequences 1 to {} are consolidated, {} in {} columns files; the log is \
             looked at behind them",
            grouped(files.through_sequence),
            ByteCount(files.file_bytes).rounded(),
            files.columns_files.len(),
        )
    }));
    match &survey.tail {
        Tail::Torn { bytes, obstacle } => notes.push(format!(
            "shard {shard}: a torn tail of {} bytes from byte {} of segment {} on ({obstacle}); it \
             was never acknowledged, the next start cuts it",
            grouped(*bytes),
            end.offset,
            end.segment,
        )),
        Tail::UnderWay { bytes } => {
            notes.push(format!("shard {shard}: {} bytes are being written", grouped(*bytes)));
        }
        Tail::Clean | Tail::Damaged { .. } | Tail::Unknown => {}
    }
    notes.extend(survey.problems.iter().map(|problem| format!("shard {shard}: {problem}")));
    let untold = survey.problem_count - survey.problems.len() as u64;
    if untold > 0 {
        notes.push(format!("shard {shard}: {} more problems", grouped(untold)));
    }
    notes
}
