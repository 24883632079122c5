/* What a link leads to, in a box beside it: words of the glossary, equations, theorems, captions,
   entries of the bibliography; and the meaning of a symbol.

   The box opens when the pointer rests on a link or when the keyboard reaches it, stays while the
   pointer is on the link or in the box, and is closed by Escape, by leaving, and by following the
   link.  A finger opens it by a tap; a second tap follows the link.  What is shown was written by
   tools/sphinx/previews.py and symbols.py. */
"use strict";

window.dlnPreviews = (() => {
  const links = "article a.reference.internal[href*='#']";
  const kinds = /^(equation-|term-|fig-|tab-|(thm|def|prop|cor|lem|ex|rem|alg)-)/;
  const wait = { open: 300, close: 250 };
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href).href;
  const pages = new Map(); // of what is loaded: address below the root -> promise of its previews
  const takers = new Map();
  let box, shown, timer, byFinger;

  /* Where a link leads, if there is a preview of it. */
  function target(link) {
    const [address, hash] = link.href.split("#");
    if (!address.startsWith(root)) return null;
    const page = address.slice(root.length).split("?")[0];
    const name = decodeURIComponent(hash);
    const cited = page.endsWith("bibliography.html") && /^id\d+$/.test(name);
    return kinds.test(name) || cited ? { page, name } : null;
  }

  /* The previews of a page: a script that calls take(), as no page may fetch a file. */
  function load(page) {
    if (!pages.has(page)) {
      pages.set(page, new Promise((resolve) => {
        const script = document.createElement("script");
        takers.set(page, resolve);
        script.src = `${root}_static/previews/${page.replace(/html$/, "js")}`;
        script.onerror = () => resolve({});
        document.head.append(script);
      }));
    }
    return pages.get(page);
  }

  async function content(anchor) {
    if (anchor.matches(".symbol")) {
      const number = [...anchor.classList].find((name) => /^symbol-\d+$/.test(name));
      const list = document.getElementById(number);
      if (!list) return "";
      const copy = (e) => Object.assign(document.createElement("div"), { innerHTML: e.innerHTML });
      const parts = [copy(list), copy(list.nextElementSibling)];
      parts[0].className = "preview-head";
      for (const part of parts) {
        for (const link of part.querySelectorAll("a")) link.replaceWith(...link.childNodes);
        for (const e of part.querySelectorAll("[tabindex]")) e.removeAttribute("tabindex");
      }
      return parts.map((part) => part.outerHTML).join("");
    }
    const { page, name } = target(anchor);
    return (await load(page))[name] ?? "";
  }

  function makeBox() {
    box = document.createElement("div");
    box.id = "preview";
    box.className = "preview";
    box.setAttribute("role", "tooltip");
    box.hidden = true;
    box.addEventListener("pointerenter", () => clearTimeout(timer));
    box.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && later(close));
    document.body.append(box);
  }

  function later(what, delay = wait.close) {
    clearTimeout(timer);
    timer = setTimeout(what, delay);
  }

  function close() {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    if (box) box.hidden = true;
  }

  /* Below the line of the anchor, or above it if there is room only there. */
  function place(anchor, point) {
    const lines = [...anchor.getClientRects()];
    const here = (r) => point && point.y >= r.top - 2 && point.y <= r.bottom + 2;
    const line = lines.find(here) ?? lines[0];
    box.style.left = box.style.top = "0";
    const width = document.documentElement.clientWidth;
    const { width: w, height: h } = box.getBoundingClientRect();
    const left = Math.max(8, Math.min(line.left, width - w - 8));
    const above = line.bottom + 6 + h > innerHeight && line.top - 6 - h >= 0;
    const top = above ? line.top - 6 - h : line.bottom + 6;
    box.style.left = `${left + scrollX}px`;
    box.style.top = `${top + scrollY}px`;
  }

  async function open(anchor, point, finger = false) {
    clearTimeout(timer);
    if (shown === anchor) return;
    close();
    shown = anchor;
    const html = await content(anchor);
    if (shown !== anchor) return;
    if (!html) {
      shown = null;
      if (finger && anchor.matches("a")) location.assign(anchor.href);
      return;
    }
    if (!box) makeBox();
    window.MathJax?.typesetClear?.([box]);
    box.innerHTML = html;
    if (finger && anchor.matches("a")) {
      const go = document.createElement("a");
      go.href = anchor.href;
      go.textContent = "Go there";
      box.append(go);
    }
    if (box.querySelector(".math:not(:has(mjx-container))") && window.MathJax?.startup) {
      await MathJax.startup.promise;
      await MathJax.typesetPromise([box]);
      for (const e of box.querySelectorAll("mjx-container")) e.removeAttribute("tabindex");
    }
    if (shown !== anchor) return;
    box.hidden = false;
    place(anchor, point);
    anchor.setAttribute("aria-describedby", box.id);
  }

  const anchorOf = (e) => {
    const found = e.target.closest?.(`.symbol, ${links}`);
    return found && !found.closest(".symbols-here") && (found.matches(".symbol") || target(found))
      ? found : null;
  };

  document.addEventListener("pointerdown", (e) => {
    byFinger = e.pointerType !== "mouse";
    if (shown && !box?.contains(e.target) && anchorOf(e) !== shown) close();
  }, true);
  document.addEventListener("pointerover", (e) => {
    const anchor = e.pointerType === "mouse" && anchorOf(e);
    if (!anchor) return;
    if (anchor === shown) clearTimeout(timer);
    else later(() => open(anchor, { y: e.clientY }), wait.open);
  });
  document.addEventListener("pointerout", (e) => {
    const anchor = e.pointerType === "mouse" && anchorOf(e);
    if (anchor && !anchor.contains(e.relatedTarget)) later(close);
  });
  document.addEventListener("focusin", (e) => {
    const anchor = anchorOf(e);
    if (anchor?.matches(":focus-visible")) open(anchor);
  });
  document.addEventListener("focusout", (e) => {
    if (shown && e.target === shown) close();
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape" && (shown || timer)) close();
  });
  document.addEventListener("click", (e) => {
    const anchor = anchorOf(e);
    if (!anchor) return;
    if (byFinger && e.detail > 0 && shown !== anchor) {
      e.preventDefault();
      open(anchor, { y: e.clientY }, true);
    } else if (anchor.matches("a")) close();
  }, true);
  addEventListener("pagehide", close);

  return { take: (page, found) => takers.get(page)?.(found) };
})();
