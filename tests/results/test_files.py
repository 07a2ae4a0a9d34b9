"""Files of results: loading returns what was saved, and anything else gives one clear error."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as save_tensors
from support.results import result_of, results, tokens_of
from support.shapes import unchecked_arrays

from exclip_widget import FileError, demo
from exclip_widget.results import Grid, Interactions, Origin, View
from exclip_widget.results.files import from_bytes, to_bytes

KEPT = Path(__file__).parent / "kept"
RESULT = result_of()


def kept(digest: str | None, **origin: Any) -> Interactions:
    """Return the result that the kept files contain, made from whole numbers."""

    def numbers(*shape: int) -> np.ndarray:
        return (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 7) / 64

    return Interactions(
        rows=tokens_of("a <b>é</b> dog-fish"),
        grid=Grid(2, 3, 1),
        values=numbers(6, 2, 3),
        cls=numbers(6),
        similarity=0.25,
        total=0.125,
        method="banzhaf",
        text_layer="transformer.resblocks.0",
        image_layer="output",
        steps=64,
        nodes=32,
        rule=None,
        error=numbers(6, 2, 3).astype(np.float64) ** 2,
        token_terms=numbers(6),
        patch_terms=numbers(2, 3),
        cls_term=0.5,
        reference_term=float("nan"),
        view=View((640, 480), (0.125, 0.0, 0.75, 1.0), digest),
        origin=Origin("CLIP", {"samples": 64, "seed": 0}, "0.1.0", **origin),
    )


DIGEST = "99aa06d3014798d86001c324468d497f"
REFERENCES = {"text_reference": "a photo", "image_reference": "noise", "seed": 3}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("interactions-1", kept(None)),
        ("interactions-1-digest", kept(DIGEST)),
        ("interactions-1-weights", kept(DIGEST, weights=DIGEST[::-1], references=REFERENCES)),
    ],
)
def test_files_of_version_1_are_read(name: str, expected: Interactions) -> None:
    """Every later version of the package must read these files. Never regenerate them."""
    assert Interactions.load(KEPT / f"{name}.safetensors") == expected


@given(results())
def test_what_is_saved_is_loaded(result: Interactions) -> None:
    assert from_bytes(to_bytes(result)) == result


@pytest.mark.parametrize(
    "changes",
    [
        {"view": None, "origin": None, "rule": None},
        {"view": View((80, 60), (0.0, -0.25, 1.0, 1.5), "00ff")},
        {"total": float("nan")},
        {"error": np.abs(RESULT.values).astype(np.float64)},
        {"token_terms": RESULT.cls, "patch_terms": RESULT.values[0]},
        {"foil": "a blue boat", "similarity": -0.0},
        {"values": np.where(RESULT.values > 0, RESULT.values, np.nan).astype(np.float32)},
        {"text_layer": "</script>\x00\ud800 “"},
    ],
)
def test_whatever_is_in_it(changes: dict[str, Any]) -> None:
    result = result_of(**changes)
    assert from_bytes(to_bytes(result)) == result


def test_outliers_are_kept() -> None:
    outliers = np.zeros((3, 4), bool)
    outliers[1, 2] = True
    result = result_of(outliers=outliers)
    assert from_bytes(to_bytes(result)) == result != result_of()
    with unchecked_arrays():
        data = to_bytes(result_of(outliers=outliers.astype(np.float32)))
    with pytest.raises(FileError, match="outliers is float32, not bool"):
        from_bytes(data)


def test_a_file_is_written_and_read_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "boat.safetensors"
    result = demo.example()
    result.save(path)
    code = (
        "import sys; from exclip_widget.results import Interactions; "
        "result = Interactions.load(sys.argv[1]); "
        "assert 'torch' not in sys.modules; print(repr(result.heat('boat').tolist()), result.crop, sep='|'); "
        "result.save(sys.argv[2])"
    )
    again = tmp_path / "again.safetensors"
    command = [sys.executable, "-c", code, str(path), str(again)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    heat, crop = done.stdout.strip().split("|")
    assert eval(heat) == result.heat("boat").tolist()
    assert eval(crop) == result.crop
    assert Interactions.load(str(path)) == Interactions.load(again) == result


# ------------------------------------------------------------------------------------------------ paths


def test_a_file_that_exists_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    RESULT.save(path)
    with pytest.raises(FileError, match=r"r\.safetensors' exists already; pass overwrite=True to replace it"):
        result_of(seed=1).save(path)
    assert Interactions.load(path) == RESULT
    result_of(seed=1).save(path, overwrite=True)
    assert Interactions.load(path) == result_of(seed=1)
    assert [one.name for one in tmp_path.iterdir()] == ["r.safetensors"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r.npz", r"ends in '.npz'; expected '.safetensors'"),
        ("r", "ends in 'no suffix'"),
        ("no/such/folder/r.safetensors", "cannot be written: no such file or directory"),
        ("folder.safetensors", "exists already"),
        ("nul\0l.safetensors", "cannot be written"),
        ("x" * 300 + ".safetensors", "cannot be written: file name too long"),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(FileError, match=message):
        RESULT.save(f"{tmp_path}/{name}")
    assert [one.name for one in tmp_path.iterdir()] == ["folder.safetensors"]
    with pytest.raises(FileError):
        RESULT.save(f"{tmp_path}/folder.safetensors", overwrite=True)
    assert [one.name for one in tmp_path.iterdir()] == ["folder.safetensors"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = to_bytes(RESULT)
    monkeypatch.setattr("exclip_widget.results.files.to_bytes", lambda result: whole if result else None)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    real = Path.open

    def open_full(self: Path, mode: str) -> Any:
        real(self, mode).close()
        return real(full, "wb", buffering=0)

    for overwrite in (True, False):
        path = tmp_path / "r.safetensors"

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", open_full)
            with pytest.raises(FileError, match="cannot be written: no space left on device"):
                RESULT.save(path, overwrite=overwrite)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no-such-file.safetensors", "cannot be read: no such file or directory"),
        ("result.pkl", "expected '.safetensors'"),
        (b"no-such-file.safetensors", "is a bytes; expected the path of a file"),
        (5, "path=5 is an int"),
        ("~no-such-user/x.safetensors", "cannot be resolved"),
    ],
)
def test_a_path_that_cannot_be_read(path: Any, message: str) -> None:
    with pytest.raises(FileError, match=message):
        Interactions.load(path)


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(FileError, match="infinite"):
        to_bytes(result_of(total=float("inf")))


# ----------------------------------------------------------------------------------------- damaged files

WHOLE = to_bytes(RESULT)


def refusal_of(data: bytes, tmp_path: Path) -> str:
    path = tmp_path / "r.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileError) as refusal:
        Interactions.load(path)
    message = str(refusal.value)
    assert message.startswith(f"file '{path}' ")
    assert "\n" not in message
    return message


def with_metadata(changes: dict[str, Any], **metadata: str) -> bytes:
    """Return the bytes of a result with some of its metadata replaced; `...` removes an entry."""
    size = int.from_bytes(WHOLE[:8], "little")
    header = json.loads(WHOLE[8 : 8 + size])
    result = json.loads(header["__metadata__"]["result"])
    result = {name: value for name, value in (result | changes).items() if value is not ...}
    header["__metadata__"] |= {"result": json.dumps(result)} | metadata
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + WHOLE[8 + size :]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, len(WHOLE) // 2, len(WHOLE) - 1])
def test_truncated(size: int, tmp_path: Path) -> None:
    assert "is not a safetensors file, or a damaged one" in refusal_of(WHOLE[:size], tmp_path)


def test_foreign(tmp_path: Path) -> None:
    array = {"weight": np.zeros(3, np.float32)}
    assert "names no format; expected 'exclip_widget.Interactions'" in refusal_of(
        save_tensors(array), tmp_path
    )
    other = save_tensors(array, {"format": "pt"})
    assert "names format 'pt'" in refusal_of(other, tmp_path)
    for data in (b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"<html>", pickle.dumps(RESULT.caption), bytes(4096)):
        assert "is not a safetensors file" in refusal_of(data, tmp_path)
    assert "version '2' of the format; this version of the package reads 1" in refusal_of(
        with_metadata({}, version="2"), tmp_path
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"similarity": ...}, "it lacks 'similarity'"),
        ({"rows": ...}, "it lacks 'rows'"),
        ({"rows": []}, "rows is a list, not an object"),
        ({"grid": {"rows": 3, "columns": 4}}, "it lacks 'first'"),
        ({"grid": {"rows": 4, "columns": 3, "first": 1}}, r"values is \(9, 3, 4\), not \(9, 4, 3\)"),
        ({"grid": {"rows": 3.0, "columns": 4, "first": 1}}, "rows has 3.0, not a whole number from 1"),
        ({"grid": {"rows": True, "columns": 4, "first": 1}}, "rows has True"),
        ({"grid": {"rows": 10**30, "columns": 4, "first": 1}}, "rows has 1000000"),
        ({"similarity": "much"}, "similarity has 'much', not a finite number"),
        ({"similarity": 10**400}, "is damaged"),
        ({"total": True}, "total has True"),
        ({"method": 3}, "method is an int, not a string"),
        ({"foil": 3}, "foil is an int"),
        ({"steps": -1}, "steps has -1"),
        ({"view": {"size": [80], "crop": [0, 0, 1, 1]}}, "is damaged"),
        ({"view": {"size": [80, 0], "crop": [0, 0, 1, 1]}}, "size has 0"),
        ({"view": {"size": [80, 60], "crop": [0, 0, 0, 1]}}, "has no area"),
        ({"view": {"size": [2**31 - 1] * 2, "crop": [0, 0, 1, 1]}}, "has more than 1073741824 pixels"),
        ({"view": {"size": [80, 60], "crop": [0, 0, 1e308, 1]}}, "crop .* is out of range"),
        ({"view": {"size": [80, 60], "crop": [0, 0, 1e-300, 1]}}, "crop .* is out of range"),
        ({"origin": {"model": "m", "options": {"a": float("nan")}, "version": ""}}, "it has the number NaN"),
        ({"view": [1]}, "view is a list"),
        ({"view": {"size": [80, 60], "crop": [0, 0, 1, 1], "digest": 3}}, "digest is an int, not a string"),
        ({"origin": {"model": "m", "options": {"a": []}, "version": ""}}, "option 'a' is a list"),
        ({"extra": 1}, "it has 'extra', which a result does not have"),
        ({"rows": {"caption": "ab", "texts": ["ab"], "spans": [[0, 3]], "words": [0]}}, "span .* is not in"),
        ({"rows": {"caption": "ab", "texts": ["ab"], "spans": [[2, 1]], "words": [0]}}, "span .* is not in"),
        (
            {"rows": {"caption": "ab", "texts": ["ab"], "spans": [None], "words": []}},
            "it has 1 texts, 0 words",
        ),
        ({"rows": {"caption": "ab", "texts": ["ab"], "spans": [None], "words": [-2]}}, "words has -2"),
        ({"rows": {"caption": "ab", "texts": ["ab"], "spans": [None], "words": [0]}}, r"not \(1, 3, 4\)"),
        ({"rows": {"caption": None, "texts": [], "spans": [], "words": []}}, "caption is a NoneType"),
    ],
)
def test_hostile_metadata(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    import re

    found = refusal_of(with_metadata(changes), tmp_path)
    assert re.search(message, found), found


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "1" * 5000, '{"rows": NaN}'])
def test_metadata_that_is_no_result(text: str, tmp_path: Path) -> None:
    assert "is damaged" in refusal_of(with_metadata({}, result=text), tmp_path)


def test_arrays_that_are_no_result(tmp_path: Path) -> None:
    size = int.from_bytes(WHOLE[:8], "little")
    metadata = json.loads(WHOLE[8 : 8 + size])["__metadata__"]
    arrays = {"values": RESULT.values.copy(), "cls": RESULT.cls.copy()}
    for changed, message in (
        ({"cls": arrays["cls"]}, "it lacks 'values'"),
        (arrays | {"values": arrays["values"].astype(np.int32)}, "values is int32, neither"),
        (arrays | {"other": arrays["cls"]}, "it has 'other'"),
        (arrays | {"cls": arrays["cls"][:3]}, r"cls is (3,), not (9,)"),
    ):
        assert message in refusal_of(save_tensors(changed, metadata), tmp_path)


def intact_or_refused(data: bytes) -> None:
    """Read a file with any content: it gives a usable result or one clear error."""
    try:
        found = from_bytes(data)
    except FileError as refusal:
        message = str(refusal)
    else:
        message = "intact"
        assert found.values.shape == (len(found.tokens), found.grid.rows, found.grid.columns)
        assert found == from_bytes(to_bytes(found))
    assert message
    assert "\n" not in message


@given(st.data())
def test_any_bytes_changed(data: st.DataObject) -> None:
    changed = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(WHOLE) - 1))] = data.draw(st.integers(0, 255))
    intact_or_refused(bytes(changed))


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    intact_or_refused(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from(["rows", "grid", "view", "origin", "similarity", "steps", "rule", "foil"]), json_values
)
def test_any_value_of_an_entry(name: str, value: Any) -> None:
    intact_or_refused(with_metadata({name: value}))


@given(
    st.sampled_from(
        [("rows", one) for one in ("caption", "texts", "spans", "words")]
        + [("view", "size"), ("view", "crop"), ("view", "digest")]
    ),
    json_values,
)
def test_any_value_within_an_entry(path: tuple[str, str], value: Any) -> None:
    size = int.from_bytes(WHOLE[:8], "little")
    entry = json.loads(json.loads(WHOLE[8 : 8 + size])["__metadata__"]["result"])[path[0]]
    intact_or_refused(with_metadata({path[0]: entry | {path[1]: value}}))
