/* Live figure "risk": one noisy teacher, the test error of the network that learns it, what the
   network itself can tell of that error, its entropy, and the stops that follow.
   A figure of the class `live-risk` becomes this one.  The page holds, in a script of the id
   `live-risk-data`, as JSON:
     size, noise       the draws of the noise: matrices of size^2 standard normal numbers, in
                       sixteenths, as bytes with a sign in base64, one matrix after another
     start             where the sliders and switches start, and what those that are not shown keep:
                       {strength, levels, noise, size, scale, depth, draw, signal, known}
     controls, panels  the names of those that are shown
     question          not empty: `signal` is asked in these words, above the panels
   With `signal` the teacher is the observed matrix itself: all its modes are signal, and there is
   no noise.  Errors are in units of |Sigma|^2, which is the same whoever the teacher is. */
(function () {
  "use strict";

  function unpack({ noise, size }) {
    const sixteenths = Int8Array.from(atob(noise), (character) => character.charCodeAt(0));
    const row = (_, i) => Float64Array.from(sixteenths.subarray(i * size, (i + 1) * size), (x) => x / 16);
    const rows = Array.from({ length: sixteenths.length / size }, row);
    return Array.from({ length: rows.length / size }, (_, i) => rows.slice(i * size, (i + 1) * size));
  }

  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const squares = (values) => sum(values.map((value) => value * value));
  const median = (s) => (s[(s.length - 1) >> 1] + s[s.length >> 1]) / 2; // s in order

  /* The spectrum that is observed and its true targets, kept while other sliders move. */
  function observer(draws) {
    let seen = {};
    return ({ strength, levels, noise, size, draw }) => {
      const key = [strength, levels, noise, size, draw].join();
      if (seen.key === key) return seen;
      const strengths = [1, 2, 4].slice(0, levels).map((part) => strength / part);
      const { s, m } = dln.spikedSpectrum(draws[draw - 1], size, strengths, noise);
      return (seen = { key, s, m, strengths });
    };
  }

  /* The truth, the other truth that goes with the same data, and what is believed: targets of the
     modes, and the energy of the teacher. */
  function targets({ s, m, strengths }, { noise, size, signal, known }) {
    const found = median(s) / dln.bulkQuantile(0.5);
    const level = !known ? found : signal ? 0 : noise;
    const truths = [{ m, energy: squares(strengths) }, { m: s, energy: squares(s) }];
    return {
      level,
      truth: truths[Number(signal)],
      other: truths[Number(!signal)],
      belief: {
        m: s.map((value) => dln.optimalShrinker(value, level)),
        energy: squares(s) - size * level ** 2,
      },
    };
  }

  const times = (ratio) => ratio.toFixed(ratio < 9.995 ? 2 : 1);
  const percent = (share) => `${(100 * share).toFixed(0)} %`;

  /* What the stops cost, in words; an endless stop is the end of the run. */
  function sentence({ signal, known, noise }, { star, estimate }, level) {
    if (signal) {
      const opinion = known
        ? "the estimate, told that there is no noise, nothing"
        : `the estimate <b>${percent(estimate.error)}</b>: the singular values cannot tell`;
      return (
        "Same data, but the weak modes are the teacher’s: never stop. " +
        `The entropy leaves <b>${percent(star.error)}</b> unlearned, ${opinion}.`
      );
    }
    const reading = `reads the noise, ${noise.toFixed(2)}, as ${level.toFixed(2)}`;
    return (
      `A stop at the entropy minimum: <b>${times(star.regret)}</b> times the least error. ` +
      `At that of the estimate: <b>${times(estimate.regret)}</b> times. ` +
      (known ? "It is told the noise." : `It ${reading}, from the median singular value.`)
    );
  }

  function compute(observe, given) {
    const { scale, depth, size, signal } = given;
    const a0 = 10 ** scale;
    const seen = observe(given);
    const { s } = seen;
    const { level, truth, other, belief } = targets(seen, given);
    const unit = squares(s);
    const first = seen.strengths.length; // of the weak modes
    const ones = s.map(() => 1);
    const curves = s.map((value) => dln.modeCurve(value, a0, 1, depth));
    const strengths = (time) => curves.map((curve) => curve(time));
    const error = (a, { m, energy }) => dln.excessError(a, m, ones, energy) / unit;

    /* The stops; the smallest modes are learned after all that matters. */
    const at = (time) => {
      const a = strengths(time);
      return { a, g: a.map((value, k) => dln.growthRate(value, s[k], 1, depth)) };
    };
    const leading = s.slice(0, Math.ceil(0.8 * size));
    const watched = dln.watchTimes(leading, a0, 1, depth, first + 1, [24, 6]);
    const states = watched.map(at);
    const last = watched[watched.length - 1];
    const stop = (value, rate) => {
      const t = dln.leastTime(watched, states, value, rate, at);
      return { t: t < last ? t : Infinity, error: error(strengths(t), truth) };
    };
    const least = (view) =>
      stop(({ a }) => error(a, view), ({ a, g }) => dln.excessErrorRate(a, g, view.m, ones));
    const stops = {
      star: stop(({ a }) => dln.spectralEntropy(a), ({ a, g }) => dln.entropyRate(a, g, ones)),
      estimate: least(belief),
      best: least(truth),
    };
    const { star, estimate, best } = stops;
    for (const one of [star, estimate, best]) one.regret = one.error / best.error;

    /* What is drawn: until most of the noise is learned, and beyond every stop. */
    const ends = [star, estimate, best].map((one) => 1.15 * one.t).filter(Number.isFinite);
    const noiseEnd = dln.learningTime(s[first], a0, 0.5, 1, depth);
    const t = dln.timeGrid(Math.max(1.6 * noiseEnd, ...ends), 0, 200);
    const a = Array.from(t, strengths);
    const column = (k) => a.map((row) => row[k]);
    const some = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8].map((share) => Math.round(share * size));
    const weak = signal ? "a.weak" : "a.noise";
    const cost = (value) => (signal ? `${percent(value)} left` : `× ${times(value / best.error)}`);
    const errors = a.map((row) => error(row, truth));
    return {
      t,
      modes: { s, m: truth.m, believed: belief.m, level },
      stops,
      markers: [
        { ...star, label: `entropy ${cost(star.error)}`, colour: "entropy" },
        { ...estimate, label: `estimate ${cost(estimate.error)}`, colour: "theory" },
        { ...best, label: "best", colour: "test" },
      ].filter((marker) => Number.isFinite(marker.t)),
      here: (index) => `↔ you ${cost(errors[index])}`,
      ends: {
        error: [
          { id: "e", label: `E if ${signal ? "signal" : "noise"}` },
          { id: "e", label: `E if ${signal ? "noise" : "signal"}`, isOther: true },
        ],
      },
      note: sentence(given, stops, level),
      levels: { bound: { value: Math.log(size), label: `log ${size}` } },
      series: {
        "e": errors,
        "estimate": a.map((row) => error(row, belief)),
        "h": a.map((row) => dln.spectralEntropy(row)),
        "a.signal": column(0),
        "a.noise": null,
        "a.weak": null,
        [weak]: column(first),
      },
      others: {
        "e": [a.map((row) => error(row, other))],
        "a.signal": s.slice(1, first).map((_, k) => column(k + 1)),
        [weak]: some.filter((k) => k > first).map(column),
      },
    };
  }

  const two = (value) => value.toFixed(2);
  const SLIDERS = [
    { id: "strength", label: "signal <i>s</i><sub>0</sub>", min: 0.5, max: 12, step: 0.5, format: two },
    { id: "levels", label: "levels", min: 1, max: 3, step: 1, format: String },
    { id: "noise", label: "noise <i>σ</i>", min: 0.1, max: 2.5, step: 0.1, format: two },
    { id: "size", label: "dimension <i>d</i>", min: 10, step: 10, format: String },
    {
      id: "scale", label: "start <i>a</i><sub>0</sub>",
      min: -6, max: -1, step: 0.25, format: (value) => dln.scientific(10 ** value),
    },
    { id: "depth", label: "layers <i>L</i>", min: 2, max: 4, step: 1, format: String },
    { id: "draw", label: "draw of the noise", min: 1, step: 1, format: String },
  ];
  const SWITCHES = [
    { id: "signal", label: "all modes signal" },
    { id: "known", label: "noise level told" },
  ];
  const PANELS = [
    {
      id: "error", height: 128, isInside: true, ceiling: 1, isFull: true, isShort: true,
      label: "test error <i>E</i>/|<i>Σ</i>|²",
      about: "The test error and its estimate from the singular values: both fall while the " +
        "signal is learned; where the error rises the weak modes are noise. The thin curve is " +
        "the error of the same run if they are the other of both.",
      curves: [
        { id: "e", label: "<i>E</i>", colour: "test" },
        { id: "estimate", label: "estimate", colour: "theory", dash: "7 3" },
      ],
    },
    {
      id: "entropy", height: 72, isShort: true, label: "spectral entropy <i>H</i> (nats)",
      about: "The spectral entropy, which rises with every level of modes, signal or noise.",
      curves: [{ id: "h", label: "<i>H</i>", colour: "entropy" }],
      levels: ["bound"],
    },
    {
      id: "modes", height: 76, isShort: true, label: "strength <i>a<sub>k</sub></i>",
      about: "The mode strengths: the signal rises first, then the weak modes.",
      curves: [
        { id: "a.signal", label: "signal", colour: "signal" },
        { id: "a.noise", label: "noise", colour: "noise" },
        { id: "a.weak", label: "weak", colour: "signal-2" },
      ],
    },
  ];

  dln.figures.risk = function () {
    const data = JSON.parse(document.getElementById("live-risk-data").textContent);
    const draws = unpack(data);
    const observe = observer(draws);
    const shown = ({ id }) => data.controls.includes(id);
    const most = { size: data.size, draw: draws.length };
    const begin = (item) => ({ ...item, max: item.max ?? most[item.id], value: data.start[item.id] });
    const ask = (item) =>
      data.question && item.id === "signal"
        ? { ...item, label: data.question, choices: ["noise", "signal"] }
        : item;
    return {
      label: "Test error, its estimate, entropy and three stops, for a noisy teacher that you set",
      time: { label: "your stop, at time <i>t</i>", value: 1 },
      hint: data.question && "Where would you stop? Drag a plot." + dln.keys,
      sliders: SLIDERS.filter(shown).map(begin),
      switches: SWITCHES.filter(shown).map(begin).map(ask),
      panels: PANELS.filter(({ id }) => data.panels.includes(id)),
      compute: (params) => compute(observe, { ...data.start, ...params }),
    };
  };
})();
