/* Live figures: sliders that move curves, drawn as SVG by this script and plot.js alone.

   A chapter draws a static figure as always and gives it the class `live-<name>`; where scripts
   run, `dln.figures.<name>` of figures/<name>.js takes the place of the image, above the same
   caption.  This script is the last of the page: all definitions stand when it runs.
   A figure is a definition, or a function that makes one from data in the page.  A definition holds
     label    what the figure is, for a screen reader
     hint     what to do with it, in a few words; the same for all figures by default
     sliders  [{id, label, min, max, step, value, format(value) -> text}]
     switches [{id, label, value, choices}]: boxes to tick; with choices, the names of false and
              true, a question above the panels
     time     {label, value}: the slider that moves the cursor, and where it starts
     panels   [{id, label, about, height, curves, bands, levels, ceiling, log, rows, isShort}], one
              below the other; a curve or a band is {id, label, colour, dash, format(value) -> text}, a
              level the name of a horizontal line; the label may be a function of the params;
              nothing above the ceiling is drawn, and with isFull the axis always ends there;
              log: [low, high] makes the axis logarithmic, and nothing beyond is drawn; rows are for names of markers, above the first panel,
              or isInside puts them into it; isShort keeps name and keys on one line on a phone,
              where they fit
     compute  params -> {t, log, series: {id: values or null}, others: {id: [values, ...]},
              levels: {name: {value, label, isLeft}}, markers: [{t, label, colour}],
              ends: {panel: [{id, label}]}, here(index), note}, with t increasing; a curve ends
              at its first value that is null, others are thin curves behind it; the name of a
              level stands above it on the right, or below it on the left; ends are names at the
              right ends of a curve, or of the first of its others; here names the cursor in the
              first panel; the note is a sentence, read out when it changes
   Labels and the note may hold HTML, names of markers SVG.  Colours are names of the variables
   --live-<colour> in live.css. */
(function () {
  "use strict";

  const THUMB = 24; // as in live.css

  /* ---- elements ---- */

  function element(tag, attributes = {}, inner = "") {
    const made = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    made.innerHTML = inner;
    return made;
  }

  function swatch(item, isBand) {
    const [wide, drawn] = isBand
      ? [12, `<rect y="1" width="12" height="10" rx="1.5" fill="var(--live-${item.colour})"/>`]
      : [22, `<path d="M0 6H22" class="live-curve" ${dln.plot.stroke(item)}/>`];
    return `<svg width="${wide}" height="12" aria-hidden="true">${drawn}</svg>`;
  }

  /* A labelled range input with its value beside the label. */
  function makeSlider(prefix, slider, onInput) {
    const id = `${prefix}-${slider.id}`;
    const box = element("div", { class: "live-slider" });
    const label = element("label", { for: id }, slider.label);
    const output = element("output", { for: id, "aria-live": "off" });
    const { min, max, step } = slider;
    const input = element("input", { type: "range", id, min, max, step });
    input.autocomplete = "off"; // a reloaded page starts from the defaults
    input.addEventListener("input", () => onInput(Number(input.value)));
    const show = (value, text) => {
      input.value = value;
      input.style.setProperty("--live-done", (input.value - min) / (input.max - min || 1));
      input.setAttribute("aria-valuetext", text);
      output.textContent = text;
    };
    box.append(label, output, input);
    return { box, input, show };
  }

  /* How it is moved without a mouse; a phone has no such keys, and no room. */
  dln.keys = '<span class="live-keys"> Keyboard: Tab, then arrow keys.</span>';
  const HINT = `Drag in a plot, or move a slider.${dln.keys}`;

  /* A box to tick. */
  function makeSwitch({ label }, onChange) {
    const tick = `<input type="checkbox"><span>${label}</span>`;
    const box = element("label", { class: "live-switch" }, tick);
    const input = box.querySelector("input");
    input.autocomplete = "off";
    input.addEventListener("change", () => onChange(input.checked));
    return { box, show: (value) => (input.checked = value) };
  }

  /* A question with two answers. */
  function makeChoice(prefix, { id, label, choices }, onChange) {
    const name = `${prefix}-${id}`;
    const answers = choices.map((choice) => `<label><input type="radio" name="${name}">${choice}</label>`);
    const inside = `<legend>${label}</legend>${answers.join("")}`;
    const box = element("fieldset", { class: "live-choice" }, inside);
    const inputs = [...box.querySelectorAll("input")];
    inputs.forEach((input, i) => {
      input.autocomplete = "off";
      input.addEventListener("change", () => onChange(i === 1));
    });
    return { box, show: (value) => (inputs[Number(value)].checked = true) };
  }

  const plain = (value) => dln.plot.fixed(value, 2).replace("−0.00", "0.00");

  /* A panel: its head with the keys and their values, and its drawing. */
  function makePanel(panel) {
    const box = element("div", { class: "live-panel" });
    const head = element("div", { class: `live-head${panel.isShort ? " live-short" : ""}` });
    const title = element("span", { class: "live-title" });
    head.append(title);
    const keys = [
      ...(panel.bands || []).map((item) => ({ item, isBand: true })),
      ...(panel.curves || []).map((item) => ({ item, isBand: false })),
    ].map(({ item, isBand }) => {
      const name = `${swatch(item, isBand)}<span>${item.label}</span>`;
      const key = element("span", { class: "live-key" }, name);
      const output = element("output", { "aria-live": "off", "data-series": item.id });
      key.append(output);
      head.append(key);
      const format = item.format || plain;
      return { id: item.id, format: (v) => (v === null ? "–" : format(v)), key, output };
    });
    box.append(head);
    box.insertAdjacentHTML(
      "beforeend",
      `<svg class="live-plot" role="img" aria-label="${panel.about}" data-panel="${panel.id}">` +
        `<g class="live-drawing"></g><g class="live-cursor"></g></svg>`,
    );
    return { panel, box, title, keys, svg: box.querySelector(".live-plot") };
  }

  /* ---- the figure ---- */

  /* Build a figure in front of `image`, which then shows in print alone. */
  dln.mount = function (name, given, image) {
    const definition = typeof given === "function" ? given() : given;
    const { EDGE, fixed, layOut, drawing, cursor } = dln.plot;
    const prefix = `live-${name}-${dln.mounted.length}`;
    const root = element("div", { class: "live", role: "group", "aria-label": definition.label });
    const params = {};
    let result, plans, index, width, said;
    let time = definition.time.value;

    const panels = definition.panels.map(makePanel);
    const sliders = definition.sliders.map((slider) => {
      const made = makeSlider(prefix, slider, (value) => {
        params[slider.id] = value;
        update();
      });
      return { ...made, slider };
    });
    const steps = { id: "time", label: definition.time.label, min: 0, max: 1, step: 1 };
    const clock = makeSlider(prefix, steps, (value) => moveTo(result.t[value]));
    clock.box.classList.add("live-time");
    const switches = (definition.switches || []).map((item) => {
      const onChange = (value) => {
        params[item.id] = value;
        update();
      };
      const made = item.choices ? makeChoice(prefix, item, onChange) : makeSwitch(item, onChange);
      return { ...made, item };
    });
    const questions = switches.filter(({ item }) => item.choices);
    const ticks = switches.filter(({ item }) => !item.choices);
    const reset = element("button", { type: "button", class: "live-reset" }, "Reset");
    const hint = element("p", { class: "live-hint" }, `<span>${definition.hint || HINT}</span>`);
    hint.append(reset);
    const board = element("div", { class: "live-board" });
    const note = element("p", { class: "live-note", "aria-live": "polite" });
    const boxes = (items) => items.map(({ box }) => box);
    board.append(...boxes(sliders), ...boxes(ticks));
    root.append(hint, ...boxes(questions), ...boxes(panels), clock.box, board, note);

    function update() {
      result = definition.compute({ ...params });
      sliders.forEach(({ slider: { id, format }, show }) => show(params[id], format(params[id])));
      switches.forEach(({ show, item }) => show(params[item.id]));
      panels.forEach(({ panel: { label }, title }) => {
        title.innerHTML = typeof label === "function" ? label(params) : label;
      });
      const words = result.note || "";
      if (words !== said) note.innerHTML = said = words; // what stays is not read out again
      note.hidden = !words;
      clock.input.max = result.t.length - 1;
      draw();
    }

    function draw() {
      const last = panels.length - 1;
      plans = panels.map((made, i) => layOut(made, result, width, i === 0, i === last));
      plans.forEach((plan, i) => {
        const { svg } = panels[i];
        svg.setAttribute("viewBox", `0 0 ${width} ${plan.height}`);
        svg.style.aspectRatio = `${width} / ${plan.height}`;
        svg.querySelector(".live-drawing").innerHTML = drawing(plan, result);
      });
      moveTo(time);
    }

    function moveTo(wanted) {
      time = wanted;
      const last = result.t.length - 1;
      index = result.t.findIndex((t) => t >= wanted * (1 - 1e-12));
      if (index < 0) index = last;
      const now = result.t[index];
      const digits = Math.max(0, 2 - Math.floor(Math.log10(result.t[last] / 2)));
      clock.show(index, fixed(now, digits));
      plans.forEach((plan, i) => {
        const { svg, keys } = panels[i];
        svg.querySelector(".live-cursor").innerHTML = cursor(plan, result, index, plan.x(now));
        keys.forEach(({ id, format, key, output }) => {
          const values = result.series[id];
          key.hidden = !values;
          if (values) output.textContent = format(values[index]);
        });
      });
    }

    function start() {
      const controls = [...definition.sliders, ...(definition.switches || [])];
      controls.forEach(({ id, value }) => (params[id] = value));
      time = definition.time.value;
      update();
    }

    /* In idle moments, each slider's far end once: the first move then finds compiled code and full
       tables.  The last asks for what is drawn, which a model may keep. */
    let isRehearsed = false;
    function rehearse([changes, ...others]) {
      requestIdleCallback(() => {
        definition.compute({ ...params, ...changes });
        if (others.length) rehearse(others);
        else isRehearsed = true;
      });
    }

    function point(event) {
      const box = panels[0].svg.getBoundingClientRect();
      const [at, half] = [event.clientX - box.left, box.width / result.t.length / 2];
      moveTo(result.t.find((t) => plans[0].x(t) >= at - half) ?? Infinity);
    }

    function fit() {
      const room = Math.round(root.clientWidth);
      if (room === width || room === 0) return;
      width = room;
      draw();
    }

    panels.forEach(({ svg }) => {
      svg.addEventListener("pointerdown", point);
      svg.addEventListener("pointermove", (event) => event.buttons && point(event));
    });
    reset.addEventListener("click", start);
    root.style.setProperty("--live-left", `${EDGE.left - THUMB / 2}px`);
    root.style.setProperty("--live-right", `${EDGE.right - THUMB / 2}px`);
    image.before(root);
    width = Math.round(root.clientWidth) || 640;
    try {
      start();
    } catch (error) {
      root.remove(); // the static image stays
      throw error;
    }
    image.classList.add("live-static");
    new ResizeObserver(fit).observe(root);
    const ends = definition.sliders.map(({ id, max }) => ({ [id]: max }));
    if (window.requestIdleCallback) rehearse([...ends, {}]); // Safari has none
    const mounted = {
      name, root, params, update,
      get result() { return result; },
      get isRehearsed() { return isRehearsed; },
    };
    dln.mounted.push(mounted);
    return mounted;
  };

  function mountAll() {
    for (const [name, definition] of Object.entries(dln.figures)) {
      for (const image of document.querySelectorAll(`figure.live-${name} img`)) {
        dln.mount(name, definition, image.closest("a") || image);
      }
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mountAll);
  else mountAll();
})();
