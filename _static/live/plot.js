/* The drawing of live figures: from what a definition computes to SVG (see figure.js).

   The first of the scripts of a live figure: it makes the one name, `dln`, that they share. */
(function () {
  "use strict";
  const dln = (window.dln = { figures: {}, mounted: [] });

  const EDGE = { left: 44, right: 14, top: 9, bottom: 6, ticks: 22 }; // pixels around a panel
  const LINE = 15; // height of a line of text
  const NARROW = 420; // a phone, where panels are lower

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

  /* Powers of ten between low and high, every second or third if they are more than count; between
     few of them also thrice each. */
  function powersBetween(low, high, count) {
    const inside = (value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9);
    const whole = Array.from({ length: 41 }, (_, i) => i - 20);
    const each = Math.ceil(Math.log10(high / low) / count);
    const some = whole.filter((power) => power % each === 0).map((power) => 10 ** power);
    const isFew = some.filter(inside).length < 3;
    const values = isFew ? some.flatMap((value) => [value, 3 * value]) : some;
    return values.filter(inside).map((value) => ({
      value,
      text: value < 1e-3 || value > 1e3 ? dln.scientific(value) : String(+value.toPrecision(3)),
    }));
  }

  const tenths = (value) => Math.round(10 * value) / 10; // many times faster than toFixed
  const points = (xs, ys) => ys.map((y, i) => `${xs[i]} ${y}`);
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

  const stroke = (item) =>
    `stroke="var(--live-${item.colour})"${item.dash ? ` stroke-dasharray="${item.dash}"` : ""}`;

  /* About how many pixels a name takes. */
  const letters = (name) => 8 * name.replace(/<[^>]*>/g, "").length;

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
    const isInside = isFirst && Boolean(panel.isInside);
    const rows = isFirst && !isInside ? panel.rows || 1 : 0;
    const top = EDGE.top + LINE * rows;
    const foot = top + Math.round(panel.height * (width < NARROW ? 0.8 : 1));
    const x = scale(result, EDGE.left, width - EDGE.right);
    const height = foot + (isLast ? EDGE.ticks : EDGE.bottom);
    const { ticks, place, low, high } = upwards(panel, stacked, shown, lines, series);
    const highest = ticks[ticks.length - 1].value;
    const y = (value) => foot - (foot - top) * place(value);
    const isSeen = (value) => value !== null && value <= high && value >= low;
    const isCut = Boolean(panel.log) || panel.ceiling !== undefined;
    const shape = { id: panel.id, x, y, width, top, foot, height, rows, isInside, isLast };
    return { ...shape, stacked, shown, lines, ticks, highest, isSeen, isCut };
  }

  /* The ticks of a panel, and where a value stands between its foot, 0, and its top, 1. */
  function upwards(panel, stacked, shown, lines, series) {
    if (panel.log) {
      const [low, high] = panel.log;
      const ticks = powersBetween(low, high, panel.height / 20);
      const kept = (value) => Math.max(low / 2, Math.min(value, 2 * high)); // beyond is cut off
      return { ticks, low, high, place: (v) => Math.log(kept(v) / low) / Math.log(high / low) };
    }
    let [low, high] = [0, 0];
    const widen = (value) => {
      if (value < low) low = value;
      if (value > high) high = value;
    };
    for (const values of [stacked.top, stacked.bottom, ...shown.map((c) => series[c.id])])
      values.forEach(widen);
    lines.forEach((line) => widen(line.value));
    if (panel.ceiling < high || panel.isFull) high = panel.ceiling;
    const ticks = ticksBetween(low, high, panel.height / 33);
    const [first, last] = [ticks[0].value, ticks[ticks.length - 1].value];
    const place = (value) => (value - first) / (last - first);
    return { ticks, place, low: -Infinity, high: panel.ceiling ?? Infinity };
  }

  function timeTicks({ t, log }, width) {
    const [first, last] = [t[0], t[t.length - 1]];
    const inside = ({ value }) => value >= first * (1 - 1e-9) && value <= last * (1 + 1e-9);
    if (log) return powersBetween(first, last, 31);
    return ticksBetween(first, last, Math.max(4, Math.min(8, width / 85))).filter(inside);
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

  /* A curve up to its first missing value, and a cross where it ends before its time. */
  function drawCurve({ id, colour, dash }, values, xs, y, kind) {
    const end = values.indexOf(null);
    const ys = Array.from(end < 0 ? values : values.slice(0, end), (value) => tenths(y(value)));
    if (ys.length === 0) return "";
    const cross = `M${xs[end - 1] - 3} ${ys[end - 1] - 3}l6 6m0 -6l-6 6`;
    return (
      `<path class="${kind}" data-series="${id}" ${stroke({ colour, dash })} ` +
      `d="${curvePath(xs, ys)}"/>` +
      (end < 0 ? "" : `<path class="${kind} live-end" ${stroke({ colour })} d="${cross}"/>`)
    );
  }

  function contents(plan, { t, series, others = {}, ends = {} }) {
    const xs = Array.from(t, (time) => tenths(plan.x(time)));
    const heights = (values) => Array.from(values, (value) => tenths(plan.y(value)));
    const thin = ({ id, colour }) =>
      (others[id] || []).map((run) => drawCurve({ id, colour }, run, xs, plan.y, "live-other"));
    const behind = plan.shown.flatMap(thin);
    const bands = plan.stacked.pieces.map(
      ({ band, outer, inner }) =>
        `<path class="live-band" data-series="${band.id}" fill="var(--live-${band.colour})" ` +
        `d="${bandPath(xs, heights(outer), heights(inner))}"/>`,
    );
    const right = plan.width - EDGE.right;
    const levels = plan.lines.map(
      ({ value }) => `<path class="live-level" d="M${EDGE.left} ${plan.y(value)}H${right}"/>`,
    );
    const names = plan.lines.map(({ value, label, isLeft }) => {
      const [x, rise, anchor] = isLeft ? [EDGE.left + 4, -LINE, "start"] : [right, 5, "end"];
      const place = `x="${x}" y="${plan.y(value) - rise}" text-anchor="${anchor}"`;
      return `<text class="live-level-name" ${place}>${label}</text>`;
    });
    const curves = plan.shown.map((curve) =>
      drawCurve(curve, series[curve.id], xs, plan.y, "live-curve"),
    );
    const drawn = [...bands, ...cut(behind, plan), ...levels, ...cut(curves, plan), ...names];
    return drawn.join("") + endNames(plan, ends[plan.id] || [], series, others);
  }

  /* Names at the right ends of curves, above them, or below where another is close above. */
  function endNames(plan, ends, series, others) {
    const places = ends
      .map(({ id, label, isOther }) => {
        const values = isOther ? others[id][0] : series[id];
        return { label, y: plan.y(Math.min(values[values.length - 1], plan.highest)) };
      })
      .sort((one, two) => one.y - two.y);
    let before = -Infinity;
    return places
      .map(({ label, y }) => {
        const above = Math.max(y - 7, plan.top + LINE);
        before = above - before < LINE + 2 ? before + LINE + 2 : above;
        const place = `x="${plan.width - EDGE.right - 2}" y="${before}" text-anchor="end"`;
        return `<text class="live-end-name" ${place}>${label}</text>`;
      })
      .join("");
  }

  /* Curves are cut off at a ceiling and at the ends of a logarithmic axis, by an inner svg. */
  function cut(curves, { isCut, width, top, foot }) {
    if (!isCut || curves.length === 0) return curves;
    const [above, height] = [top - 1, foot - top + 3];
    const place = `y="${above}" width="${width}" height="${height}"`;
    return [`<svg ${place} viewBox="0 ${above} ${width} ${height}">`, ...curves, "</svg>"];
  }

  /* A name beside a line, in a row of the panel; on its left where the right has no room. */
  function nameInside(at, row, label, { top, width }) {
    const isLeft = at + letters(label) > width - EDGE.right;
    const place = `x="${at + (isLeft ? -5 : 5)}" y="${top + LINE * (row + 1)}"`;
    const anchor = isLeft ? "end" : "start";
    return `<text class="live-marker-name" ${place} text-anchor="${anchor}">${label}</text>`;
  }

  const markerLine = ({ top, foot }, at, colour) => {
    const tint = colour ? ` style="stroke: var(--live-${colour})"` : "";
    return `<path class="live-marker" d="M${at} ${top}V${foot}"${tint}/>`;
  };

  /* Lines whose names stand inside the panel, one below the other; the first row is for the name
     of the cursor. */
  function markersInside(plan, markers) {
    const ordered = [...markers].sort((a, b) => a.t - b.t).map((m) => ({ ...m, at: plan.x(m.t) }));
    const lines = ordered.map(({ at, colour }) => markerLine(plan, at, colour));
    const names = ordered.map(({ at, label }, i) => nameInside(at, i + 1, label, plan));
    return [...lines, ...names].join("");
  }

  /* Dotted lines at the marked times, named in the first panel; close names share no row. */
  function markerLines(plan, markers) {
    if (plan.isInside) return markersInside(plan, markers);
    const { x, top, rows, width } = plan;
    let [row, before] = [0, -Infinity];
    const placed = [...markers]
      .sort((a, b) => a.t - b.t)
      .map((marker) => {
        const at = x(marker.t);
        const long = letters(marker.label);
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
        return `${markerLine(plan, at, colour)}${rows ? name : ""}`;
      })
      .join("");
  }

  function cursor(plan, { series, here }, index, at) {
    const seen = plan.shown.filter(({ id }) => plan.isSeen(series[id][index]));
    const dots = seen.map(({ id, colour }) => {
      const y = plan.y(series[id][index]);
      return `<circle cx="${at}" cy="${y}" r="4" fill="var(--live-${colour})"/>`;
    });
    const name = here && plan.isInside ? nameInside(at, 0, here(index), plan) : "";
    return `<path class="live-now" d="M${at} ${plan.top}V${plan.foot}"/>${dots.join("")}${name}`;
  }

  const drawing = (plan, result) =>
    axes(plan, result) + contents(plan, result) + markerLines(plan, result.markers || []);

  dln.plot = { EDGE, fixed, stroke, layOut, drawing, cursor };
})();
