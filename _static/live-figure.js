/* Live figures: sliders that move curves, drawn as SVG by this script alone.

   A chapter draws a static figure as always and gives it the class `live-<name>`; where scripts
   run, `dln.figures.<name>` takes the place of the image, above the same caption.
   A definition holds
     label    what the figure is, for a screen reader
     sliders  [{id, label, min, max, step, value, format(value) -> text}]
     switches [{id, label, value}]: boxes to tick
     time     {label, value}: the slider that moves the cursor, and where it starts
     panels   [{id, label, about, height, curves, bands, levels, ceiling, rows}], one below the
              other; a curve or a band is {id, label, colour, dash}, a level the name of a
              horizontal line; the label may be a function of the params; nothing above the
              ceiling is drawn; rows are for names of markers, above the first panel
     compute  params -> {t, log, series: {id: values or null}, levels: {name: {value, label}},
              markers: [{t, label, colour}], note}, with t in equal steps, or equal factors if log;
              the note is a sentence, read out when it changes
   Labels and the note may hold HTML, names of markers SVG.  Colours are names of the variables
   --live-<colour> in live-figure.css. */
(function () {
  "use strict";
  const dln = (window.dln = window.dln || {});
  dln.figures = dln.figures || {};
  dln.mounted = [];

  const EDGE = { left: 44, right: 14, top: 9, bottom: 6, ticks: 22 }; // pixels around a panel
  const THUMB = 24; // as in live-figure.css
  const LINE = 15; // height of a line of text

  /* ---- numbers and shapes ---- */

  const fixed = (value, digits) => value.toFixed(digits).replace("-", "−");

  /* 0.00056 as "5.6 × 10⁻⁴", a power of ten without its factor. */
  dln.scientific = function (value) {
    const [factor, power] = value.toExponential(1).split("e");
    const raise = (character) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(character)];
    const raised = power.replace("+", "").replace(/./g, raise);
    return `${factor === "1.0" ? "" : `${factor} × `}10${raised}`;
  };

  /* Round ticks that enclose low and high; what is flat but for rounding gets a unit of room. */
  function ticksBetween(low, high, count) {
    if (high - low < 1e-9) high = low + 1;
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const factor = [1, 2, 2.5, 5, 10].find((r) => r * power >= raw * (1 - 1e-9));
    const step = power * factor;
    const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
    const whole = -Math.floor(Math.log10(step) + 1e-9);
    const digits = Math.max(0, factor === 2.5 ? whole + 1 : whole);
    return Array.from({ length: last - first + 1 }, (_, i) => {
      const value = (first + i) * step;
      return { value, text: fixed(value, digits).replace(/^−(0\.?0*)$/, "$1") };
    });
  }

  const tenths = (value) => Math.round(10 * value) / 10; // many times faster than toFixed
  const points = (xs, ys) => xs.map((x, i) => `${x} ${ys[i]}`);
  const curvePath = (xs, ys) => `M${points(xs, ys).join("L")}`;
  const bandPath = (xs, upper, lower) =>
    `M${points(xs, upper).concat(points(xs, lower).reverse()).join("L")}Z`;

  /* Bands stacked from zero: what is positive upwards, what is negative downwards. */
  function stack(bands, series, size) {
    const top = new Float64Array(size);
    const bottom = new Float64Array(size);
    const pieces = [];
    for (const band of bands.filter((b) => series[b.id])) {
      for (const [edge, part] of [[top, Math.max], [bottom, Math.min]]) {
        const inner = edge.slice();
        series[band.id].forEach((value, i) => (edge[i] += part(value, 0)));
        pieces.push({ band, inner, outer: edge.slice() });
      }
    }
    return { pieces, top, bottom };
  }

  /* ---- elements ---- */

  function element(tag, attributes = {}, inner = "") {
    const made = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    made.innerHTML = inner;
    return made;
  }

  const stroke = (item) =>
    `stroke="var(--live-${item.colour})"${item.dash ? ` stroke-dasharray="${item.dash}"` : ""}`;

  function swatch(item, isBand) {
    const [wide, drawn] = isBand
      ? [12, `<rect y="1" width="12" height="10" rx="1.5" fill="var(--live-${item.colour})"/>`]
      : [22, `<path d="M0 6H22" class="live-curve" ${stroke(item)}/>`];
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

  /* A panel: its head with the keys and their values, and its drawing. */
  function makePanel(panel) {
    const box = element("div", { class: "live-panel" });
    const head = element("div", { class: "live-head" });
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
      return { id: item.id, key, output };
    });
    box.append(head);
    box.insertAdjacentHTML(
      "beforeend",
      `<svg class="live-plot" role="img" aria-label="${panel.about}" data-panel="${panel.id}">` +
        `<g class="live-drawing"></g><g class="live-cursor"></g></svg>`,
    );
    return { panel, box, title, keys, svg: box.querySelector(".live-plot") };
  }

  /* ---- drawing ---- */

  /* From times to places between two edges. */
  function scale({ t, log }, left, right) {
    const of = log ? Math.log : (time) => time;
    const [first, last] = [of(t[0]), of(t[t.length - 1])];
    return (time) => left + ((right - left) * (of(time) - first)) / (last - first);
  }

  /* What a panel shows, and its scales; the first has room for the names of the markers, the last
     for the ticks of time. */
  function layOut({ panel }, result, width, isFirst, isLast) {
    const { t, series, levels } = result;
    const stacked = stack(panel.bands || [], series, t.length);
    const shown = (panel.curves || []).filter((curve) => series[curve.id]);
    const lines = (panel.levels || []).map((name) => levels[name]);
    let [low, high] = [0, 0];
    const widen = (value) => {
      if (value < low) low = value;
      if (value > high) high = value;
    };
    for (const values of [stacked.top, stacked.bottom, ...shown.map((c) => series[c.id])])
      values.forEach(widen);
    lines.forEach((line) => widen(line.value));
    if (panel.ceiling < high) high = panel.ceiling;
    const ticks = ticksBetween(low, high, panel.height / 33);
    const [first, last] = [ticks[0].value, ticks[ticks.length - 1].value];
    const rows = isFirst ? panel.rows || 1 : 0;
    const top = EDGE.top + LINE * rows;
    const foot = top + panel.height;
    const x = scale(result, EDGE.left, width - EDGE.right);
    const y = (value) => top + (panel.height * (last - value)) / (last - first);
    const height = foot + (isLast ? EDGE.ticks : EDGE.bottom);
    const { ceiling } = panel;
    return { stacked, shown, lines, ticks, x, y, ceiling, rows, width, top, foot, height, isLast };
  }

  function timeTicks({ t, log }, width) {
    const [first, last] = [t[0], t[t.length - 1]];
    const inside = ({ value }) => value >= first * (1 - 1e-9) && value <= last * (1 + 1e-9);
    if (!log) return ticksBetween(first, last, Math.max(4, Math.min(8, width / 85))).filter(inside);
    const decades = Array.from({ length: 31 }, (_, i) => 10 ** (i - 15));
    return decades.filter((value) => inside({ value })).map((value) => ({
      value,
      text: value < 1e-3 || value > 1e3 ? dln.scientific(value) : String(value),
    }));
  }

  function axes({ ticks, x, y, width, top, foot, isLast }, result) {
    const across = ticks.map(({ value, text }) => {
      const kind = value === 0 ? "live-zero" : "live-grid";
      return (
        `<path class="${kind}" d="M${EDGE.left} ${y(value)}H${width - EDGE.right}"/>` +
        `<text x="${EDGE.left - 7}" y="${y(value)}" dy="0.35em" text-anchor="end">${text}</text>`
      );
    });
    const along = timeTicks(result, width).map(({ value, text }) => {
      const place = `x="${x(value)}" y="${foot + LINE + 3}" text-anchor="middle"`;
      const label = `<text ${place}>${text}</text>`;
      return `<path class="live-grid" d="M${x(value)} ${top}V${foot}"/>${isLast ? label : ""}`;
    });
    return [...along, ...across].join("");
  }

  function contents(plan, { t, series }) {
    const xs = Array.from(t, (time) => tenths(plan.x(time)));
    const heights = (values) => Array.from(values, (value) => tenths(plan.y(value)));
    const bands = plan.stacked.pieces.map(
      ({ band, outer, inner }) =>
        `<path class="live-band" data-series="${band.id}" fill="var(--live-${band.colour})" ` +
        `d="${bandPath(xs, heights(outer), heights(inner))}"/>`,
    );
    const levels = plan.lines.map(
      ({ value, label }) =>
        `<path class="live-level" d="M${EDGE.left} ${plan.y(value)}H${plan.width - EDGE.right}"/>` +
        `<text class="live-level-name" x="${plan.width - EDGE.right}" y="${plan.y(value) - 5}" ` +
        `text-anchor="end">${label}</text>`,
    );
    const curves = plan.shown.map(
      (curve) =>
        `<path class="live-curve" data-series="${curve.id}" ${stroke(curve)} ` +
        `d="${curvePath(xs, heights(series[curve.id]))}"/>`,
    );
    return [...bands, ...levels, ...cut(curves, plan)].join("");
  }

  /* Under a ceiling curves are cut off; an inner svg cuts at its edges. */
  function cut(curves, { ceiling, width, top, foot }) {
    if (ceiling === undefined) return curves;
    const [above, height] = [top - 1, foot - top + 3];
    const place = `y="${above}" width="${width}" height="${height}"`;
    return [`<svg ${place} viewBox="0 ${above} ${width} ${height}">`, ...curves, "</svg>"];
  }

  /* Dotted lines at the marked times, named in the first panel; close names share no row. */
  function markerLines({ x, top, foot, rows, width }, markers) {
    let [row, before] = [0, -Infinity];
    const placed = [...markers]
      .sort((a, b) => a.t - b.t)
      .map((marker) => {
        const at = x(marker.t);
        const long = 8 * marker.label.replace(/<[^>]*>/g, "").length;
        row = at - before < long + 8 ? row + 1 : 0;
        before = at;
        const centre = Math.max(long / 2, Math.min(at, width - long / 2)); // whole at the edges
        return { ...marker, at, centre, row };
      });
    const above = Math.min(rows, 1 + Math.max(...placed.map((marker) => marker.row)));
    return placed
      .map(({ label, colour, at, centre, row }) => {
        const name =
          `<text class="live-marker-name" x="${centre}" ` +
          `y="${top - 5 + LINE * (row + 1 - above)}" text-anchor="middle">${label}</text>`;
        const tint = colour ? ` style="stroke: var(--live-${colour})"` : "";
        return `<path class="live-marker" d="M${at} ${top}V${foot}"${tint}/>${rows ? name : ""}`;
      })
      .join("");
  }

  function cursor(plan, { series }, index, at) {
    const seen = plan.shown.filter(({ id }) => !(series[id][index] > plan.ceiling));
    const dots = seen.map(({ id, colour }) => {
      const y = plan.y(series[id][index]);
      return `<circle cx="${at}" cy="${y}" r="4" fill="var(--live-${colour})"/>`;
    });
    return `<path class="live-now" d="M${at} ${plan.top}V${plan.foot}"/>${dots.join("")}`;
  }

  /* ---- the figure ---- */

  /* Build a figure in front of `image`, which then shows in print alone. */
  dln.mount = function (name, definition, image) {
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
      const tick = `<input type="checkbox"><span>${item.label}</span>`;
      const box = element("label", { class: "live-switch" }, tick);
      const input = box.querySelector("input");
      input.autocomplete = "off";
      input.addEventListener("change", () => {
        params[item.id] = input.checked;
        update();
      });
      return { box, input, item };
    });
    const reset = element("button", { type: "button", class: "live-reset" }, "Reset");
    const board = element("div", { class: "live-board" });
    board.append(...[...sliders, ...switches].map(({ box }) => box), reset);
    const note = element("p", { class: "live-note", "aria-live": "polite" });
    root.append(...panels.map(({ box }) => box), clock.box, note, board);

    function update() {
      result = definition.compute({ ...params });
      sliders.forEach(({ slider: { id, format }, show }) => show(params[id], format(params[id])));
      switches.forEach(({ input, item }) => (input.checked = params[item.id]));
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
        svg.querySelector(".live-drawing").innerHTML =
          axes(plan, result) + contents(plan, result) + markerLines(plan, result.markers || []);
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
        keys.forEach(({ id, key, output }) => {
          const values = result.series[id];
          key.hidden = !values;
          if (values) output.textContent = fixed(values[index], 2).replace("−0.00", "0.00");
        });
      });
    }

    function start() {
      const controls = [...definition.sliders, ...(definition.switches || [])];
      controls.forEach(({ id, value }) => (params[id] = value));
      time = definition.time.value;
      update();
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
    const mounted = { name, root, params, update, get result() { return result; } };
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
