/* Live figure "sgd": recorded runs of SGD on a diagonal network, chosen by step size and seed.
   A figure of the class `live-sgd` becomes this one.  The page holds the runs, in a script of the
   id `live-sgd-runs`, as JSON:
     edge, steps    the stability threshold; the step sizes
     t, division    the recorded iterations; the one from which a divided step is smaller
     by, limit      the divisor; the number of iterations
     test           the test loss of gradient flow
     start          {step, seed}: the place of the first step, and the first seed
     kept, divided  runs with a constant step, and with one that is divided:
       diverged     [step][seed]: the iteration, or -1
       curves       {name: text}, 16-bit numbers (step, seed, iteration) in base64: 0 for none, or
                    40,000 + 4000 log10(value), with 1e-9 <= value <= 1e6; those of divided
                    start at the division */
(function () {
  "use strict";

  const NAMES = ["train", "test", "rank", "amplitudes", "energies"];
  const FLOOR = 1e-9; // recorded losses are not smaller

  function unpack(text) {
    const bytes = atob(text);
    return Array.from({ length: bytes.length / 2 }, (_, i) => {
      const code = bytes.charCodeAt(2 * i) + 256 * bytes.charCodeAt(2 * i + 1);
      return code === 0 ? null : 10 ** ((code - 40000) / 4000);
    });
  }

  /* The recorded curves: (name, step, seed, is the step divided?) -> values at all iterations. */
  function reader(data) {
    const seeds = data.kept.diverged[0].length;
    const early = data.t.filter((t) => t < data.division).length;
    const tables = {};
    for (const kind of ["kept", "divided"])
      tables[kind] = Object.fromEntries(NAMES.map((id) => [id, unpack(data[kind].curves[id])]));
    return (id, step, seed, isDivided) => {
      const row = step * seeds + seed;
      const part = (table, size) => table[id].slice(row * size, (row + 1) * size);
      const kept = part(tables.kept, data.t.length);
      if (!isDivided) return kept;
      return [...kept.slice(0, early), ...part(tables.divided, data.t.length - early)];
    };
  }

  const thousands = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");
  const ratio = (data, step) => (data.steps[step] / data.edge).toFixed(2);

  function loss(value) {
    if (value < 1.001 * FLOOR) return "< 10⁻⁹";
    return value < 1e-3 || value >= 100 ? dln.scientific(value) : value.toPrecision(2);
  }

  function sentence(data, { step, seed }, diverged) {
    const size = data.steps[step];
    const place = size > data.edge ? "above" : size < data.edge ? "below" : "at";
    const [at, lost] = [diverged[seed - 1], diverged.filter((end) => end >= 0).length];
    const all =
      lost === 0
        ? "No seed diverges"
        : `${lost} of ${diverged.length} seeds ${lost === 1 ? "diverges" : "diverge"}`;
    return [
      `The step ${size} is ${place} the threshold ${data.edge}.`,
      at < 0 ? "" : `<b>Seed ${seed} diverged at iteration ${thousands(at)}.</b>`,
      `${all} within ${thousands(data.limit)} iterations.`,
    ].filter(Boolean).join(" ");
  }

  function compute(data, curve, { step, seed, divided }) {
    const { diverged } = data[divided ? "divided" : "kept"];
    const of = (id, which) => curve(id, step, which, divided);
    const mine = diverged[step][seed - 1];
    const rest = diverged[step].map((_, which) => which).filter((which) => which !== seed - 1);
    const collect = (make) => Object.fromEntries(NAMES.map((id) => [id, make(id)]));
    const markers = [];
    if (divided && !(mine >= 0 && mine < data.division))
      markers.push({ t: data.division, label: `step / ${data.by}`, colour: "reference" });
    if (mine >= 0) markers.push({ t: mine, label: `diverged at ${thousands(mine)}` });
    return {
      t: data.t,
      log: true,
      markers,
      levels: { flow: { value: data.test, label: "gradient flow", isLeft: true } },
      note: sentence(data, { step, seed }, diverged[step]),
      series: collect((id) => of(id, seed - 1)),
      others: collect((id) => rest.map((which) => of(id, which))),
    };
  }

  dln.figures.sgd = function () {
    const data = JSON.parse(document.getElementById("live-sgd-runs").textContent);
    const curve = reader(data);
    const count = (value) => value.toFixed(value < 100 ? 1 : 0);
    return {
      label: "Losses and numbers of modes of recorded SGD runs, by step size and seed",
      time: { label: "iteration", value: data.limit },
      sliders: [
        {
          id: "step", label: "step / <i>η</i><sub>⋆</sub>",
          min: 0, max: data.steps.length - 1, step: 1, value: data.start.step,
          format: (step) => ratio(data, step),
        },
        {
          id: "seed", label: "seed", min: 1, max: data.kept.diverged[0].length, step: 1,
          value: data.start.seed, format: String,
        },
      ],
      switches: [
        {
          id: "divided", value: false,
          label: `step / ${data.by} from ${thousands(data.division)} on`,
        },
      ],
      panels: [
        {
          id: "train", height: 112, log: [1e-8, 3], isShort: true, label: "training loss",
          about: "The training loss: with a step above the threshold it stays on a high level.",
          curves: [{ id: "train", label: "this seed", colour: "train", format: loss }],
        },
        {
          id: "test", height: 96, log: [1e-6, 3], isShort: true, label: "test loss", levels: ["flow"],
          about: "The test loss, and the level at which gradient flow ends.",
          curves: [{ id: "test", label: "this seed", colour: "test", format: loss }],
        },
        {
          id: "modes", height: 140, log: [1, 300], label: "modes",
          about: "The rank, and the effective modes in amplitudes and in energies.",
          curves: [
            {
              id: "rank", label: "rank", colour: "reference", dash: "2 2.5",
              format: (value) => String(Math.round(value)),
            },
            {
              id: "amplitudes", label: "<i>e<sup>H</sup></i> amplitudes", colour: "entropy",
              dash: "7 3", format: count,
            },
            {
              id: "energies", label: "<i>e<sup>H</sup></i> energies", colour: "entropy",
              format: count,
            },
          ],
        },
      ],
      compute: (params) => compute(data, curve, params),
    };
  };
})();
