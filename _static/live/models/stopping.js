/* The three times of a run, as pure functions: the twins of functions of dlnlib.stopping (in
   brackets).  Mode strengths `a`, singular values `s` and targets `m` have an entry for each group
   of `counts` equal modes. */
(function () {
  "use strict";

  /* Test error E = sum a^2 - 2 a m + energy, above its floor [stopping.excess_error]. */
  dln.excessError = function (a, m, counts, energy = 0) {
    let error = energy;
    for (let k = 0; k < a.length; k += 1) error += counts[k] * a[k] * (a[k] - 2 * m[k]);
    return error;
  };

  /* dE/dt from the growth rates g of the modes. */
  dln.excessErrorRate = function (a, g, m, counts) {
    let rate = 0;
    for (let k = 0; k < a.length; k += 1) rate += 2 * counts[k] * (a[k] - m[k]) * a[k] * g[k];
    return rate;
  };

  /* dH/dt = -2 Cov_p(g, log p) [entropy.entropy_rate], with g and log p counted from those of the
     strongest mode: nothing cancels while it holds all but 1e-16 of the energy. */
  dln.entropyRate = function (a, g, counts) {
    const top = a.indexOf(Math.max(...a));
    let [total, pace, level, both] = [0, 0, 0, 0];
    for (let k = 0; k < a.length; k += 1) {
      const ratio = a[k] / a[top];
      const weight = counts[k] * ratio ** 2;
      const log = ratio > 0 ? Math.log(ratio) : 0;
      total += weight;
      pace += weight * (g[k] - g[top]);
      level += weight * log;
      both += weight * (g[k] - g[top]) * log;
    }
    return (-4 * (both - (pace * level) / total)) / total;
  };

  /* Times between which nothing can happen unseen: the way of the first `close` entries (the
     signal and the leading noise mode) in equal steps of the logit of a/s, that of every fourth
     of the others in a few. */
  dln.watchTimes = function (s, a0, tau, depth, close = 2, [many, few] = [48, 8]) {
    const times = [0];
    s.forEach((target, k) => {
      if (a0 >= target || (k >= close && k % 4)) return;
      const first = Math.log(a0) - Math.log(target - a0);
      const steps = k >= close ? few : many;
      for (let i = 1; i <= steps; i += 1) {
        times.push(dln.timeToReach(target, a0, first + ((30 - first) * i) / steps, tau, depth));
      }
    });
    return times.sort((one, two) => one - two);
  };

  /* The time of the least value among the ends and all places where a rate turns positive. */
  dln.leastTime = function (times, states, value, rate, at) {
    const rates = states.map(rate);
    const rateAt = (t) => rate(at(t));
    const found = [times[0], times[times.length - 1]];
    for (let i = 1; i < times.length; i += 1) {
      if (!(rates[i - 1] < 0 && rates[i] >= 0)) continue;
      const [low, high] = dln.bracket(rateAt, times[i - 1], times[i], 20);
      const [below, above] = [rateAt(low), rateAt(high)]; // there the rate is straight
      found.push(low + ((high - low) * below) / (below - above || 1));
    }
    const values = found.map((t) => value(at(t)));
    return found[values.indexOf(Math.min(...values))];
  };

  /* Least entropy, least test error, half-saturation of the leading noise mode, the second entry
     [stopping.mode_window]. */
  dln.modeWindow = function ({ s, m, counts, a0, tau = 1, depth = 2 }) {
    const curves = s.map((target) => dln.modeCurve(target, a0, tau, depth));
    const at = (t) => curves.map((curve) => curve(t));
    const growth = (a) => a.map((value, k) => dln.growthRate(value, s[k], tau, depth));
    const times = dln.watchTimes(s, a0, tau, depth);
    const states = times.map(at);
    const least = (value, rate) =>
      dln.leastTime(times, states, value, (a) => rate(a, growth(a)), at);
    return {
      star: least(
        (a) => dln.spectralEntropy(a, counts),
        (a, g) => dln.entropyRate(a, g, counts),
      ),
      opt: least(
        (a) => dln.excessError(a, m, counts),
        (a, g) => dln.excessErrorRate(a, g, m, counts),
      ),
      memorisation: dln.timeToReach(s[1], a0, 0, tau, depth),
      strengths: at,
    };
  };
})();
