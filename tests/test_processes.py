"""Explainers in other processes, pickled or forked."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from support.widgets import book
from support.zoo.families import family
from support.zoo.inputs import CAPTIONS, picture
from support.zoo.models import build, inputs_of, preprocess_for

from exclip_widget import Banzhaf, DualEncoder, Explainer, ParameterError


def test_a_copy_explains_alike() -> None:
    """Model, inputs, method, layers, references and options are all pickled."""
    model = build("plain")
    options = {"text_layer": 0, "image_layer": 1, "image_reference": "blur", "steps": 3, "seed": 5}
    explainer = Explainer(model, method="exclip", **options, **inputs_of(model))
    copy = pickle.loads(pickle.dumps(explainer))
    expected = explainer.explain(picture(), CAPTIONS[0])
    found = copy.explain(picture(), CAPTIONS[0])
    np.testing.assert_array_equal(found.values, expected.values)
    assert repr(copy) == repr(explainer)
    assert (found.text_layer, found.image_layer, found.steps) == (
        expected.text_layer,
        expected.image_layer,
        3,
    )
    # The copy, too, remembers a method's options until the method is chosen again.
    assert copy.with_method("gradient").with_method("exclip").method == explainer.method


@pytest.mark.parametrize("name", ["transformers CLIP", "open_clip CoCa", "OpenAI ResNet"])
def test_every_library_can_be_sent(name: str) -> None:
    this = family(name)
    explainer = Explainer(this.explained(this.model), method=Banzhaf(samples=8), **this.options)
    copy = pickle.loads(pickle.dumps(explainer))
    expected, found = (one.explain(picture(), "a red boat") for one in (explainer, copy))
    np.testing.assert_array_equal(found.values, expected.values)


def test_the_picture_book_can_be_sent() -> None:
    explainer = Explainer(book().model, tokenizer=book().tokenizer, method="exclip")
    copy = pickle.loads(pickle.dumps(explainer))
    page = book().pages[0]
    np.testing.assert_array_equal(
        copy.explain(page.image, page.caption).values, explainer.explain(page.image, page.caption).values
    )


def test_what_cannot_be_sent_is_named() -> None:
    model = build("plain")
    inputs = inputs_of(model)
    explainer = Explainer(
        model, **inputs | {"preprocess": lambda image: preprocess_for(model)(image)}, method="exclip"
    )
    with pytest.raises(ParameterError, match=r"preprocess cannot be sent.*rather than a lambda"):
        pickle.dumps(explainer)
    own = DualEncoder(
        model,
        encode_text=lambda ids: model.encode_text(ids),
        encode_image=model.encode_image,
        text_layers=["transformer.resblocks.0"],
        image_layers=["visual.transformer.resblocks.0"],
        padded=True,
    )
    with pytest.raises(ParameterError, match="encode_text cannot be sent"):
        pickle.dumps(Explainer(own, **inputs, method="exclip"))


FORK = """
    import multiprocessing, threading, time
    import numpy as np
    from support.zoo.inputs import CAPTIONS, picture
    from support.zoo.models import build, inputs_of
    from exclip_widget import explain

    model = build("plain").train()
    options = {"text_layer": 0, "image_layer": 0, **inputs_of(model)}
    expected = explain(model, picture(), CAPTIONS[0], method="exclip", steps=3, **options).values

    def explain_in_child(queue):
        training = [module.training for module in model.modules()]
        hooks = [len(module._forward_pre_hooks) for module in model.modules()]
        found = explain(model, picture(), CAPTIONS[0], method="exclip", steps=3, **options).values
        queue.put((bool(np.array_equal(found, expected)), all(training), sum(hooks)))

    begun = threading.Event()

    def work():
        while True:
            begun.set()
            explain(model, picture(1), CAPTIONS[1], method="exclip", steps=50, **options)

    threading.Thread(target=work, daemon=True).start()
    begun.wait()
    context = multiprocessing.get_context("fork")
    for pause in (0.01, 0.05, 0.1):
        time.sleep(pause)
        queue = context.Queue()
        child = context.Process(target=explain_in_child, args=(queue,))
        child.start()
        print(queue.get(timeout=60), flush=True)
        child.join(60)
    import os
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks with threads are safe on Linux only")
def test_a_fork_while_another_thread_explains() -> None:
    """The child neither waits for that thread forever nor inherits the modes and hooks that it has set."""
    code = "import torch; torch.set_num_threads(1)\n" + textwrap.dedent(FORK)
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.stdout.splitlines() == ["(True, True, 0)"] * 3, found.stderr


HASH = """
    import os, torch
    from support.zoo.models import build
    from exclip_widget.models.fingerprint import fingerprint

    torch.set_num_threads(2)
    model = build("plain")
    before = fingerprint(model.modules())
    if os.fork() == 0:
        print(fingerprint(model.modules()) == before, flush=True)
        os._exit(0)
    os.wait()
"""

LOCKS = """
    import os, threading, time
    from exclip_widget.inputs.seen import _waiting
    from exclip_widget.results.pictures import _lock

    begun = threading.Event()

    def hold(lock):
        with lock:
            begun.set()
            time.sleep(0.2)

    for lock in (_lock, _waiting.lock):
        begun.clear()
        threading.Thread(target=hold, args=(lock,)).start()
        begun.wait()
        if os.fork() == 0:
            os._exit(not lock.acquire(timeout=5))
        assert os.wait()[1] == 0
    print(True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks with threads are safe on Linux only")
@pytest.mark.parametrize("code", [HASH, LOCKS], ids=["hashed weights", "held locks"])
def test_a_fork_of_a_process_with_threads(code: str) -> None:
    """The threads that hashed weights, or hold a lock, do not exist in the child."""
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.stdout == "True\n", found.stderr
