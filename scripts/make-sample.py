#!/usr/bin/env python3
"""Cut the demo's sample out of WordNet 3.1 and its embeddings. Needs nothing but Python.

    scripts/make-sample.py SOURCE demo

SOURCE holds four files:
  synsets.jsonl.gz   a line per synset: node (from 0), id (offset-pos), words, gloss
  relations.tsv.gz   source node, target node, kind
  vectors_f16.npy    embeddings of "words: gloss" (all-mpnet-base-v2, 768-d), for some synsets
  vectors_node.npy   the node number of each row of vectors_f16.npy, int32

and LICENSE, WordNet's notice, which travels with the sample. The sample is what hangs below a
handful of synsets, together with the verbs and adjectives that are derived from it, as far as there
are embeddings. The output is a function of the input: the same files give the same bytes.
"""

import argparse
import collections
import gzip
import hashlib
import json
import pathlib
import shutil
import struct

# Topic and the synset it hangs below.
ROOTS = [
    ("carnivore", "02077948-n"),
    ("bird", "01505702-n"),
    ("food", "07571428-n"),
    ("beverage", "07897775-n"),
    ("feeling", "00026390-n"),
    ("instrument", "03806455-n"),
    ("music", "07051211-n"),
    ("musician", "10360025-n"),
    ("vehicle", "04531608-n"),
    ("weather", "11545095-n"),
    ("colour", "04963771-n"),
]
# Verbs and adjectives join by these relations.
DERIVED = {"derivation", "attribute", "pertains"}
POS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
FIRST_AT_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
STEP_US = 60_000_000
LINKS_MAX = 256
DIMENSIONS = 768


def npy_body(path):
    """The header's dictionary as text, and the elements."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", path
    (length,) = struct.unpack("<H", data[8:10])
    return data[10 : 10 + length].decode(), data[10 + length :]


def read(source):
    with gzip.open(source / "synsets.jsonl.gz", "rt") as lines:
        synsets = [json.loads(line) for line in lines]
    with gzip.open(source / "relations.tsv.gz", "rt") as lines:
        relations = [line.rstrip("\n").split("\t") for line in lines]
    relations = [(int(source), int(target), kind) for source, target, kind in relations]
    header, body = npy_body(source / "vectors_node.npy")
    assert "<i4" in header, header
    nodes = struct.unpack(f"<{len(body) // 4}i", body)
    header, vectors = npy_body(source / "vectors_f16.npy")
    assert "<f2" in header and str(DIMENSIONS) in header, header
    return synsets, relations, {node: row for row, node in enumerate(nodes)}, vectors


def choose(synsets, relations, has_vector):
    """Topic by node, in the order of the topics."""
    below = collections.defaultdict(list)
    derived = collections.defaultdict(list)
    for source, target, kind in relations:
        if kind in ("hyponym", "instance_hyponym"):
            below[source].append(target)
        elif kind in DERIVED and synsets[target]["id"][-1] != "n":
            derived[source].append(target)
    node_of = {synset["id"]: synset["node"] for synset in synsets}
    topics = {}
    for topic, root in ROOTS:
        open_nodes = [node_of[root]]
        while open_nodes:
            node = open_nodes.pop()
            if node not in topics:
                topics[node] = topic
                open_nodes.extend(below[node])
    for node, topic in list(topics.items()):
        for target in derived[node]:
            topics.setdefault(target, topic)
    rank = {topic: rank for rank, (topic, _) in enumerate(ROOTS)}
    order = sorted(topics, key=lambda node: (rank[topics[node]], node))
    return {node: topics[node] for node in order if node in has_vector}


def name(synsets, topics):
    """A readable id by node: word.pos, numbered where synsets share it."""
    names, used = {}, collections.Counter()
    for node in topics:
        synset = synsets[node]
        base = f"{synset['words'][0].replace(' ', '_')}.{synset['id'][-1]}"
        used[base] += 1
        names[node] = base if used[base] == 1 else f"{base}.{used[base]}"
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    arguments = parser.parse_args()
    synsets, relations, row_of, vectors = read(arguments.source)
    topics = choose(synsets, relations, row_of)
    names = name(synsets, topics)
    links = collections.defaultdict(list)
    for source, target, kind in relations:
        if source in topics and target in topics:
            links[source].append({"id": names[target], "kind": kind})
    # An order that mixes the topics, so that a stretch of time holds some of each.
    order = sorted(topics, key=lambda node: hashlib.sha256(names[node].encode()).digest())

    arguments.target.mkdir(exist_ok=True)
    row_bytes = DIMENSIONS * 2
    shape = f"({len(order)}, {DIMENSIONS})"
    dictionary = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}"
    with open(arguments.target / "wordnet.npy", "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118))
        file.write(dictionary.ljust(117).encode() + b"\n")
        for node in order:
            file.write(vectors[row_of[node] * row_bytes : (row_of[node] + 1) * row_bytes])
    with open(arguments.target / "wordnet.jsonl", "w") as file:
        for position, node in enumerate(order):
            synset = synsets[node]
            assert len(links[node]) <= LINKS_MAX, names[node]
            episode = {
                "id": names[node],
                "text": f"{', '.join(synset['words'])}: {synset['gloss']}",
                "at": FIRST_AT_US + position * STEP_US,
                "meta": {
                    "topic": topics[node],
                    "pos": POS[synset["id"][-1]],
                    "words": synset["words"],
                },
            }
            if links[node]:
                episode["links"] = links[node]
            line = json.dumps(episode, ensure_ascii=False, separators=(",", ":"))
            file.write(line + "\n")
    shutil.copyfile(arguments.source / "LICENSE", arguments.target / "LICENSE")
    total = sum(path.stat().st_size for path in arguments.target.iterdir())
    print(f"{len(order)} episodes, {sum(map(len, links.values()))} links, {total} bytes in all")


if __name__ == "__main__":
    main()
