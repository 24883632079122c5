/* Live figure "entropy": two signals and equal noise modes, their spectral entropy and its causes.
   A figure of the class `live-entropy` becomes this one. */
(function () {
  "use strict";

  const SIGNAL_1 = { id: "signal1", label: "signal 1", colour: "signal" };
  const SIGNAL_2 = { id: "signal2", label: "signal 2", colour: "signal-2", dash: "7 3" };
  const NOISE = { id: "noise", label: "noise", colour: "noise", dash: "2 2.5" };
  const strength = (value) => value.toFixed(2);

  function compute({ s1, s2, n, count, scale, log }) {
    const counts = [1, 1, count];
    const s = [s1, s2, n];
    const a0 = 10 ** scale;
    const state = (time) => s.map((target) => dln.modeStrength(time, target, a0));
    const rates = (a) =>
      dln
        .entropyRateByMode(a, a.map((value, k) => dln.growthRate(value, s[k])), counts)
        .map((rate, k) => counts[k] * rate);
    const sum = (values) => values.reduce((total, value) => total + value, 0);

    const present = s.filter((_, k) => counts[k] > 0);
    const end = Math.max(1, ...present.map((x) => dln.learningTime(x, a0, 0.98)));
    const t = dln.timeGrid(end, log ? 0.02 : 0);
    const a = Array.from(t, state);
    const entropy = a.map((values) => dln.spectralEntropy(values, counts));
    const rate = a.map(rates); // d/d log t = t d/dt keeps areas on an axis of log t
    if (log) rate.forEach((row, i) => row.forEach((value, k) => (row[k] = value * t[i])));

    const lowest = entropy.indexOf(Math.min(...entropy));
    const isDip = Math.min(entropy[0], entropy[entropy.length - 1]) - entropy[lowest] > 1e-6;
    const total = (time) => sum(rates(state(time)));
    const markers = isDip
      ? [{ t: dln.signChange(total, t[lowest - 1], t[lowest + 1]), label: "t*" }]
      : [];
    const column = (rows, k) => rows.map((row) => row[k]);
    const modes = 2 + count;
    return {
      t,
      log,
      markers,
      levels: { bound: { value: Math.log(modes), label: `log ${modes}` } },
      series: {
        "a.signal1": column(a, 0),
        "a.signal2": column(a, 1),
        "a.noise": count > 0 ? column(a, 2) : null,
        "h": entropy,
        "h.signal1": column(rate, 0),
        "h.signal2": column(rate, 1),
        "h.noise": count > 0 ? column(rate, 2) : null,
        "h.total": rate.map(sum),
      },
    };
  }

  dln.figures.entropy = {
    label: "Mode strengths, spectral entropy and its rate, for strengths that you set",
    time: { label: "time <i>t</i> (units of <i>τ</i>)", value: 1 },
    sliders: [
      { id: "s1", label: "signal <i>s</i><sub>1</sub>", min: 0.2, max: 4, step: 0.05, value: 3 },
      { id: "s2", label: "signal <i>s</i><sub>2</sub>", min: 0.2, max: 4, step: 0.05, value: 1.5 },
      { id: "n", label: "noise <i>n</i>", min: 0.1, max: 2, step: 0.05, value: 0.7 },
      {
        id: "count", label: "noise modes <i>K</i><sub>n</sub>",
        min: 0, max: 100, step: 1, value: 10, format: String,
      },
      {
        id: "scale", label: "start <i>a</i><sub>0</sub>",
        min: -8, max: -1, step: 0.25, value: -3, format: (value) => dln.scientific(10 ** value),
      },
    ].map((slider) => ({ format: strength, ...slider })),
    switches: [{ id: "log", label: "logarithmic time", value: false }],
    panels: [
      {
        id: "modes", height: 132, label: "mode strength <i>a<sub>k</sub></i>",
        about: "The mode strengths rise to their targets one after another.",
        curves: [SIGNAL_1, SIGNAL_2, NOISE].map((c) => ({ ...c, id: `a.${c.id}` })),
      },
      {
        id: "entropy", height: 104, isShort: true, label: "spectral entropy <i>H</i> (nats)",
        about: "The spectral entropy, and its bound, the logarithm of the number of modes.",
        curves: [{ id: "h", label: "<i>H</i>", colour: "entropy" }],
        levels: ["bound"],
      },
      {
        id: "rate", height: 132,
        label: ({ log }) => `parts of d<i>H</i>/d${log ? " log " : ""}<i>t</i>`,
        about: "The parts of the entropy's rate, stacked upwards and downwards from zero.",
        bands: [SIGNAL_1, SIGNAL_2, NOISE].map((c) => ({ ...c, id: `h.${c.id}` })),
        curves: [{ id: "h.total", label: "sum", colour: "entropy" }],
      },
    ],
    compute,
  };
})();
