/* The singular values of a random matrix with a few spikes, exactly: the twin of
   dlnlib.tasks.spiked_teacher and teacher_targets for one recorded draw of the noise. */
(function () {
  "use strict";

  const dot = (x, y, from) => {
    let sum = 0;
    for (let i = from; i < x.length; i += 1) sum += x[i] * y[i];
    return sum;
  };

  function addTo(x, factor, y, from) {
    for (let i = from; i < x.length; i += 1) x[i] += factor * y[i];
  }

  /* The reflection I - v v^T that takes x, from its entry k on, to a multiple of the k-th unit
     vector: v, and that multiple. */
  function reflection(x, k) {
    const norm = Math.sqrt(dot(x, x, k));
    const value = x[k] > 0 ? -norm : norm;
    const v = x.map((entry, i) => (i < k ? 0 : entry));
    v[k] -= value;
    const scale = Math.sqrt(Math.abs(value * v[k]));
    return { value, v: scale > 0 ? v.map((entry) => entry / scale) : v };
  }

  function reflect(rows, v, from, k) {
    for (let i = from; i < rows.length; i += 1) addTo(rows[i], -dot(rows[i], v, k), v, k);
  }

  /* The square matrix as U B V^T with B upper bidiagonal (Golub, Kahan): diagonal and
     superdiagonal in turn, and the first `count` rows of U and V. */
  function bidiagonal(matrix, count) {
    const size = matrix.length;
    const column = (k) => Float64Array.from(matrix, (row) => row[k]);
    const unit = (_, j) => new Float64Array(size).fill(1, j, j + 1);
    const [left, right] = [Array.from({ length: count }, unit), Array.from({ length: count }, unit)];
    const band = [];
    for (let k = 0; k < size; k += 1) {
      const { value, v } = reflection(column(k), k);
      const parts = new Float64Array(size); // v^T A, row by row
      for (let i = k; i < size; i += 1) addTo(parts, v[i], matrix[i], k);
      for (let i = k; i < size; i += 1) addTo(matrix[i], -v[i], parts, k);
      reflect(left, v, 0, k);
      band.push(value);
      if (k + 1 === size) break;
      const next = reflection(matrix[k], k + 1);
      reflect(matrix, next.v, k + 1, k + 1);
      reflect(right, next.v, 0, k + 1);
      band.push(next.value);
    }
    return { band, left, right };
  }

  /* Eigenvalues of the symmetric tridiagonal matrix with zeros on its diagonal and `band` beside
     it, by implicit QL steps; the rotations are applied to the columns of `rows`. */
  function eigenvalues(band, rows) {
    const size = band.length + 1;
    const [d, e] = [new Float64Array(size), Float64Array.from([...band, 0])];
    const tiny = 1e-16 * Math.max(...band.map(Math.abs));
    for (let low = 0; low < size; low += 1) {
      for (;;) {
        let high = low;
        while (high < size - 1 && Math.abs(e[high]) > tiny) high += 1;
        if (high === low) break;
        const ratio = (d[low + 1] - d[low]) / (2 * e[low]);
        const way = Math.sqrt(1 + ratio * ratio);
        let g = d[high] - d[low] + e[low] / (ratio + (ratio < 0 ? -way : way)); // Wilkinson's shift
        let [s, c, p] = [1, 1, 0];
        let i = high - 1;
        for (; i >= low; i -= 1) {
          const [f, b] = [s * e[i], c * e[i]];
          const r = Math.sqrt(f * f + g * g);
          e[i + 1] = r;
          if (r === 0) break;
          [s, c] = [f / r, g / r];
          g = d[i + 1] - p;
          const q = (d[i] - g) * s + 2 * c * b;
          p = s * q;
          d[i + 1] = g + p;
          g = c * q - b;
          for (const row of rows) {
            const other = row[i + 1];
            row[i + 1] = s * row[i] + c * other;
            row[i] = c * row[i] - s * other;
          }
        }
        if (i >= low) d[i + 1] -= p; // split on the way
        else {
          d[low] -= p;
          e[low] = g;
        }
        e[high] = 0;
      }
    }
    return d;
  }

  /* Singular values s of diag(strengths, 0, ...) + noise/sqrt(size) Z, strongest first, and their
     targets m = u^T diag(strengths, 0, ...) v; Z holds the rows of a matrix of at least that size.
     The bidiagonal matrix B has the singular values; beside them stand their negatives as
     eigenvalues of [0 B^T; B 0], whose vectors are v and u in turn, over sqrt(2). */
  dln.spikedSpectrum = function (Z, size, strengths, noise) {
    const scale = noise / Math.sqrt(size);
    const matrix = Array.from({ length: size }, (_, i) =>
      Float64Array.from({ length: size }, (__, j) => scale * Z[i][j]),
    );
    strengths.forEach((strength, j) => (matrix[j][j] += strength));
    const { band, left, right } = bidiagonal(matrix, strengths.length);
    const spread = (rows, shift) =>
      rows.map((row) => {
        const wide = new Float64Array(2 * size);
        row.forEach((value, k) => (wide[2 * k + shift] = value));
        return wide;
      });
    const [v, u] = [spread(right, 0), spread(left, 1)];
    const found = eigenvalues(band, [...v, ...u]);
    const target = (i) => strengths.reduce((sum, s0, j) => sum + 2 * s0 * u[j][i] * v[j][i], 0);
    const modes = Array.from(found, (s, i) => ({ s, m: target(i) })).sort((x, y) => y.s - x.s);
    const kept = modes.slice(0, size);
    return { s: kept.map((mode) => Math.abs(mode.s)), m: kept.map((mode) => mode.m) };
  };
})();
