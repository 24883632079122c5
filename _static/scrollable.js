/* What is wider than its place scrolls, and what scrolls can be reached by keyboard: formulas,
   tables, code and output.  The width of the window decides, so it is asked again when it changes.
   MathJax makes every formula a stop of the keyboard; those that fit are none here.
   The edge behind which more can be seen has a class, and fades (custom.css).
   A formula that is wider by a few letters is set a little smaller, and does not scroll. */
"use strict";

(() => {
  const boxes = "mjx-container, .bd-article table, .bd-article pre";
  const lines = "p, li, dd, dt, td, th, figcaption, div";

  /* How much is hidden on each side. */
  const hidden = (e) => [e.scrollLeft, e.scrollWidth - e.clientWidth - e.scrollLeft];

  function fade(box, [left, right]) {
    box.classList.toggle("more-left", left > 1);
    box.classList.toggle("more-right", right > 1);
  }

  const least = 0.86; // of its size, for a formula that is made to fit
  const sizes = new Map(); // of those made smaller: what MathJax had written

  function fit(formulas) {
    const narrow = (e) => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1;
    const part = (e) => e.clientWidth / e.scrollWidth;
    const size = (e) => 0.99 * part(e) * parseFloat(getComputedStyle(e).fontSize);
    const close = formulas.filter((e) => narrow(e) && part(e) > least);
    const smaller = close.map(size);
    close.forEach((e, i) => {
      sizes.set(e, e.style.fontSize);
      e.style.setProperty("font-size", `${smaller[i]}px`, "important");
    });
  }

  function mark(part) {
    const found = [...part.querySelectorAll(boxes)];
    for (const [formula, size] of sizes) {
      if (part.contains(formula)) formula.style.fontSize = size;
    }
    const inline = found.filter((e) => e.matches("mjx-container:not([display=true])"));
    // All is measured before anything is changed, so that the page is laid out twice only.
    for (const formula of inline) formula.classList.remove("wide");
    const wide = inline.filter((e) => e.offsetWidth > e.closest(lines).clientWidth);
    for (const formula of wide) formula.classList.add("wide");
    fit(found.filter((e) => e.matches("mjx-container")));
    const scrolls = found.map((e) => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1);
    const sides = found.map((e, i) => (scrolls[i] ? hidden(e) : [0, 0]));
    found.forEach((box, i) => {
      fade(box, sides[i]);
      if (scrolls[i]) box.tabIndex = 0;
      else if (box.getAttribute("tabindex") === "0") box.removeAttribute("tabindex");
    });
  }

  addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    mark(document);
    addEventListener("resize", () => mark(document));
    document.addEventListener("scroll", (event) => {
      if (event.target.matches?.(boxes)) fade(event.target, hidden(event.target));
    }, { capture: true, passive: true });
    // What is folded has no width until it is opened.
    document.addEventListener("toggle", (event) => mark(event.target), true);
  });
})();
