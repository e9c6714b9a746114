# ruff: noqa: E501 - tables, a case a line
"""Damaged and wild RLDS."""

from __future__ import annotations

import random
import struct

import numpy as np
from damage_tools import (
    GREY,
    JPEG,
    LARGE,
    ONE,
    PNG,
    STEPS,
    buried,
    content,
    cut,
    doubled,
    emptied,
    flip,
    in_json,
    named,
    without,
)
from makers import (
    episode,
    frame,
    masked,
    rlds_features,
    rlds_record,
    write_description,
    write_records,
)
from tensorflow_datasets.proto import tf_example_pb2

SHARD = "robot-train.tfrecord-00000-of-00001"
IMAGE, STATE, ACTION = "steps/observation/image_0", "steps/observation/state", "steps/action"
WORDS, REWARD = "steps/language_instruction", "steps/reward"


def records(folder, name=SHARD):
    content, found, at = (folder / name).read_bytes(), [], 0
    while at < len(content):
        (length,) = struct.unpack("<Q", content[at : at + 8])
        found.append(content[at + 12 : at + 12 + length])
        at += length + 16
    return found


def in_record(folder, number, change):
    """Changes the fields of one record and frames it rightly again."""
    found = records(folder)
    example = tf_example_pb2.Example.FromString(found[number])
    change(example.features.feature)
    found[number] = example.SerializeToString()
    (folder / SHARD).write_bytes(b"".join(map(frame, found)))


def rename_field(field):
    def damage(folder):
        def change(fields):
            fields[f"{field}_new"].CopyFrom(fields[field])
            del fields[field]

        in_record(folder, 1, change)
        return named(SHARD, "record 1", field)

    return damage


def drop_values(field, kind, count):
    def damage(folder):
        def change(fields):
            values = getattr(fields[field], kind).value
            if count > 0:
                values.extend([values[0]] * count)
            else:
                del values[count:]

        in_record(folder, 2, change)
        return named(SHARD, "record 2", field)

    return damage


def set_value(field, place, value):
    def damage(folder):
        in_record(
            folder, 0, lambda fields: fields[field].float_list.value.__setitem__(place, value)
        )
        step, index = divmod(place, 7)
        return named(SHARD, "record 0", f"{field}[{index}]", f"step {step}")

    return damage


def set_picture(place, blob):
    def damage(folder):
        in_record(folder, 1, lambda fields: fields[IMAGE].bytes_list.value.__setitem__(place, blob))
        return named(SHARD, "record 1", IMAGE, f"step {place}")

    return damage


def other_kind(field, new):
    def damage(folder):
        def change(fields):
            fields[field].Clear()
            if new == "ints":
                fields[field].int64_list.value.extend([1] * 7 * STEPS)
            elif new == "bytes":
                fields[field].bytes_list.value.extend([b"x"] * STEPS)
            elif new == "floats":
                fields[field].float_list.value.extend([1.0] * STEPS)

        in_record(folder, 1, change)
        return named(SHARD, "record 1", field)

    return damage


def words(value, *said):
    def damage(folder):
        def change(fields):
            values = fields[WORDS].bytes_list.value
            values[:] = value if isinstance(value, list) else [value] * len(values)

        in_record(folder, 1, change)
        return named(SHARD, "record 1", WORDS, *said)

    return damage


def steps_of_one(count):
    """An episode of `count` steps, all fields alike."""

    def damage(folder):
        found = records(folder)
        example = tf_example_pb2.Example.FromString(found[1])
        for name, field in example.features.feature.items():
            if name.startswith("steps/"):
                values = getattr(field, field.WhichOneof("kind")).value
                del values[len(values) // STEPS * count :]
        found[1] = example.SerializeToString()
        (folder / SHARD).write_bytes(b"".join(map(frame, found)))
        return named(SHARD, "record 1", "step")

    return damage


def shard_cut(share, name=SHARD):
    def damage(folder):
        cut(folder / name, share)
        return named(name)

    return damage


def shard_flip(seed, name=SHARD):
    def damage(folder):
        flip(folder / name, seed)
        return named(name)

    return damage


def shard_bytes(content, *said):
    def damage(folder):
        old = records(folder)
        (folder / SHARD).write_bytes(content(old) if callable(content) else content)
        return named(SHARD, *said)

    return damage


def wrong_length_sum(old):
    record = old[0]
    length = struct.pack("<Q", len(record))
    head = length + struct.pack("<I", masked(length) ^ 1)
    return head + record + struct.pack("<I", masked(record)) + b"".join(map(frame, old[1:]))


def wrong_record_sum(old):
    framed = bytearray(frame(old[0]))
    framed[-1] ^= 255
    return bytes(framed) + b"".join(map(frame, old[1:]))


def unmasked_sums(old):
    from makers import crc32c

    parts = []
    for record in old:
        length = struct.pack("<Q", len(record))
        parts += [length, struct.pack("<I", crc32c(length))]
        parts += [record, struct.pack("<I", crc32c(record))]
    return b"".join(parts)


def big_endian_lengths(old):
    parts = []
    for record in old:
        length = struct.pack(">Q", len(record))
        parts += [length, struct.pack(">I", masked(length))]
        parts += [record, struct.pack(">I", masked(record))]
    return b"".join(parts)


def big_endian_packed(folder):
    """Numbers stored as bytes in the other order: no robot is at 1e30."""
    features = rlds_features()
    import tensorflow_datasets as tfds

    packed = tfds.features.Tensor(
        shape=(7,), dtype=np.float32, encoding=tfds.features.Encoding.BYTES
    )
    features = rlds_features(packed=packed)
    made = [rlds_record(features, m, k, packed=m.action.byteswap()) for k, m in enumerate(
        episode(seed, steps=STEPS) for seed in range(3)
    )]  # fmt: skip
    write_records(folder / SHARD, made)
    write_description(folder, features, [{"name": "train", "shardLengths": ["3"]}])
    return named(SHARD, "steps/packed")


def described(change, *said):
    def damage(folder):
        in_json(folder / "dataset_info.json", change)
        return named("dataset_info.json", *said)

    return damage


def featured(change, *said):
    def damage(folder):
        in_json(folder / "features.json", change)
        return named("features.json", *said)

    return damage


def splits(**changes):
    return lambda info: info["splits"][0].update(changes)


def inner(raw):
    return raw["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"][
        "features"
    ]


def renamed_feature(field):
    """features.json and mapping no longer agree: the mapping's field is not there."""

    def damage(folder):
        def change(raw):
            features = inner(raw)
            for part in field.split("/")[1:-1]:
                features = features[part]["featuresDict"]["features"]
            last = field.split("/")[-1]
            features[f"{last}_new"] = features.pop(last)

        in_json(folder / "features.json", change)
        return named(field)

    return damage


def gif(array):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, "gif")
    return file.getvalue()


RLDS = {
    **{f"cut to {k}%": ("rlds", shard_cut(k / 100 + 0.003)) for k in range(1, 100, 5)},
    **{f"bit {k}": ("rlds", shard_flip(k)) for k in range(40)},
    "checksum of a length": ("rlds", shard_bytes(wrong_length_sum, "record 0", "length")),
    "checksum of a record": ("rlds", shard_bytes(wrong_record_sum, "record 0", "record")),
    "checksums not masked": ("rlds", shard_bytes(unmasked_sums, "record 0")),
    "big-endian lengths": ("rlds", shard_bytes(big_endian_lengths, "record 0")),
    "no records": ("rlds", shard_bytes(b"", "0 episodes")),
    "noise": ("rlds", shard_bytes(random.Random(0).randbytes(5000))),
    "short noise": ("rlds", shard_bytes(b"abc")),
    "gzip": ("rlds", shard_bytes(b"\x1f\x8b\x08" + bytes(50), "gzip")),
    "text": ("rlds", shard_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 3)),
    "an empty record": ("rlds", shard_bytes(lambda old: b"".join(map(frame, [b"", *old[1:]])), "record 0")),
    "records of noise": (
        "rlds",
        shard_bytes(lambda old: b"".join(frame(random.Random(k).randbytes(90)) for k in range(3)), "record 0"),
    ),
    "records cut inside": (
        "rlds", shard_bytes(lambda old: b"".join(frame(r[: len(r) // 2]) for r in old), "record 0"),
    ),
    "a record twice": ("rlds", shard_bytes(lambda old: b"".join(map(frame, [*old, old[0]])), "4 episodes")),
    "a record less": ("rlds", shard_bytes(lambda old: b"".join(map(frame, old[:2])), "2 episodes")),
    **{f"renamed {f}": ("rlds", rename_field(f)) for f in (IMAGE, STATE, ACTION, WORDS, REWARD)},
    **{f"feature renamed {f}": ("rlds", renamed_feature(f)) for f in (IMAGE, STATE, ACTION, WORDS, REWARD)},
    **{
        f"{count:+} of {f}": ("rlds", drop_values(f, kind, count))
        for f, kind, count in (
            (STATE, "float_list", -7), (STATE, "float_list", 7), (ACTION, "float_list", -7),
            (ACTION, "float_list", -3), (ACTION, "float_list", 1), (IMAGE, "bytes_list", -1),
            (IMAGE, "bytes_list", 2), (WORDS, "bytes_list", -2), (REWARD, "float_list", -1),
            (REWARD, "float_list", 3), (STATE, "float_list", -42), (IMAGE, "bytes_list", -6),
        )
    },
    **{
        f"{value} in {f} at {place}": ("rlds", set_value(f, place, value))
        for f in (STATE, ACTION)
        for place in (0, 9, 41)
        for value in (float("nan"), float("inf"), -1e30)
    },
    "one step": ("rlds", steps_of_one(1)),
    "no step": ("rlds", steps_of_one(0)),
    **{f"larger picture at {k}": ("rlds", set_picture(k, LARGE)) for k in (0, 3, 5)},
    "smaller grey picture": ("rlds", set_picture(2, GREY)),
    "a JPEG among PNG": ("rlds", set_picture(1, JPEG)),
    "a PNG among JPEG": ("jpeg", set_picture(1, PNG)),
    "a GIF": ("rlds", set_picture(4, gif(ONE.front[0]))),
    "no bytes": ("rlds", set_picture(4, b"")),
    "noise as picture": ("rlds", set_picture(0, random.Random(3).randbytes(400))),
    **{f"PNG cut to {k}": ("rlds", set_picture(1, PNG[:k])) for k in (9, 30, 60, 120)},
    **{f"JPEG cut to {k}": ("jpeg", set_picture(1, JPEG[:k])) for k in (4, 100, 300, 500)},
    "a PNG with a wrong sum": ("rlds", set_picture(1, PNG[:60] + b"\0\0\0" + PNG[63:])),
    "whole numbers as action": ("rlds", other_kind(ACTION, "ints")),
    "bytes as action": ("rlds", other_kind(ACTION, "bytes")),
    "nothing as state": ("rlds", other_kind(STATE, "nothing")),
    "fractions as picture": ("rlds", other_kind(IMAGE, "floats")),
    "fractions as words": ("rlds", other_kind(WORDS, "floats")),
    "no words": ("rlds", words(b"")),
    "spaces as words": ("rlds", words(b"  \n ")),
    "words that change": ("rlds", words([b"a", b"a", b"b", b"b", b"b", b"b"], "step 2")),
    "words that are no text": ("rlds", words(b"\xff\xfe\x00")),
    "words without end": ("rlds", words(b"a " * 3000)),
    "words of one letter too many": ("rlds", words(b"a" * 201)),
    "words with a zero": ("rlds", words(b"a\0b")),
    "numbers in the other byte order": ("rlds", big_endian_packed),
    "a count too high": ("rlds", described(splits(shardLengths=["4"]), "promises 4")),
    "a count too low": ("rlds", described(splits(shardLengths=["2"]), "promises 2")),
    "more shards": ("rlds", described(splits(shardLengths=["2", "1"]), "00000-of-00002")),
    "no counts": ("rlds", described(splits(shardLengths=[]), "shardLengths")),
    "a negative count": ("rlds", described(splits(shardLengths=["-3"]), "shardLengths")),
    "a count in words": ("rlds", described(splits(shardLengths=["three"]), "three")),
    "no splits": ("rlds", described(lambda info: info.update(splits=[]), "splits")),
    "splits that are none": ("rlds", described(lambda info: info.update(splits=7), "splits")),
    "a split twice": ("rlds", described(lambda i: i["splits"].append(i["splits"][0]), "twice")),
    "no name": ("rlds", described(lambda info: info.pop("name") and None, "name")),
    "another name": ("rlds", described(lambda info: info.update(name="arm"), "arm-train")),
    "another format": ("rlds", described(lambda info: info.update(fileFormat="riegeli"), "riegeli")),
    "array_record said": ("rlds", described(lambda info: info.update(fileFormat="array_record"), "array_record")),
    "a template that leads out": ("rlds", described(splits(filepathTemplate="../{DATASET}"), "filepathTemplate")),
    "a template of nothing known": ("rlds", described(splits(filepathTemplate="{SHARD}"), "filepathTemplate")),
    "one file for all shards": ("shards", described(splits(filepathTemplate="{DATASET}"), "filepathTemplate")),
    "a list of descriptions": ("rlds", described(lambda info: [info], "object")),
    "description cut": ("rlds", content("dataset_info.json", b'{"name": "ro', "JSON")),
    "description of bytes": ("rlds", content("dataset_info.json", b"\xff\xfe\x00", "JSON")),
    "features cut": ("rlds", content("features.json", b'{"featuresDict"', "JSON")),
    "features nested without end": ("rlds", content("features.json", b'{"a":' * 5000, "JSON")),
    "features without steps": ("rlds", featured(lambda r: r["featuresDict"]["features"].pop("steps") and None, "steps")),
    "features of another kind": ("rlds", featured(lambda r: {"type": "x"}, "steps")),
    "a type that does not exist": (
        "rlds", featured(lambda r: inner(r)["action"]["tensor"].update(dtype="float33"), "float33"),
    ),
    "another number of numbers": (
        "rlds",
        lambda f: featured(lambda r: inner(r)["action"]["tensor"]["shape"].update(dimensions=["8"]))(f)
        and named(SHARD, "record 0", ACTION),
    ),
    "action of words": (
        "rlds",
        lambda f: featured(lambda r: inner(r)["action"]["tensor"].update(dtype="string"))(f) and named(ACTION),
    ),
    "a split of which a shard is missing": ("shards", without("robot-train.tfrecord-00001-of-00002", "missing")),
    "no description": ("rlds", without("dataset_info.json", "missing")),
    "no features": ("rlds", lambda f: (f / "features.json").unlink() or named("features.json")),
    "no shards": ("rlds", without(SHARD)),
    "an empty folder": ("rlds", emptied),
    "too deep": ("rlds", buried),
    "two versions": ("rlds", doubled),
    **{
        f"array record cut to {k}%": ("array", shard_cut(k / 100, "robot-train.array_record-00000-of-00001"))
        for k in (0, 10, 30, 50, 70, 90, 99)
    },
    "array record of noise": (
        "array", content("robot-train.array_record-00000-of-00001", random.Random(5).randbytes(70000)),
    ),
    "a TFRecord called array record": (
        "array", content("robot-train.array_record-00000-of-00001", frame(b"x") * 3),
    ),
}  # fmt: skip
