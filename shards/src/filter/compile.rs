//! From the JSON of a filter to its logic and the trie of its paths.

use super::json::Json;
use super::scalar::Scalar;
use super::{Comparison, Condition, FILTER_COMPARISONS_MAX, Filter, Node};
use crate::episode::Refusal;

/// Compiles a filter whose nesting is within its bound.
pub(super) fn compile(json: Json) -> Result<Filter, Refusal> {
    let mut compiler = Compiler { nodes: vec![Node::default()], comparisons: 0 };
    let condition = compiler.filter("FILTER", json)?;
    Ok(Filter { condition, nodes: compiler.nodes })
}

struct Compiler {
    nodes: Vec<Node>,
    /// Numbers given so far.
    comparisons: usize,
}

impl Compiler {
    /// `{"field": …, "$or": …}`.
    fn filter(&mut self, owner: &str, json: Json) -> Result<Condition, Refusal> {
        let Json::Object(fields) = json else {
            return Err(syntax(format!("{owner} must be an object such as {{\"lang\": \"en\"}}")));
        };
        let mut conditions = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            conditions.push(match name.as_str() {
                "$and" => Condition::All(self.filters(&name, value)?),
                "$or" => Condition::Any(self.filters(&name, value)?),
                "$not" => not(self.filter(&name, value)?),
                _ if name.starts_with('$') => {
                    return Err(syntax(format!(
                        "unknown operator '{name}' between conditions; there are $and, $or, $not"
                    )));
                }
                _ => self.field(&name, value)?,
            });
        }
        Ok(Condition::All(conditions))
    }

    fn filters(&mut self, owner: &str, json: Json) -> Result<Vec<Condition>, Refusal> {
        match json {
            Json::Array(items) if !items.is_empty() => {
                items.into_iter().map(|item| self.filter(owner, item)).collect()
            }
            _ => Err(syntax(format!("{owner} needs a list of at least one filter"))),
        }
    }

    /// What is required of the field at `path`.
    fn field(&mut self, path: &str, json: Json) -> Result<Condition, Refusal> {
        match json {
            Json::Scalar(value) => self.equals(path, value),
            Json::Object(operators) if !operators.is_empty() => {
                let operators = operators.into_iter();
                let conditions: Result<_, _> =
                    operators.map(|(name, value)| self.operator(path, &name, value)).collect();
                conditions.map(Condition::All)
            }
            Json::Object(_) | Json::Array(_) => Err(syntax(format!(
                "field '{path}' must be given a string, number, boolean, null or an object of \
                 operators such as {{\"$in\": [1, 2]}}"
            ))),
        }
    }

    fn operator(&mut self, path: &str, name: &str, value: Json) -> Result<Condition, Refusal> {
        match name {
            "$eq" => self.equals(path, scalar(path, name, value)?),
            "$ne" => self.equals(path, scalar(path, name, value)?).map(not),
            "$in" => self.is_in(path, scalars(path, name, value)?),
            "$nin" => self.is_in(path, scalars(path, name, value)?).map(not),
            "$gt" => self.compare(path, Comparison::Greater(ordered(path, name, value)?)),
            "$gte" => self.compare(path, Comparison::GreaterOrEqual(ordered(path, name, value)?)),
            "$lt" => self.compare(path, Comparison::Less(ordered(path, name, value)?)),
            "$lte" => self.compare(path, Comparison::LessOrEqual(ordered(path, name, value)?)),
            "$exists" => match value {
                Json::Scalar(Scalar::Bool(true)) => self.compare(path, Comparison::Exists),
                Json::Scalar(Scalar::Bool(false)) => {
                    self.compare(path, Comparison::Exists).map(not)
                }
                _ => Err(syntax(format!("$exists of field '{path}' must be true or false"))),
            },
            "$not" => match value {
                Json::Object(_) => self.field(path, value).map(not),
                _ => Err(syntax(format!("$not of field '{path}' needs an object of operators"))),
            },
            _ => Err(syntax(format!(
                "unknown operator '{name}' of field '{path}'; there are $eq, $ne, $gt, $gte, $lt, \
                 $lte, $in, $nin, $exists, $not, and a dot leads into an object: 'a.b'"
            ))),
        }
    }

    fn equals(&mut self, path: &str, value: Scalar) -> Result<Condition, Refusal> {
        let or_missing = value == Scalar::Null;
        let equals = self.compare(path, Comparison::Equals(value))?;
        self.or_missing(path, equals, or_missing)
    }

    fn is_in(&mut self, path: &str, values: Vec<Scalar>) -> Result<Condition, Refusal> {
        let or_missing = values.contains(&Scalar::Null);
        let is_in = self.compare(path, Comparison::In(values))?;
        self.or_missing(path, is_in, or_missing)
    }

    fn or_missing(
        &mut self,
        path: &str,
        condition: Condition,
        or_missing: bool,
    ) -> Result<Condition, Refusal> {
        if !or_missing {
            return Ok(condition);
        }
        let is_missing = not(self.compare(path, Comparison::Exists)?);
        Ok(Condition::Any(vec![condition, is_missing]))
    }

    /// Numbers a comparison and hangs it at its place in the trie.
    fn compare(&mut self, path: &str, comparison: Comparison) -> Result<Condition, Refusal> {
        if self.comparisons == FILTER_COMPARISONS_MAX {
            return Err(Refusal::TooBig {
                what: "list of comparisons in FILTER",
                got: self.comparisons + 1,
                max: FILTER_COMPARISONS_MAX,
            });
        }
        let number = self.comparisons;
        self.comparisons += 1;
        let mut index = 0;
        self.nodes[index].covers.insert(number);
        for name in path.split('.') {
            if name.is_empty() {
                return Err(syntax(format!("field '{path}' has an empty name between its dots")));
            }
            index = self.child(index, name);
            self.nodes[index].covers.insert(number);
        }
        self.nodes[index].comparisons.push((number, comparison));
        Ok(Condition::Holds(number))
    }

    fn child(&mut self, parent: usize, name: &str) -> usize {
        if let Some(child) = self.nodes[parent].child(name) {
            return child;
        }
        let child = self.nodes.len();
        self.nodes[parent].children.push((name.to_owned(), child));
        self.nodes.push(Node::default());
        child
    }
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn syntax(sentence: String) -> Refusal {
    Refusal::Syntax(sentence)
}

fn scalar(path: &str, operator: &str, value: Json) -> Result<Scalar, Refusal> {
    match value {
        Json::Scalar(scalar) => Ok(scalar),
        _ => Err(syntax(format!(
            "{operator} of field '{path}' must be given a string, number, boolean or null"
        ))),
    }
}

fn scalars(path: &str, operator: &str, value: Json) -> Result<Vec<Scalar>, Refusal> {
    match value {
        Json::Array(items) => items.into_iter().map(|item| scalar(path, operator, item)).collect(),
        _ => Err(syntax(format!("{operator} of field '{path}' needs a list of values"))),
    }
}

fn ordered(path: &str, operator: &str, value: Json) -> Result<Scalar, Refusal> {
    match value {
        Json::Scalar(scalar @ (Scalar::Number(_) | Scalar::String(_))) => Ok(scalar),
        _ => {
            Err(syntax(format!("{operator} of field '{path}' must be given a number or a string")))
        }
    }
}
