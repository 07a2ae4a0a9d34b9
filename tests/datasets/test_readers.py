"""Data sets in their published formats: tiny ones made here, both intact and with every fault."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from exclip_widget import FileError, ParameterError
from exclip_widget.datasets import (
    Fault,
    Pair,
    Phrase,
    RecordWarning,
    read_coco,
    read_flickr30k,
    read_hnc,
    read_rows,
    read_table,
    read_webdataset,
)
from exclip_widget.image import open_image

Read = Callable[..., Iterator[Pair]]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("1.jpg", "2.jpg", "3.jpg"), 1):
        Image.new("RGB", (16 * number, 8), (number, 0, 0)).save(folder / name)
    return folder


def written(path: Path, given: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(given, bytes):
        path.write_bytes(given)
    else:
        path.write_text(given if isinstance(given, str) else json.dumps(given), "utf-8")
    return path


def read(reader: Read, *arguments: Any, **options: Any) -> tuple[list[Pair], list[Fault]]:
    faults: list[Fault] = []
    return list(reader(*arguments, on_error=faults.append, **options)), faults


def said(pairs: list[Pair]) -> list[tuple[str, str, str]]:
    return [(pair.id, pair.image_id, pair.caption) for pair in pairs]


# ------------------------------------------------------------------------------------------------ COCO

CAPTIONS: dict[str, Any] = {
    "info": {"year": 2017},
    "images": [{"id": 7, "file_name": "1.jpg", "width": 16, "height": 8}, {"id": 8, "file_name": "2.jpg"}],
    "annotations": [
        {"id": 70, "image_id": 7, "caption": "Two dogs eat a hot dog."},
        {"id": 80, "image_id": 8, "caption": "a boat"},
        {"id": 71, "image_id": 7, "caption": "a dog beside a dog and a frisbee"},
    ],
}
INSTANCES: dict[str, Any] = {
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "hot dog"}, {"id": 3, "name": "frisbee"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 4.5, 8]},
        {"image_id": 7, "category_id": 1, "bbox": [4, 0, 4, 8]},
        {"image_id": 7, "category_id": 2, "bbox": [8, 2, 2, 2]},
        {"image_id": 7, "category_id": 3, "bbox": [9, 2, 1, 1]},
    ],
}


def test_coco(tmp_path: Path, images: Path) -> None:
    captions = written(tmp_path / "captions.json", json.dumps(CAPTIONS, indent=1))
    instances = written(tmp_path / "instances.json", INSTANCES)
    pairs, faults = read(read_coco, captions, images, instances=instances)
    assert not faults
    assert said(pairs) == [
        ("70", "7", "Two dogs eat a hot dog."),
        ("71", "7", "a dog beside a dog and a frisbee"),
        ("80", "8", "a boat"),
    ]
    dogs, hot_dog = pairs[0].phrases
    assert (dogs.text, dogs.span, dogs.boxes) == ("dogs", (4, 8), ((0, 0, 4.5, 8), (4, 0, 8, 8)))
    assert (hot_dog.text, hot_dog.boxes) == ("hot dog", ((8, 2, 10, 4),))
    assert [phrase.text for phrase in pairs[1].phrases] == ["frisbee"]  # "dog" is ambiguous
    assert open_image(pairs[2].image).size == (32, 8)
    lines = captions.read_text().splitlines()
    for pair in pairs:
        file, _, line = pair.source.rpartition(":")
        assert file == str(captions)
        assert pair.caption in " ".join(lines[int(line) - 1 : int(line) + 4])


def test_what_is_wrong_in_coco_is_skipped(tmp_path: Path, images: Path) -> None:
    wrong: list[Any] = [
        3,
        {"id": 1, "image_id": 7},
        {"id": 1, "image_id": 7, "caption": "  "},
        {"id": 1, "image_id": 7, "caption": "x" * 10_001},
        {"id": None, "image_id": 7, "caption": "a"},
        {"id": 2, "image_id": 99, "caption": "a"},
        {"id": 3, "image_id": 9, "caption": "a"},
        {"id": 4, "image_id": 10, "caption": "a"},
    ]
    more = [{"id": 9, "file_name": "../captions.json"}, {"id": 10, "file_name": "gone.jpg"}, {"id": 11}]
    given = CAPTIONS | {
        "images": CAPTIONS["images"] + more,
        "annotations": wrong + CAPTIONS["annotations"],
    }
    captions = written(tmp_path / "captions.json", json.dumps(given, indent=None).replace("}, ", "},\n"))
    instances = written(
        tmp_path / "instances.json",
        INSTANCES
        | {
            "annotations": [
                {"image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1]},
                {"image_id": 7, "category_id": 1, "bbox": [0, 0, 0, 1]},
                {"image_id": 7, "category_id": 1, "bbox": "0011"},
                {"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, float("nan")]},
            ]
        },
    )
    pairs, faults = read(read_coco, captions, images, instances=instances)
    assert [pair.id for pair in pairs] == ["70", "71", "80"]
    assert not any(pair.phrases for pair in pairs)
    assert len(faults) == len(wrong) + 1 + 4
    for expected in (
        "no words",
        "10001 characters",
        "outside",
        "no image 'gone.jpg'",
        "not among the images",
    ):
        assert any(expected in fault.reason for fault in faults), expected
    text = captions.read_text().splitlines()
    long = next(fault for fault in faults if "10001" in fault.reason)
    assert "xxxx" in text[int(long.source.rpartition(":")[2]) - 1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("[]", 1),
        ('{"images": [],\n"annotations": [{},\n{"id": }]}', 3),
        ('{"images": {}}', 1),
        ('{"annotations": [1] "images"}', 1),
        ('{"annotations": [' + "[" * 100_000, 1),
        ('{"annotations": [' + "9" * 5000 + "]}", 1),
        (b"\xff\xfe", None),
    ],
)
def test_json_that_is_none_is_one_error(tmp_path: Path, images: Path, text: Any, line: int | None) -> None:
    path = written(tmp_path / "captions.json", text)
    with pytest.raises(FileError, match=f"captions.json.*line {line}: " if line else "not UTF-8"):
        read(read_coco, path, images)


# ----------------------------------------------------------------------------------- Flickr30k Entities

SENTENCES = """[/EN#1/people Two men] in [/EN#2/clothing/other green shirts] stand in [/EN#3/scene a yard] .
A man sees [/EN#1/people them] , and [/EN#0/notvisual nothing] else .
"""
ANNOTATION = """<annotation><filename>1.jpg</filename><size><width>16</width></size>
<object><name>1</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>8</ymax></bndbox></object>
<object><name>1</name><name>2</name>
  <bndbox><xmin>5</xmin><ymin>2</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></object>
<object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>
</annotation>"""


def flickr(root: Path, sentences: dict[str, str], annotations: dict[str, str]) -> Path:
    for number, text in sentences.items():
        written(root / "Sentences" / f"{number}.txt", text)
    for number, text in annotations.items():
        written(root / "Annotations" / f"{number}.xml", text)
    return root


def test_flickr30k_entities(tmp_path: Path, images: Path) -> None:
    root = flickr(tmp_path / "entities", dict.fromkeys("12", SENTENCES), dict.fromkeys("12", ANNOTATION))
    pairs, faults = read(read_flickr30k, root, images)
    assert not faults
    assert [pair.id for pair in pairs] == ["1.jpg#0", "1.jpg#1", "2.jpg#0", "2.jpg#1"]
    assert pairs[0].caption == "Two men in green shirts stand in a yard ."
    first, second = pairs[0].phrases
    assert (first.text, first.boxes) == ("Two men", ((0, 0, 4, 8), (4, 1, 8, 8)))  # from 1, inclusive
    assert (second.text, second.boxes) == ("green shirts", ((4, 1, 8, 8),))
    for pair in pairs:
        for phrase in pair.phrases:
            assert pair.caption[slice(*phrase.span)] == phrase.text
    assert pairs[1].source == f"{root / 'Sentences' / '1.txt'}:2"
    split = written(tmp_path / "test.txt", "2\n")
    assert {pair.image_id for pair in read_flickr30k(root, images, split=split)} == {"2"}


BOMB = """<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><object><name>&c;</name></object></annotation>"""
FILE_ENTITY = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("annotation", "line", "reason"),
    [
        (BOMB, 1, "document type"),
        (FILE_ENTITY, 1, "document type"),
        ("<annotation>\n<object></annotation>", 2, "mismatched"),
        ("", 1, "no element"),
        ("<annotation>&b;</annotation>", 1, "undefined entity"),
        (None, 1, "does not exist"),
        (" " * 5_000_000, 1, "more than"),
    ],
)
def test_xml_is_not_trusted(
    tmp_path: Path, images: Path, annotation: str | None, line: int, reason: str
) -> None:
    good = {"2": ANNOTATION}
    root = flickr(
        tmp_path / "entities",
        dict.fromkeys("12", SENTENCES),
        good if annotation is None else {"1": annotation, **good},
    )
    pairs, (fault,) = read(read_flickr30k, root, images)
    assert [pair.image_id for pair in pairs] == ["2", "2"]
    assert reason in fault.reason
    assert fault.source.endswith(f":{line}")


def test_what_is_wrong_in_flickr30k_is_skipped(tmp_path: Path, images: Path) -> None:
    sentences = "[/EN#1/people Two men stand\n\n[/EN#1/people Two men] stand\n[/EN#x/people They] go\n"
    annotation = ANNOTATION.replace("<xmin>5</xmin>", "<xmin>five</xmin>")
    root = flickr(tmp_path / "entities", {"1": sentences, "9": "a\n"}, {"1": annotation, "9": ANNOTATION})
    split = written(tmp_path / "split.txt", "1\n9\n../1\n7\n")
    pairs, faults = read(read_flickr30k, root, images, split=split)
    assert [(pair.id, pair.caption) for pair in pairs] == [("1.jpg#1", "Two men stand")]
    assert pairs[0].phrases[0].boxes == ((0, 0, 4, 8),)
    places = [fault.source.rpartition("/")[2] for fault in faults]
    assert places == ["1.xml:3", "1.txt:1", "1.txt:4", "split.txt:2", "split.txt:3", "split.txt:4"]


# ------------------------------------------------------------------------------------------------- HNC


def thing(name: str, x: float) -> dict[str, Any]:
    return {"name": name, "bbox": {"x": x, "y": 0, "w": 2, "h": 2}}


def test_hnc(tmp_path: Path, images: Path) -> None:
    right = {"caption": "The man is left of the chair.", "label": 1, "type": "relation_pred"}
    foil = {"caption": "The man is right of the chair.", "label": 0, "type": "relation_pred"}
    boxes = {"bboxes": {"5": thing("man", 0), "6": thing("chair", 4)}, "cpt_p_id": None}
    train = {
        "1": {
            "captions": {
                "0": right | boxes,
                "1": foil | {"cpt_p_id": 0},
                "2": {"caption": "There is a boat.", "label": 1},
                "3": foil | {"cpt_p_id": 0, "caption": "Another."},
            }
        }
    }
    pairs, faults = read(read_hnc, written(tmp_path / "train.json", train), images)
    assert not faults
    assert said(pairs) == [("1#0", "1", right["caption"]), ("1#2", "1", "There is a boat.")]
    assert [pair.foil for pair in pairs] == [foil["caption"], None]
    assert [(one.text, one.boxes) for one in pairs[0].phrases] == [
        ("man", ((0, 0, 2, 2),)),
        ("chair", ((4, 0, 6, 2),)),
    ]
    test = {"2.jpg": {"0": right, "1": {"caption": "A", "label": 1, "type": "other"}, "2": foil}}
    pairs, faults = read(read_hnc, written(tmp_path / "test.json", test), images)
    assert not faults
    assert [pair.foil for pair in pairs] == [foil["caption"], None]


def test_what_is_wrong_in_hnc_is_skipped(tmp_path: Path, images: Path) -> None:
    given = {
        "1": {
            "captions": {
                "0": {"caption": "a boat", "label": 1},
                "1": {"caption": "no boat", "label": 0, "cpt_p_id": 17},
                "2": {"caption": "a boat", "label": "yes"},
                "3": {"label": 1},
                "4": {"caption": "a man", "label": 1, "bboxes": {"5": {"name": "man", "bbox": [0, 0, 1, 1]}}},
                "5": [],
            }
        },
        "2": [],
        "../1": {"captions": {}},
        "77": {"captions": {}},
        "3": {"0": {"caption": "a sun", "label": 1}},
    }
    pairs, faults = read(read_hnc, written(tmp_path / "a.json", json.dumps(given, indent=1)), images)
    assert [pair.caption for pair in pairs] == ["a boat", "a sun"]
    assert len(faults) == 8
    assert all(fault.source.startswith(f"{tmp_path / 'a.json'}:") for fault in faults)
    assert any("a foil without a caption" in fault.reason for fault in faults)


# ---------------------------------------------------------------------------------------------- tables


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        return written(path, "\n".join(map(json.dumps, rows)) + "\n")
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_tables(tmp_path: Path, images: Path, suffix: str, mark: bytes) -> None:
    box: Any = [0, 0, 4, 4] if suffix == ".jsonl" else "0 0,4, 4"
    rows = [
        {"image": "1.jpg", "text": "a boat, and\na cup", "phrase": "boat", "box": box},
        {"image": "1.jpg", "text": "a boat, and\na cup", "phrase": "a cup", "box": box},
        {"image": "1.jpg", "text": "a boat, and\na cup", "phrase": "boat", "box": [1.5, 1, 2, 2]},
        {"image": "2.jpg", "text": "zwei Böte", "foil": "ein Boot", "id": "x"},
    ]
    path = table(tmp_path / f"table{suffix}", rows)
    path.write_bytes(mark + path.read_bytes())
    pairs, faults = read(read_table, path, images, columns={"caption": "text"})
    assert not faults
    line = 1 if suffix == ".jsonl" else 2
    assert said(pairs) == [
        (f"table{suffix}:{line}", "1.jpg", "a boat, and\na cup"),
        ("x", "2.jpg", "zwei Böte"),
    ]
    boat, cup = pairs[0].phrases
    assert (boat.boxes, cup.boxes) == (((0, 0, 4, 4), (1.5, 1, 2, 2)), ((0, 0, 4, 4),))
    assert pairs[1].foil == "ein Boot"


def test_what_is_wrong_in_a_table_is_skipped(tmp_path: Path, images: Path) -> None:
    lines = [
        b"image,caption,phrase,box",
        b"1.jpg,a boat,boat,0 0 1 1",
        b"1.jpg,a boat,cup,0 0 1 1",
        b"1.jpg,a boat boat,boat,0 0 1 1",
        b"1.jpg,a boat,boat,",
        b"1.jpg,a boat,boat,0 0 1",
        b"1.jpg,a boat,boat,4 0 1 1",
        b"1.jpg,a boat,boat,a b c d",
        b"1.jpg,a boat,boat,[[[",
        b"1.jpg,a boat",
        b"1.jpg,,,",
        b",a boat,,",
        b"gone.jpg,a boat,,",
        b"../table.csv,a boat,,",
        b"1.jpg,a b\xffat,,",
        b'1.jpg,"a "boat,,',
        b"",
        b"2.jpg,two boats,,",
        b'2.jpg,"two boats,,',
    ]
    path = written(tmp_path / "table.csv", b"\n".join(lines) + b"\n")
    pairs, faults = read(read_table, path, images)
    assert [pair.caption for pair in pairs] == ["a boat", "two boats"]
    wrong = [number for number, line in enumerate(lines, 1) if number in (*range(3, 17), 19)]
    assert sorted(int(fault.source.rpartition(":")[2]) for fault in faults) == wrong


def test_what_is_wrong_in_lines_of_json_is_skipped(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exclip_widget.datasets.reading.MOST_LINE", 1000)
    good = json.dumps({"image": "1.jpg", "caption": "a boat"}).encode()
    lines = [b"{", b"[]", b"\xff", b"[" * 900, b"{" + b" " * 5000 + b"}", b"", good, b'{"image": 1}']
    pairs, faults = read(read_table, written(tmp_path / "table.jsonl", b"\n".join(lines)), images)
    assert [pair.source for pair in pairs] == [f"{tmp_path / 'table.jsonl'}:7"]
    assert [int(fault.source.rpartition(":")[2]) for fault in faults] == [1, 2, 3, 4, 5, 8]


def test_a_quote_that_never_ends_costs_no_more_than_a_cell(tmp_path: Path, images: Path) -> None:
    rows = b"1.jpg,a boat\n" * 20_000
    path = written(tmp_path / "table.csv", b'image,caption\n1.jpg,"a boat\n' + rows)
    pairs, faults = read(read_table, path, images)
    assert len(faults) == 1
    assert len(pairs) == 1  # equal rows count as one pair


# ------------------------------------------------------------------------------------------------ rows


class Decoding:
    """A data set with a row that cannot be decoded, like one from Hugging Face with a damaged image."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number == 1:
            raise OSError("image file is truncated")
        return {"image": np.zeros((4, 4), np.uint8), "caption": f"boat {number}"}


def test_rows(images: Path) -> None:
    data = (images / "1.jpg").read_bytes()
    rows = [
        {"image": Image.open(images / "1.jpg"), "caption": "a"},
        {
            "image": {"bytes": data, "path": None},
            "caption": ["b", "c"],
            "id": 5,
            "image_id": "i",
            "foil": "d",
        },
        {"image": {"bytes": None, "path": str(images / "1.jpg")}, "caption": "e"},
        {"image": data, "caption": "f"},
    ]
    for given in (rows, iter(rows)):
        pairs, faults = read(read_rows, given, name="val")
        assert not faults
        assert said(pairs) == [
            ("val:0", "val:0", "a"),
            ("5#0", "i", "b"),
            ("5#1", "i", "c"),
            ("val:2", "val:2", "e"),
            ("val:3", "val:3", "f"),
        ]
        assert {open_image(pair.image).size for pair in pairs} == {(16, 8)}
        assert pairs[1].foil == "d"


def test_what_is_wrong_in_rows_is_skipped() -> None:
    image = np.zeros((4, 4), np.uint8)
    rows: list[Any] = [
        7,
        {"caption": "a"},
        {"image": "", "caption": "a"},
        {"image": image, "caption": None},
        {"image": image, "caption": []},
        {"image": image, "caption": "a", "id": 1.5},
        {"image": image, "caption": "a"},
    ]
    pairs, faults = read(read_rows, rows)
    assert [pair.id for pair in pairs] == ["rows:6"]
    assert [fault.source for fault in faults] == [f"rows:{number}" for number in range(6)]
    pairs, (fault,) = read(read_rows, Decoding())
    assert [pair.caption for pair in pairs] == ["boat 0", "boat 2"]
    assert "truncated" in fault.reason
    with pytest.raises(FileError, match=r"rows:1 cannot be read, nor the rows after it: .*truncated"):
        list(read_rows(Decoding()[number] for number in range(3)))  # type: ignore[call-overload]
    with pytest.raises(ParameterError, match="several splits, 'train', 'test'"):
        read_rows({"train": [], "test": []})  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="rows is a NoneType"):
        read_rows(None)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="columns names 'text'"):
        read_rows([], columns={"text": "caption"})
    with pytest.raises(ParameterError, match="columns is a list; expected a mapping"):
        read_rows([], columns=["text"])  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r'pass rows.to_dict\("records"\)'):
        read_rows(pd.DataFrame({"image": []}))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"pass rows.to_pylist\(\)"):
        read_rows(pa.table({"image": []}))  # type: ignore[arg-type]


def test_rows_of_a_data_frame(images: Path) -> None:
    """Captions are arrays, numbers are NumPy's, and empty cells are NaN or NA."""
    rows = [
        {"image": images / "1.jpg", "caption": np.array(["a cup", "a mug"]), "id": np.int64(3)},
        {"image": images / "1.jpg", "caption": "a boat", "id": math.nan, "image_id": pd.NA, "foil": math.nan},
        {"image": images / "1.jpg", "caption": pd.NA},
    ]
    pairs, (fault,) = read(read_rows, rows)
    assert said(pairs) == [("3#0", "3", "a cup"), ("3#1", "3", "a mug"), ("rows:1", "rows:1", "a boat")]
    assert [pair.foil for pair in pairs] == [None] * 3
    assert "caption is an NAType" in fault.reason


def test_phrases_and_boxes_made_by_hand() -> None:
    def of(span: Any = (2, 6), boxes: Any = ((0, 0, 8, 8),), phrases: Any = None) -> Pair:
        phrase = Phrase("boat", span, boxes)
        return Pair("1", "1", "a.png", "a boat", (phrase,) if phrases is None else phrases)

    assert of(boxes=np.array([[0, 0, 8, 8]])).phrases[0].span == (2, 6)
    for wrong, message in (
        ({"boxes": ((0, 0, math.nan, 8),)}, "boxes of phrase 'boat': "),
        ({"boxes": ((0, 0, 8),)}, "is not four numbers"),
        ({"boxes": ((8, 8, 4, 4),)}, "has no area; expected left < right"),
        ({"span": (-3, 5)}, r"phrase 'boat' is not at \(-3, 5\) in caption 'a boat'"),
        ({"span": (0, 4)}, r"is not at \(0, 4\)"),
        ({"phrases": "boat"}, "phrases is a str; expected a tuple of Phrase"),
        ({"phrases": ("boat",)}, "phrases has a str"),
    ):
        with pytest.raises(ParameterError, match=message):
            of(**wrong)


def test_an_id_that_is_no_unicode_costs_its_row(tmp_path: Path, images: Path) -> None:
    jpg = (images / "1.jpg").read_bytes()
    rows = [{"image": jpg, "caption": "a boat", "id": one} for one in ("a", "\ud800", "b")]
    assert [pair.id for pair in read(read_rows, rows)[0]] == ["a", "b"]
    names = ["1", "l\udce9", "2"]  # as a file system gives a name in Latin-1
    path = shard(
        tmp_path / "a.tar",
        [(f"{name}.{end}", data) for name in names for end, data in (("jpg", jpg), ("txt", b"a boat"))],
    )
    pairs, (fault,) = read(read_webdataset, path)
    assert [pair.id for pair in pairs] == ["a/1", "a/2"]
    assert "is not UTF-8" in fault.reason


# ------------------------------------------------------------------------------------------ WebDataset


def shard(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_webdataset(tmp_path: Path, images: Path) -> None:
    jpg = (images / "1.jpg").read_bytes()
    several = json.dumps({"caption": ["a cup", "a mug"], "foil": "a hat"}).encode()
    shard(
        tmp_path / "train-00.tar",
        [("a/1.jpg", jpg), ("a/1.txt", b"a boat\n"), ("a/1.cls", b"3"), ("2.json", several), ("2.PNG", jpg)],
    )
    shard(tmp_path / "train-01.tar", [("a/1.seg.png", b""), ("a/1.txt", b"a sun"), ("a/1.jpg", jpg)])
    pairs, faults = read(read_webdataset, tmp_path / "train-{00..01}.tar")
    assert not faults
    assert said(pairs) == [
        ("train-00/a/1", "train-00/a/1", "a boat"),
        ("train-00/2#0", "train-00/2", "a cup"),
        ("train-00/2#1", "train-00/2", "a mug"),
        ("train-01/a/1", "train-01/a/1", "a sun"),
    ]
    assert [pair.foil for pair in pairs] == [None, "a hat", "a hat", None]
    assert {open_image(pair.image).size for pair in pairs} == {(16, 8)}
    assert len(list(read_webdataset([tmp_path / "train-00.tar", str(tmp_path / "train-01.tar")]))) == 4


def test_what_is_wrong_in_a_shard_is_skipped(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exclip_widget.datasets.webdataset.MOST_TEXT", 100)
    jpg = (images / "1.jpg").read_bytes()
    path = shard(
        tmp_path / "a.tar",
        [
            ("1.txt", b"no image"),
            ("2.jpg", jpg),
            ("3.jpg", jpg),
            ("3.txt", b"\xff\xff"),
            ("4.jpg", jpg),
            ("4.json", b"["),
            ("5.jpg", jpg),
            ("5.json", b"[]"),
            ("6.jpg", jpg),
            ("6.txt", b" " * 101),
            ("7.jpg", jpg),
            ("7.txt", b"   "),
            ("8.jpg", jpg),
            ("8.txt", b"a boat"),
        ],
    )
    with tarfile.open(path, "a") as archive:  # a link must not be followed
        link = tarfile.TarInfo("9.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    pairs, faults = read(read_webdataset, path)
    assert [pair.caption for pair in pairs] == ["a boat"]
    assert [fault.source for fault in faults] == [
        f"{path}:{name}" for name in ("1", "2", "3", "4", "5", "6.txt", "7")
    ]


@pytest.mark.parametrize("kind", ["cut off", "no archive", "empty"])
def test_a_damaged_shard_is_one_error(tmp_path: Path, images: Path, kind: str) -> None:
    jpg = (images / "1.jpg").read_bytes()
    path = shard(tmp_path / "a.tar", [("1.jpg", jpg), ("1.txt", b"a boat")])
    whole = path.read_bytes()
    path.write_bytes({"cut off": whole[:700], "no archive": b"hello" * 200, "empty": b""}[kind])
    with pytest.raises(FileError, match=r"a\.tar"):
        list(read_webdataset(path))


def test_a_shard_that_is_damaged_in_the_middle(tmp_path: Path, images: Path) -> None:
    """`tarfile` takes a damaged header for the end of the archive."""
    jpg = (images / "1.jpg").read_bytes()
    files = [
        (f"{number}.{end}", data) for number in "123" for end, data in (("jpg", jpg), ("txt", b"a boat"))
    ]
    path = shard(tmp_path / "a.tar", files)
    whole = path.read_bytes()
    at = whole.index(b"2.jpg")
    for damaged in (whole[:at] + b"9" + whole[at + 1 :], whole[: at + 100]):
        path.write_bytes(damaged)
        with pytest.raises(FileError, match=f"is damaged at byte {at}"):
            list(read_webdataset(path))
    path.write_bytes(whole[:at])
    pairs, (fault,) = read(read_webdataset, path)
    assert len(pairs) == 1
    assert "has no end mark" in fault.reason
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(FileError, match="is compressed; expected an uncompressed tar archive"):
        list(read_webdataset(path))


# ----------------------------------------------------------------------------------------------- files


def test_a_file_that_is_missing_is_told_at_once(tmp_path: Path, images: Path) -> None:
    nothing = tmp_path / "nothing"
    file = written(tmp_path / "a.json", "{}")
    for reader, arguments in (
        (read_coco, (nothing, images)),
        (read_coco, (file, nothing)),
        (read_hnc, (nothing, images)),
        (read_table, (nothing,)),
        (read_flickr30k, (tmp_path, images)),
        (read_webdataset, (nothing,)),
        (read_webdataset, (tmp_path / "a-{0..1}.tar",)),
        (read_table, (file,)),
        (read_coco, (images, images)),
        (read_coco, (file, file)),
        (read_coco, (3, images)),
        (read_coco, ("a\0b", images)),
    ):
        with pytest.raises(FileError):
            reader(*arguments)  # type: ignore[operator]


def test_a_table_without_its_columns(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no column 'caption'; its columns are \['image', 'text'\]"):
        list(read_table(written(tmp_path / "a.csv", "image,text\n")))
    with pytest.raises(FileError, match="no column 'image'"):
        list(read_table(written(tmp_path / "b.csv", "")))


def test_a_table_with_a_column_twice(tmp_path: Path, images: Path) -> None:
    columns = {"caption": "text"}
    path = written(tmp_path / "a.csv", "image,text,text\n1.jpg,a boat,a cup\n")
    with pytest.raises(FileError, match="2 columns 'text'; expected one of each name"):
        list(read_table(path, images, columns=columns))
    unread = written(tmp_path / "b.csv", "image,text,caption,caption,,\n1.jpg,a boat,a,b,,\n")
    assert [pair.caption for pair in read_table(unread, images, columns=columns)] == ["a boat"]


def test_faults_are_warned_of_if_nobody_asks(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", "{}\n[]\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert list(read_table(path)) == []
    assert [warning.category for warning in caught] == [RecordWarning] * 2
    assert f"{path}:1: caption is missing; expected text; skipped" in str(caught[0].message)


def test_records_are_streamed(tmp_path: Path, images: Path) -> None:
    """The first pair is yielded before the last line is read."""
    lines = [json.dumps({"image": f"{n}.jpg", "caption": "a boat"}) for n in (1, 2, 3)]
    path = written(tmp_path / "a.jsonl", "\n".join(lines) + "\n{")
    faults: list[Fault] = []
    stream = read_table(path, images, on_error=faults.append)
    assert next(stream).image_id == "1.jpg"
    assert not faults
