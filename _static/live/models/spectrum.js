/* Singular values of teacher + noise for large matrices, as pure functions: the twins of functions
   of dlnlib.random_matrix (in brackets).  Noise entries have the deviation noise/sqrt(n_in), and
   `aspect` = n_out/n_in. */
(function () {
  "use strict";

  /* Strength above which a mode of the teacher shows [random_matrix.detection_threshold]. */
  dln.detectionThreshold = (noise = 1, aspect = 1) => noise * aspect ** 0.25;

  /* Upper end of the noise [random_matrix.bulk_edge]. */
  dln.bulkEdge = (noise = 1, aspect = 1) => noise * (1 + Math.sqrt(aspect));

  /* Observed singular value s and target m = u^T W* v of a teacher's mode s0; one below the
     threshold is lost in the edge [random_matrix.spike_forward]. */
  dln.spikeForward = function (s0, noise = 1, aspect = 1) {
    const edge = dln.bulkEdge(noise, aspect);
    if (s0 <= dln.detectionThreshold(noise, aspect)) return { s: edge, m: 0 };
    const [signal, left] = [s0 ** 2, noise ** 2];
    const s = Math.sqrt((signal + left) * (signal + aspect * left)) / s0;
    return { s, m: (s0 ** 4 - aspect * noise ** 4) / (signal * s) };
  };

  /* The best replacement of an observed s in squared error [random_matrix.optimal_shrinker]. */
  dln.optimalShrinker = function (s, noise = 1, aspect = 1) {
    const [low, high] = [noise * Math.abs(1 - Math.sqrt(aspect)), dln.bulkEdge(noise, aspect)];
    return s > high ? s * Math.sqrt((1 - (high / s) ** 2) * (1 - (low / s) ** 2)) : 0;
  };

  /* Quantile of the non-zero singular values of the noise [integral of random_matrix.bulk_density].
     With x^2/noise^2 = 1 + c - 2 sqrt(c) cos(angle) the share below x is in closed form. */
  dln.bulkQuantile = function (share, noise = 1, aspect = 1) {
    if (aspect > 1) return dln.bulkQuantile(share, noise * Math.sqrt(aspect), 1 / aspect);
    const angle = dln.signChange((at) => bulkShare(at, aspect) - share, 0, Math.PI);
    return bulkValue(angle, noise, aspect);
  };

  function bulkValue(angle, noise, c) {
    return noise * Math.hypot(1 - Math.sqrt(c), 2 * c ** 0.25 * Math.sin(angle / 2));
  }

  function bulkShare(angle, c) {
    const root = Math.sqrt(c);
    const [rise, run] = [(1 + root) * Math.sin(angle / 2), (1 - root) * Math.cos(angle / 2)];
    const turns = (1 + c) * angle - 2 * (1 - c) * Math.atan2(rise, run);
    return (turns + 2 * root * Math.sin(angle)) / (2 * Math.PI * c);
  }

  /* The noise modes in descending order, mode k of N at the quantile 1 - (k - 1/2)/N.  Beyond
     `most` modes, neighbours share the value in the middle: a group of equal modes for each of
     `most` steps of the angle, which are short where modes are few, at the two edges. */
  dln.bulkModes = function (count, noise = 1, aspect = 1, most = 64) {
    const c = Math.min(aspect, 1 / aspect);
    const size = Math.min(count, most);
    const ends = Array.from({ length: size + 1 }, (_, i) =>
      count <= most ? i : Math.round(count * (1 - bulkShare(Math.PI * (1 - i / size), c))),
    );
    const groups = ends.slice(1).map((end, i) => ({ end, counts: end - ends[i] }));
    const kept = groups.filter(({ counts }) => counts > 0);
    const middle = ({ end, counts }) => 1 - (end - counts / 2) / count;
    return {
      counts: kept.map(({ counts }) => counts),
      s: kept.map((group) => dln.bulkQuantile(middle(group), noise, aspect)),
    };
  };
})();
