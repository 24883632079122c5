/* Modes of networks of more than two layers, as pure functions: the twin of dlnlib._clock.

   tau da/dt = L a^(2-2/L) (s - a) is solved by F(a(t)/s) = F(a0/s) + L s^(2-2/L) t/tau with one
   function F per depth L, in closed form; its inverse is found by Newton's method on
   z = log[x/(1-x)], x = a/s.  Above the target (a0 > s) the same is done with s/a for x. */
(function () {
  "use strict";

  const expit = (z) => 1 / (1 + Math.exp(-z));
  const logExpit = (z) => Math.min(z, 0) - Math.log1p(Math.exp(-Math.abs(z)));
  const FAR = 40; // beyond |z| = 40 the leading term is exact to double precision

  /* Sum over j of Re[w^(-2 sign j) log(1 - w^j y)] with w = exp(2 pi i/L), y = x^(1/L),
     x = expit(z). */
  function rootLogs(z, logX, depth, sign) {
    const y = Math.exp(logX / depth);
    const near = z > FAR ? logExpit(FAR) : logX;
    let total = Math.log(-Math.expm1(near / depth)) - Math.max(z - FAR, 0);
    for (let j = 1; 2 * j < depth; j += 1) {
      const angle = (2 * Math.PI * j) / depth; // the pair j and L - j at once
      const argument = Math.atan2(-y * Math.sin(angle), 1 - y * Math.cos(angle));
      total += Math.cos(2 * angle) * Math.log1p(y * (y - 2 * Math.cos(angle)));
      total += 2 * sign * Math.sin(2 * angle) * argument;
    }
    return depth % 2 === 0 ? total + Math.log1p(y) : total;
  }

  /* F at x = expit(z) < 1 [_clock.rise_clock]. */
  dln.riseClock = function (z, depth) {
    if (depth === 2) return z;
    const logX = logExpit(z);
    const fuel = (depth / (depth - 2)) * Math.exp((2 / depth - 1) * logX);
    return -fuel - rootLogs(z, logX, depth, 1);
  };

  /* F(x) - F(infinity) at 1/x = v = expit(z) < 1 [_clock.decay_clock]. */
  dln.decayClock = function (z, depth) {
    const [v, power] = [expit(z), 2 - 2 / depth];
    if (v >= 0.5) {
      const logV = logExpit(z);
      const fuel = (depth / (depth - 2)) * Math.exp((1 - 2 / depth) * logV);
      return -fuel - rootLogs(z, logV, depth, -1);
    }
    let sum = 0; // the closed form cancels at small v
    for (let k = 59; k >= 0; k -= 1) sum = sum * v + 1 / (power + k);
    return sum * v ** power;
  };

  /* The two clocks F, their slopes dF/dz, the relative slopes d log(dF/dz)/dz, and their inverses
     far below the table; where F is small its logarithm is straight, and stands in the table. */
  const CLOCKS = {
    rise: {
      of: dln.riseClock,
      slope: (z, depth) => Math.exp((2 / depth - 1) * logExpit(z)),
      bend: (z, depth) => (2 / depth - 1) * expit(-z),
      early: (clock, depth) => (-depth / (depth - 2)) * Math.log((-clock * (depth - 2)) / depth),
      isLog: false,
    },
    decay: {
      of: dln.decayClock,
      slope: (z, depth) => Math.exp((2 - 2 / depth) * logExpit(z)),
      bend: (z, depth) => (2 - 2 / depth) * expit(-z),
      early: (clock, depth) => Math.log((2 - 2 / depth) * clock) / (2 - 2 / depth),
      isLog: true,
    },
  };

  const [STEP, LAST] = [0.032, 2500];
  const tables = {};

  /* At equal steps of z: the clock u (or its logarithm), dz/du and d^2z/du^2. */
  function tableOf(kind, depth) {
    const { of, slope, bend, isLog } = CLOCKS[kind];
    return (tables[kind + depth] ??= (() => {
      const [u, first, second] = [0, 1, 2].map(() => new Float64Array(LAST + 1));
      for (let i = 0; i <= LAST; i += 1) {
        const z = -FAR + i * STEP;
        const clock = of(z, depth);
        const way = 1 / slope(z, depth);
        u[i] = isLog ? Math.log(clock) : clock;
        first[i] = isLog ? clock * way : way;
        second[i] = first[i] * ((isLog ? 1 : 0) - way * (isLog ? clock : 1) * bend(z, depth));
      }
      return { u, first, second };
    })());
  }

  /* The inverse of a clock, z as a function of its value: a quintic between the entries of a table,
     good to 1e-12 up to five layers; by Newton's method before the table, and straight after it.
     The entry that was used last is tried first, as times mostly come in order. */
  function inverse(kind, depth) {
    const { of, slope, early, isLog } = CLOCKS[kind];
    const { u, first, second } = tableOf(kind, depth);
    const late = FAR - of(FAR, depth);
    let near = 0;
    return (clock) => {
      const wanted = isLog ? Math.log(clock) : clock;
      if (wanted > u[0] && wanted < u[LAST]) {
        for (let i = 0; i < 3 && wanted >= u[near + 1]; i += 1) near += 1;
        if (!(u[near] <= wanted && wanted < u[near + 1])) {
          let high = LAST;
          near = 0;
          while (high - near > 1) {
            const middle = (near + high) >> 1;
            if (u[middle] <= wanted) near = middle;
            else high = middle;
          }
        }
        const gap = u[near + 1] - u[near];
        const x = (wanted - u[near]) / gap;
        const before = first[near] * gap;
        const after = first[near + 1] * gap;
        const curve = (second[near] * gap * gap) / 2;
        const other = (second[near + 1] * gap * gap) / 2;
        const rest = STEP - before - curve; // what three powers of x have still to do
        const [tilt, turn] = [after - before - 2 * curve, other - curve];
        const cubic = 10 * rest - 4 * tilt + turn;
        const quartic = -15 * rest + 7 * tilt - 2 * turn;
        const quintic = 6 * rest - 3 * tilt + turn;
        const bend = curve + x * (cubic + x * (quartic + x * quintic));
        return -FAR + near * STEP + x * (before + x * bend);
      }
      if (wanted >= u[LAST]) return clock + late;
      let z = early(clock, depth);
      for (let i = 0; i < 30; i += 1) {
        const change = (of(z, depth) - clock) / slope(z, depth);
        z -= change;
        if (!(Math.abs(change) > 1e-7)) break; // the next would be its square
      }
      return z;
    };
  }

  const logOdds = (s, a0) => Math.log(a0) - Math.log(s - a0);

  /* A mode of a network of three layers or more, as a function of time [modes.mode_strength]. */
  dln.deepMode = function (s, a0, tau, depth) {
    const speed = (depth * s ** (2 - 2 / depth)) / tau;
    if (a0 === s) return () => s;
    if (a0 < s) {
      const start = dln.riseClock(logOdds(s, a0), depth);
      const at = inverse("rise", depth);
      return (t) => s * expit(at(start + speed * t));
    }
    if (s < 1e-100 * a0) {
      const power = 2 - 2 / depth;
      return (t) => a0 * (1 + (power * depth * a0 ** power * t) / tau) ** (-1 / power);
    }
    const start = dln.decayClock(logOdds(a0, s), depth);
    const at = inverse("decay", depth);
    return (t) => s * (1 + Math.exp(-at(start + speed * t)));
  };
})();
