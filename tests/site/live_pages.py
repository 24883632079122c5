"""What the tests of live figures ask in Chromium, whichever the figure."""

UPDATE = """(changes) => {
  const figure = dln.mounted[0];
  Object.assign(figure.params, changes);
  figure.update();
  const result = figure.result;
  const lists = Object.entries(result.series).map(([id, v]) => [id, v && Array.from(v)]);
  return { ...result, t: Array.from(result.t), series: Object.fromEntries(lists) };
}"""


def set_params(page, params: dict) -> dict:
    """The result behind the figure with these values of its sliders."""
    return page.evaluate(UPDATE, params)


def drawing(page) -> str:
    return page.locator(".live-drawing").first.inner_html()


def slider(page, name: str):
    return page.locator(f".live-slider input[id$='-{name}']")


def output(page, name: str) -> str:
    return page.locator(f".live-slider output[for$='-{name}']").inner_text()


def assert_image_without_scripts_and_on_paper(visit, name: str) -> None:
    """The static image shows exactly where the figure does not, above the same caption."""
    plain = visit(scripts=False)
    assert plain.locator(f"figure.{name} img").is_visible()
    assert plain.locator(".live").count() == 0
    live = visit()
    assert not live.locator(f"figure.{name} img").is_visible()
    assert live.locator(f"figure.{name} .live").is_visible()
    assert live.locator(f"figure.{name} figcaption").is_visible()
    live.emulate_media(media="print")
    assert live.locator(f"figure.{name} img").is_visible()
    assert not live.locator(".live").is_visible()


def assert_controls_have_names(page) -> None:
    """Every slider and every drawing says to a screen reader what it is."""
    for control in page.locator(".live input").all():
        assert control.evaluate("(e) => e.labels.length === 1 && e.labels[0].innerText.length > 3")
    for plot in page.locator(".live-plot").all():
        assert plot.get_attribute("role") == "img"
        assert len(plot.get_attribute("aria-label")) > 20


def middle(locator, share: float) -> tuple[float, float]:
    """The place to point at, at a share of the width of an element."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


def fits_a_phone(page) -> bool:
    """Whether nothing reaches beyond 360 pixels or is written smaller than 11."""
    start, edges, sizes = page.evaluate(
        """() => {
          const root = document.querySelector(".live").getBoundingClientRect();
          const texts = [...document.querySelectorAll(".live-plot text")];
          const boxes = texts.map((e) => e.getBoundingClientRect());
          const words = document.querySelectorAll(".live label, .live output, .live-note");
          const sizes = [...texts, ...words].map((e) => {
            const svg = e.ownerSVGElement;
            const scale = svg ? svg.clientWidth / svg.viewBox.baseVal.width : 1;
            return scale * parseFloat(getComputedStyle(e).fontSize);
          });
          const edges = [document.documentElement.scrollWidth, root.right];
          return [
            Math.min(...boxes.map((box) => box.left)) - root.left,
            [...edges, ...boxes.map((box) => box.right)],
            sizes,
          ];
        }"""
    )
    return start >= -1 and max(edges) <= 360 and min(sizes) >= 11
