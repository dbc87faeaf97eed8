//! `/v1/openapi.json`: all paths as OpenAPI 3.1 has it, made of the table of operations.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::batch::{BatchOperation, EVENTS};
use super::bounds::{OPERATIONS_MAX, REQUESTS_MAX};
use super::operations::{Input, OPERATIONS, Operation};
use super::problem::{CODES, Problem};
use super::requests;
use super::schemas::{Batched, Ready};

static DESCRIPTION: LazyLock<String> = LazyLock::new(|| describe().to_string());

/// Answers the path.
pub async fn answer() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION.as_str())
}

/// Schemas of types that a path needs.
fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Those of what comes in say what may be left out; those of what goes out, what may be missing.
fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    settings.into_generator()
}

fn describe() -> Value {
    let mut generator = generator();
    let mut paths = Map::new();
    let problem = schema::<Problem>(&mut generator);
    for operation in &OPERATIONS {
        let method = operation.verb.name();
        paths.entry(operation.path).or_insert_with(|| json!({}))[method] =
            path(operation, &mut generator);
    }
    paths.extend(others(&mut generator));
    let components = json!({
        "schemas": generator.take_definitions(true),
        "responses": {
            "Problem": {
                "description": "What went wrong; programs decide by its code.",
                "content": { "application/problem+json": { "schema": problem } },
            },
        },
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "Over TCP: what stands in edge_token_file.",
            },
        },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Engram",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A durable associative memory. Each operation is a command of the Unix \
                            socket, with the same bounds and the same answers.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": components,
    })
}

/// One operation.
fn path(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let takes = (operation.takes)(generator);
    let gives = (operation.gives)(generator);
    let mut parameters = named_in_path(operation.path);
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "description": format!("The command {}.", operation.command),
        "responses": answers(&json!({ "application/json": { "schema": gives } }), "It is done."),
    });
    match operation.input {
        Input::Query => parameters.extend(named_in_query(&takes, generator)),
        Input::Body(bytes_max) => {
            described["requestBody"] = json!({
                "required": true,
                "description": format!("At most {bytes_max} bytes."),
                "content": { "application/json": { "schema": takes } },
            });
        }
    }
    described["parameters"] = parameters.into();
    described
}

/// What is named between braces in a path.
fn named_in_path(path: &str) -> Vec<Value> {
    let bounds = [("space", 128, "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"), ("id", 256, "")];
    let is_named = |(name, ..): &(&str, u32, &str)| path.contains(&format!("{{{name}}}"));
    let named = bounds.into_iter().filter(is_named).map(|(name, bytes_max, pattern)| {
        let mut schema = json!({ "type": "string", "minLength": 1, "maxLength": bytes_max });
        if !pattern.is_empty() {
            schema["pattern"] = pattern.into();
        }
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    named.collect()
}

/// The fields of what an operation takes, as parameters of a query.
fn named_in_query(takes: &Schema, generator: &mut SchemaGenerator) -> Vec<Value> {
    let name = takes.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    // Said as parameters, it is no schema of its own.
    let definition = name.and_then(|name| generator.definitions_mut().remove(name));
    let schema = definition.unwrap_or_else(|| takes.clone().into());
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(fields) = schema["properties"].as_object() else { return Vec::new() };
    let fields = fields.iter().map(|(name, schema)| {
        json!({
            "name": name,
            "in": "query",
            "required": required.contains(&name.as_str()),
            "style": "form",
            "explode": false,
            "schema": without_null(schema),
        })
    });
    fields.collect()
}

/// A query says nothing by leaving out, not by null.
fn without_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(kinds) = schema["type"].as_array() {
        let kinds: Vec<Value> = kinds.iter().filter(|kind| **kind != "null").cloned().collect();
        schema["type"] = kinds.first().cloned().unwrap_or_default();
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let mut any = any.iter().filter(|one| one["type"] != "null");
        if let Some(one) = any.next() {
            return one.clone();
        }
    }
    schema
}

/// All answers of a path, with one for each status that a problem may have.
fn answers(content: &Value, description: &str) -> Value {
    let mut answers = Map::new();
    answers.insert("200".into(), json!({ "description": description, "content": content }));
    let mut statuses: Vec<u16> = CODES.iter().map(|(_, status, _)| *status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        answers.insert(status.to_string(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    answers.into()
}

/// The path of batches.
fn batch(generator: &mut SchemaGenerator) -> Value {
    let operation = schema::<BatchOperation<'_>>(generator);
    let batched = schema::<Batched>(generator);
    let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    json!({
        "operationId": "batch",
        "summary": "Carries out many operations in order, answered one by one.",
        "description": format!(
            "Operations are {}. With accept: {EVENTS} each result is an event batch_result, whose \
             id is the operation's index and whose data is one of results; the last event, \
             batch_done, has the summary.",
            names.join(", ")
        ),
        "requestBody": {
            "required": true,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "array",
                        "items": operation,
                        "minItems": 1,
                        "maxItems": OPERATIONS_MAX,
                    },
                },
                "application/x-ndjson": { "schema": { "type": "string" } },
            },
        },
        "responses": answers(
            &json!({
                "application/json": { "schema": batched },
                EVENTS: { "schema": { "type": "string" } },
            }),
            "The results in the order of the operations, and what they came to.",
        ),
    })
}

/// The path of watches.
fn watch(generator: &mut SchemaGenerator) -> Value {
    let takes = schema::<requests::Watch>(generator);
    let mut parameters = named_in_query(&takes, generator);
    parameters.push(json!({
        "name": "Last-Event-ID",
        "in": "header",
        "required": false,
        "description": "Where the client is by now; it counts more than from.",
        "schema": { "type": "string" },
    }));
    json!({
        "operationId": "watch",
        "summary": "Follows a memory space: an event for each new episode, without end.",
        "description":
            "The command EG.WATCH. The first event is watching; then each episode is an event \
             episode, whose data has shard and episode. The id of each event says where to go on. \
             The last event, cut, has the problem that ended the watch.",
        "parameters": parameters,
        "responses": answers(
            &json!({ EVENTS: { "schema": { "type": "string" } } }),
            "Events as they come.",
        ),
    })
}

/// What is no operation.
fn others(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let ready = schema::<Ready>(generator);
    let text = json!({ "text/plain": { "schema": { "type": "string" } } });
    let ready_answer = |description: &str| {
        json!({
            "description": description,
            "content": { "application/json": { "schema": ready } },
        })
    };
    let of = |name: &str, summary: &str, answers: Value| {
        let described = json!({ "operationId": name, "summary": summary, "responses": answers });
        json!({ "get": described })
    };
    let busy = format!("More than {REQUESTS_MAX} requests, or the shards do not serve.");
    let refused = json!({ "$ref": "#/components/responses/Problem" });
    let metrics = json!({
        "200": { "description": "In the text format of Prometheus.", "content": text },
        "503": { "description": busy, "$ref": "#/components/responses/Problem" },
        "401": refused,
    });
    let alive = json!({ "200": { "description": "It lives.", "content": text } });
    let serves = json!({
        "200": ready_answer("It serves."),
        "503": ready_answer("It does not serve everything, and why."),
    });
    let whole = json!({
        "200": {
            "description": "OpenAPI 3.1.",
            "content": { "application/json": { "schema": { "type": "object" } } },
        },
        "503": refused,
        "401": refused,
    });
    Map::from_iter([
        ("/v1/batch".to_owned(), json!({ "post": batch(generator) })),
        ("/v1/watch".to_owned(), json!({ "get": watch(generator) })),
        ("/v1/openapi.json".to_owned(), of("openapi", "This description.", whole)),
        ("/metrics".to_owned(), of("metrics", "Figures for Prometheus.", metrics)),
        ("/healthz".to_owned(), of("healthz", "Whether the process lives.", alive)),
        ("/readyz".to_owned(), of("readyz", "Whether the daemon serves.", serves)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` of a document.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_description_is_whole() {
        let description = describe();
        let mut found = Vec::new();
        references(&description, &mut found);
        assert!(found.len() > 50);
        for reference in found {
            let path = reference.strip_prefix('#').unwrap();
            assert!(description.pointer(path).is_some(), "{reference} leads nowhere");
        }
        for operation in &OPERATIONS {
            let method = operation.verb.name();
            let path = &description["paths"][operation.path][method];
            assert_eq!(path["operationId"], operation.name);
            for name in ["space", "id"] {
                let is_named = operation.path.contains(&format!("{{{name}}}"));
                let parameters = path["parameters"].as_array().unwrap();
                let is_described = parameters
                    .iter()
                    .any(|parameter| parameter["name"] == name && parameter["in"] == "path");
                assert_eq!(is_described, is_named, "{} {name}", operation.name);
            }
            let takes_body = matches!(operation.input, Input::Body(_));
            assert_eq!(path["requestBody"].is_object(), takes_body, "{}", operation.name);
        }
        let scan = &description["paths"]["/v1/spaces/{space}/episodes"]["get"]["parameters"];
        let scan = scan.as_array().unwrap().iter();
        let mut names: Vec<_> = scan.map(|it| it["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["count", "cursor", "space", "vectors", "with"]);
    }
}
