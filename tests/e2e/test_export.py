"""A page written by `ipywidgets.embed`, in a browser without a kernel and without a network.

Such a page loads scripts from the network. Here, a few lines replace them and treat the state as they do:
read it from the page, put its buffers in place, and pass it to the widget's own code.
"""

import io
import re
from collections.abc import Iterator

import pytest
from ipywidgets.embed import dependency_state, embed_minimal_html
from playwright.sync_api import Browser, Page, expect
from support.widgets import make

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HOST = """
async () => {
  const text = document.querySelector("script[type='application/vnd.jupyter.widget-state+json']").textContent;
  const { state, buffers } = Object.values(JSON.parse(text).state)
    .find((one) => one.model_name === "AnyModel");
  for (const { path: [name], data } of buffers) {
    state[name] = new DataView(Uint8Array.from(atob(data), (char) => char.charCodeAt(0)).buffer);
  }
  const listeners = new Map();
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      for (const listener of listeners.get(`change:${name}`) ?? []) listener();
    },
    save_changes: () => {},
    send: () => {},
    on: (event, listener) => listeners.set(event, [...(listeners.get(event) ?? []), listener]),
    off: () => {},
  };
  const style = document.head.appendChild(document.createElement("style"));
  style.textContent = state._css;
  const code = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
  const widget = (await import(code)).default();
  await widget.initialize({ model });
  await widget.render({ model, el: document.body });
}
"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()


def test_page_without_a_kernel(page: Page) -> None:
    widget = make(caption="a red boat")
    result = widget.wait(60)
    written = io.StringIO()
    embed_minimal_html(written, views=[widget], state=dependency_state([widget]))
    without_network = re.sub(r"<script src=.*?</script>", "", written.getvalue())
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    page.set_content(without_network)
    page.evaluate(HOST)
    words = page.get_by_test_id("exclip-word")
    expect(words).to_have_text(["a", "red", "boat"])
    expect(page.get_by_test_id("exclip")).to_have_attribute("data-phase", "done")
    shown = [float(word.get_attribute("data-value") or "nan") for word in words.all()]
    expected = result.values[1:4].sum((1, 2))
    assert shown == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-5)

    heat = page.get_by_test_id("exclip-heat")
    plain = heat.evaluate("canvas => canvas.toDataURL()")
    words.last.click()
    expect(words.last).to_have_attribute("aria-pressed", "true")
    page.wait_for_function(
        "old => document.querySelector('[data-testid=exclip-heat]').toDataURL() != old", arg=plain
    )
    assert not errors
