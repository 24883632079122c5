/* Live figure "window": equal spikes in a bulk of noise, the entropy and the test error of the
   network that learns them, and the three times t*, t_opt, t**.
   A figure of the class `live-window` becomes this one. */
(function () {
  "use strict";

  /* The times with four digits, or more if it takes more to tell them apart. */
  function written(times) {
    const [star, opt, memorisation] = times;
    const gaps = [star - opt, memorisation - opt, memorisation - star].map(Math.abs);
    const places = (value, digits) => digits - 1 - Math.floor(Math.log10(value));
    const wanted = gaps.filter((gap) => gap > 1e-6).map((gap) => places(gap, 2));
    const most = Math.max(0, places(Math.max(...times), 4), ...wanted);
    return times.map((time) => (time > 0 ? time.toFixed(most) : "0"));
  }

  /* Whether t* <= t_opt <= t**, in words. */
  function verdict([star, opt, memorisation], texts, isDetected) {
    const [first, second, third] = [
      [star, `the entropy is least at <i>t</i>* = ${texts[0]}`],
      [opt, `the test error is least at <i>t</i><sub>opt</sub> = ${texts[1]}`],
      [memorisation, `the leading noise mode is half learned at <i>t</i>** = ${texts[2]}`],
    ].sort((one, other) => one[0] - other[0]);
    const order = "<i>t</i>* ≤ <i>t</i><sub>opt</sub> ≤ <i>t</i>**";
    return [
      `<b>${order} ${star <= opt && opt <= memorisation ? "holds" : "fails"}.</b>`,
      `First ${first[1]}, then ${second[1]}, last ${third[1]}.`,
      opt > 0 ? "" : "No later time has a smaller test error than the start.",
      isDetected ? "" : "The teacher is not above the detection threshold.",
    ].join(" ").trim();
  }

  function compute({ strength, count, aspect, size, scale, depth }) {
    const s0 = strength * dln.detectionThreshold(1, aspect);
    const spike = dln.spikeForward(s0, 1, aspect);
    const total = Math.round(10 ** size);
    const noise = dln.bulkModes(total - count, 1, aspect);
    const a0 = 10 ** scale;
    const s = [spike.s, ...noise.s];
    const m = [spike.m, ...noise.s.map(() => 0)];
    const counts = [count, ...noise.counts];
    const energy = count * s0 ** 2;

    const { star, opt, memorisation, strengths } = dln.modeWindow({ s, m, counts, a0, depth });
    const times = [star, opt, memorisation];
    const texts = written(times);
    const t = dln.timeGrid(Math.max(1.3 * memorisation, 1.1 * star, 1.1 * opt));
    const a = Array.from(t, strengths);
    const bulk = (share) =>
      Array.from(t, dln.modeCurve(dln.bulkQuantile(share, 1, aspect), a0, 1, depth));
    const names = [
      `t* = ${texts[0]}`,
      `t<tspan dy="3" font-size="11">opt</tspan><tspan dy="-3"> = ${texts[1]}</tspan>`,
      `t** = ${texts[2]}`,
    ];
    const colours = ["entropy", "test", "noise"];
    return {
      t,
      modes: { s, m, counts },
      times,
      note: verdict(times, texts, spike.m > 0),
      markers: times.map((time, i) => ({ t: time, label: names[i], colour: colours[i] })),
      levels: { bound: { value: Math.log(total), label: `log ${total}` } },
      series: {
        "a.signal": a.map((row) => row[0]),
        "a.leading": a.map((row) => row[1]),
        "a.upper": bulk(0.75),
        "a.middle": bulk(0.5),
        "h": a.map((row) => dln.spectralEntropy(row, counts)),
        "e": a.map((row) => dln.excessError(row, m, counts, energy) / energy),
      },
    };
  }

  dln.figures.window = {
    label: "Entropy, test error and the three times of a run, for a spiked task that you set",
    time: { label: "time <i>t</i> (units of <i>τ</i>)", value: 1 },
    sliders: [
      {
        id: "strength", label: "<i>s</i><sub>0</sub> / threshold",
        min: 0.5, max: 5, step: 0.05, value: 3, format: (value) => value.toFixed(2),
      },
      { id: "count", label: "spikes <i>r</i>", min: 1, max: 5, step: 1, value: 2 },
      {
        id: "aspect", label: "aspect <i>c</i>",
        min: 0.05, max: 1, step: 0.05, value: 1, format: (value) => value.toFixed(2),
      },
      {
        id: "size", label: "modes <i>K</i>",
        min: 1, max: 4, step: 0.125, value: 2, format: (value) => String(Math.round(10 ** value)),
      },
      {
        id: "scale", label: "start <i>a</i><sub>0</sub>",
        min: -8, max: -1, step: 0.25, value: -3, format: (value) => dln.scientific(10 ** value),
      },
      { id: "depth", label: "layers <i>L</i>", min: 2, max: 5, step: 1, value: 2 },
    ].map((slider) => ({ format: String, ...slider })),
    panels: [
      {
        id: "modes", height: 132, rows: 3, label: "strength <i>a<sub>k</sub></i>",
        about: "The signal rises first, then the noise modes from the edge of the bulk downwards.",
        curves: [
          { id: "a.signal", label: "signal", colour: "signal" },
          { id: "a.leading", label: "leading noise", colour: "noise" },
          { id: "a.upper", label: "quartile", colour: "noise", dash: "7 3" },
          { id: "a.middle", label: "median", colour: "noise", dash: "2 2.5" },
        ],
      },
      {
        id: "entropy", height: 96, isShort: true, label: "spectral entropy <i>H</i> (nats)",
        about: "The spectral entropy, and its bound, the logarithm of the number of modes.",
        curves: [{ id: "h", label: "<i>H</i>", colour: "entropy" }],
        levels: ["bound"],
      },
      {
        id: "error", height: 104, ceiling: 1.5, isShort: true,
        label: "test error <i>E</i> / |<i>W</i>*|²",
        about: "The test error above its floor: one at the start, least when the signal is " +
          "learned and the noise is not.",
        curves: [{ id: "e", label: "<i>E</i>", colour: "test" }],
      },
    ],
    compute,
  };
})();
