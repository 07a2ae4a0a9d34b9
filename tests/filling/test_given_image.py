"""One image per image_id, in whatever form it is given, and without decoding again what a store has."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from support.widgets import book

from exclip_widget import Explainer, ParameterError, Store, write_store
from exclip_widget.datasets import Pair, read_table
from exclip_widget.filling import given_image
from exclip_widget.store import Head, StoreWriter


def explainer() -> Explainer:
    return Explainer(book().model, tokenizer=book().tokenizer, method="exclip")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two sets, each with an image of the same name."""
    for name, page in zip(("train", "val"), book().pages, strict=False):
        (tmp_path / name).mkdir()
        page.image.save(tmp_path / name / "0.png")
        (tmp_path / name / "pairs.csv").write_text(f"id,image,caption\n{name},0.png,{page.caption}\n")
    return tmp_path


def pairs_of(folder: Path, name: str) -> list[Pair]:
    return list(read_table(folder / name / "pairs.csv"))


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def as_pixels(path: Path) -> torch.Tensor:
    return explainer().read_image(path)


class Once(io.BytesIO):
    """A file that can be read only once."""

    def seekable(self) -> bool:
        return False


FORMS: dict[str, Callable[[Path], Any]] = {
    "path": Path,
    "str": str,
    "PIL": opened,
    "array": lambda path: np.asarray(opened(path)),
    "bytes": lambda path: io.BytesIO(path.read_bytes()),
    "pixels": as_pixels,
}


def test_two_images_of_one_name_are_refused_in_one_call(folder: Path, tmp_path: Path) -> None:
    two = [*pairs_of(folder, "train"), *pairs_of(folder, "val")]
    message = r"image_id '0.png' is that of '.*train/0.png' and of another image, '.*val/0.png'; expected one"
    with pytest.raises(ParameterError, match=message):
        write_store(tmp_path / "store", explainer(), two)
    apart = [replace(pair, image_id=f"{pair.id}/{pair.image_id}") for pair in two]
    store = write_store(tmp_path / "apart", explainer(), apart, dtype="float32")
    for pair in apart:
        expected = explainer().explain(pair.image, pair.caption).similarity
        assert store.interactions(pair.id, pair.image_id).similarity == pytest.approx(expected, abs=1e-5)


def test_two_images_of_one_name_are_refused_in_two_calls(folder: Path, tmp_path: Path) -> None:
    write_store(tmp_path / "store", explainer(), pairs_of(folder, "train"))
    with pytest.raises(ParameterError, match=r"'0.png' has another image in store '.*' than '.*val/0.png'"):
        write_store(tmp_path / "store", explainer(), pairs_of(folder, "val"))
    assert Store(tmp_path / "store").captions == ("train",)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_compared(folder: Path, tmp_path: Path, form: str) -> None:
    (one,), (other,) = pairs_of(folder, "train"), pairs_of(folder, "val")
    same = [replace(one, id=name, image=FORMS[form](Path(str(one.image)))) for name in "abc"]
    write_store(tmp_path / "store", explainer(), same[:2])
    assert len(write_store(tmp_path / "store", explainer(), same[2:]).pairs) == 3
    another = replace(other, image=FORMS[form](Path(str(other.image))))
    with pytest.raises(ParameterError, match=r"^image_id '0.png' is that of .* and of another image, "):
        write_store(tmp_path / "store", explainer(), [same[0], another])
    with pytest.raises(ParameterError, match=r"^image_id '0.png' has another image in store"):
        write_store(tmp_path / "store", explainer(), [another])


def test_the_same_image_may_be_given_in_several_forms(folder: Path, tmp_path: Path) -> None:
    (one,) = pairs_of(folder, "train")
    path = Path(str(one.image))
    shutil.copy(path, copy := tmp_path / "copy.png")
    forms = [path, str(path), opened(path), np.asarray(opened(path)), copy, io.BytesIO(path.read_bytes())]
    pairs = [replace(one, id=str(number), image=image) for number, image in enumerate(forms)]
    assert len(write_store(tmp_path / "store", explainer(), pairs).pairs) == len(forms)
    for pair in pairs:
        assert len(write_store(tmp_path / "store", explainer(), [pair]).images) == 1


def test_a_file_that_was_replaced_is_noticed(folder: Path, tmp_path: Path) -> None:
    """Even by one with the same size and time."""
    pairs = pairs_of(folder, "train")
    path = Path(str(pairs[0].image))
    Image.fromarray(np.asarray(book().pages[0].image)).save(path, format="BMP")
    write_store(tmp_path / "store", explainer(), pairs)
    before = path.stat()
    Image.fromarray(np.asarray(book().pages[1].image)).save(path, format="BMP")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    with pytest.raises(ParameterError, match=r"another image in store .* than .*0.png'.* another store"):
        write_store(tmp_path / "store", explainer(), pairs)


def test_what_a_store_has_is_not_decoded_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = pairs_of(folder, "train")
    data = Path(str(one.image)).read_bytes()
    pairs = [one, replace(one, id="bytes", image_id="bytes", image=io.BytesIO(data))]
    write_store(tmp_path / "store", explainer(), pairs)
    looked: list[object] = []

    def open_image(image: Any) -> Image.Image:
        looked.append(image)
        return opened(image)

    monkeypatch.setattr(given_image, "open_image", open_image)
    again = [*pairs, replace(pairs[1], image=io.BytesIO(data)), *pairs]
    assert len(write_store(tmp_path / "store", explainer(), again).pairs) == 2
    assert not looked
    os.utime(Path(str(one.image)), (0, 0))  # the same image, in a file that has changed
    assert len(write_store(tmp_path / "store", explainer(), again).pairs) == 2
    assert len(looked) == 1


def test_parts_without_stamps_are_compared_by_pixels(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_store(store, explainer(), pairs_of(folder, "train"))
    for path in (store / "images").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["stamp"]), path)
    assert len(write_store(store, explainer(), pairs_of(folder, "train")).pairs) == 1
    with pytest.raises(ParameterError, match="another image in store"):
        write_store(store, explainer(), pairs_of(folder, "val"))


def test_what_cannot_be_compared_is_taken_for_the_same(folder: Path, tmp_path: Path) -> None:
    """A file that is gone, and one that can be read only once."""
    (one,) = pairs_of(folder, "train")
    data = Path(str(one.image)).read_bytes()
    write_store(tmp_path / "store", explainer(), [replace(one, image=Once(data))])
    Path(str(one.image)).unlink()
    for image in (one.image, Once(data)):
        assert len(write_store(tmp_path / "store", explainer(), [replace(one, image=image)]).pairs) == 1


def test_a_position_in_an_open_file_is_restored(folder: Path) -> None:
    with (folder / "train" / "0.png").open("rb") as file:
        file.seek(7)
        assert given_image.look_at(file).stamp is not None
        assert file.tell() == 7


def test_a_writer_refuses_factors_of_another_image(tmp_path: Path) -> None:
    own = explainer()
    factors = own.image_factors([page.image for page in book().pages[:2]])
    with StoreWriter(tmp_path / "store", Head(own.recipe())) as writer:
        writer.add_image("0", factors[0])
        writer.add_image("0", factors[0])
        with pytest.raises(ParameterError, match=r"image_id '0' has another image in store .* these factors"):
            writer.add_image("0", factors[1])
