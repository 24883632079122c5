/* The closed forms behind the live figures, as pure functions of numbers and short arrays.

   Each is the twin of a function of the package dlnlib (in brackets) and is tested against it:
   whitened inputs, aligned start, `depth` layers, time t and time constant tau in one unit.
   `counts` says how many modes share an entry, so that twenty equal modes cost as much as one. */
(function () {
  "use strict";

  const many = (counts, k) => (counts ? counts[k] : 1);

  /* Strength of a mode [modes.mode_strength]: a0 / (e^-x + a0 (1 - e^-x) / s) with x = 2 s t/tau.
     This form neither overflows at late times nor cancels at s = 0 or a0 > s. */
  dln.modeStrength = function (t, s, a0, tau = 1, depth = 2) {
    return dln.modeCurve(s, a0, tau, depth)(t);
  };

  /* The same as a function of time alone, for many times; deeper modes are in clock.js. */
  dln.modeCurve = function (s, a0, tau = 1, depth = 2) {
    return depth === 2 ? (t) => logistic(t, s, a0, tau) : dln.deepMode(s, a0, tau, depth);
  };

  function logistic(t, s, a0, tau) {
    const x = (2 * s * t) / tau;
    const mean = x > 0 ? -Math.expm1(-x) / x : 1;
    return a0 / (Math.exp(-x) + a0 * ((2 * t) / tau) * mean);
  }

  /* Relative growth rate g = d(log a)/dt of a mode [modes.growth_rate]. */
  dln.growthRate = function (a, s, tau = 1, depth = 2) {
    return (depth * (depth === 2 ? 1 : a ** (1 - 2 / depth)) * (s - a)) / tau;
  };

  /* Time at which a mode reaches `fraction` of s; 0 if it starts there [modes.learning_time]. */
  dln.learningTime = function (s, a0, fraction = 0.5, tau = 1, depth = 2) {
    return dln.timeToReach(s, a0, Math.log(fraction / (1 - fraction)), tau, depth);
  };

  /* The same for a fraction given by its logit, log[fraction/(1 - fraction)]. */
  dln.timeToReach = function (s, a0, logit, tau = 1, depth = 2) {
    if (a0 >= s) return 0;
    const start = Math.log(a0) - Math.log(s - a0);
    const way = dln.riseClock(logit, depth) - dln.riseClock(start, depth);
    return Math.max(0, (tau * way) / (depth * s ** (2 - 2 / depth)));
  };

  /* Share p_k = a_k^2 / sum a^2 of one mode of each entry [entropy.energy_shares]. */
  dln.energyShares = function (a, counts) {
    let [top, total] = [0, 0];
    for (let k = 0; k < a.length; k += 1) if (many(counts, k)) top = Math.max(top, Math.abs(a[k]));
    const energy = a.map((value) => (value / top) ** 2); // scaled first: nothing underflows
    for (let k = 0; k < a.length; k += 1) total += many(counts, k) * energy[k];
    return energy.map((value) => value / total);
  };

  /* H = -sum p log p, in nats [entropy.spectral_entropy]. */
  dln.spectralEntropy = function (a, counts) {
    let entropy = 0;
    dln.energyShares(a, counts).forEach((p, k) => {
      if (p > 0) entropy -= many(counts, k) * p * Math.log(p);
    });
    return entropy;
  };

  /* What one mode of each entry adds to dH/dt: -2 p_k (g_k - sum p g) log p_k
     [entropy.entropy_rate_by_mode]. */
  dln.entropyRateByMode = function (a, g, counts) {
    const p = dln.energyShares(a, counts);
    let mean = 0;
    for (let k = 0; k < p.length; k += 1) mean += many(counts, k) * p[k] * g[k];
    return p.map((share, k) => (share > 0 ? -2 * share * (g[k] - mean) * Math.log(share) : 0));
  };

  /* Where a function changes sign between two times, halved `steps` times. */
  dln.bracket = function (f, before, after, steps) {
    const negative = f(before) < 0;
    for (let i = 0; i < steps; i += 1) {
      const middle = (before + after) / 2;
      if (f(middle) < 0 === negative) before = middle;
      else after = middle;
    }
    return [before, after];
  };

  /* The same to the last digit. */
  dln.signChange = function (f, before, after) {
    const [low, high] = dln.bracket(f, before, after, 60);
    return (low + high) / 2;
  };

  /* `count` steps to a round time not before `end`, which holds while a slider moves a little:
     equal steps from 0, or equal factors from a positive `start`. */
  dln.timeGrid = function (end, start = 0, count = 400) {
    const power = 10 ** Math.floor(Math.log10(end));
    const round = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((r) => r * power >= end * (1 - 1e-9)) * power;
    const time = (share) => (start > 0 ? start * (round / start) ** share : round * share);
    return Float64Array.from({ length: count + 1 }, (_, i) => time(i / count));
  };
})();
