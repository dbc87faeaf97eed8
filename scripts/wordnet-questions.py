#!/usr/bin/env python3
"""Makes an evaluation without sessions and links out of WordNet, for `engram eval`.

    scripts/wordnet-questions.py WORDNET OUT [QUESTIONS]

WORDNET has synsets.jsonl.gz, relations.tsv.gz, vectors_f16.npy and vectors_node.npy. Some synsets
are held out: the gloss of each is a question, its vector the question's, and the synsets that it
has a relation to are what is to be found. The others are turns, by their words and gloss. OUT gets
turns.jsonl, turns.npy, questions.jsonl and questions.npy.
"""

import gzip
import json
import struct
import sys
from pathlib import Path

DIMENSIONS = 768
ROW_BYTES = 2 * DIMENSIONS
QUESTIONS = 1000


def array(path):
    """The bytes of an .npy file of version 1, without its header."""
    file = path.read_bytes()
    (header,) = struct.unpack("<H", file[8:10])
    return file[10 + header :]


def write_array(path, rows):
    header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({len(rows)}, {DIMENSIONS}), }}"
    header = header.ljust(117) + "\n"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        file.writelines(rows)


def main():
    wordnet, out = map(Path, sys.argv[1:3])
    wanted = int(sys.argv[3]) if len(sys.argv) > 3 else QUESTIONS
    nodes = [node for (node,) in struct.iter_unpack("<i", array(wordnet / "vectors_node.npy"))]
    vectors = array(wordnet / "vectors_f16.npy")
    with gzip.open(wordnet / "synsets.jsonl.gz", "rt") as lines:
        synsets = [json.loads(line) for line in lines]
    related = {node: set() for node in nodes}
    with gzip.open(wordnet / "relations.tsv.gz", "rt") as lines:
        for source, target, _ in (line.split("\t") for line in lines):
            if int(source) in related and int(target) in related:
                related[int(source)].add(int(target))
    asked = [node for node in nodes if related[node]]
    held = set(asked[:: max(1, len(asked) // wanted)][:wanted])
    starts = range(0, len(vectors), ROW_BYTES)
    rows = {node: vectors[at : at + ROW_BYTES] for node, at in zip(nodes, starts)}
    turns = [node for node in nodes if node not in held]
    questions = [node for node in nodes if node in held and related[node] - held]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "turns.jsonl").open("w") as file:
        for node in turns:
            text = ", ".join(synsets[node]["words"]) + ": " + synsets[node]["gloss"]
            file.write(json.dumps({"space": "wordnet", "id": str(node), "text": text}) + "\n")
    with (out / "questions.jsonl").open("w") as file:
        for node in questions:
            evidence = [str(other) for other in sorted(related[node] - held)]
            question = synsets[node]["gloss"]
            category = synsets[node]["id"].rpartition("-")[2]
            line = {"space": "wordnet", "question": question, "evidence": evidence}
            file.write(json.dumps({**line, "category": category}) + "\n")
    write_array(out / "turns.npy", [rows[node] for node in turns])
    write_array(out / "questions.npy", [rows[node] for node in questions])
    print(f"{len(turns)} turns, {len(questions)} questions")


main()
