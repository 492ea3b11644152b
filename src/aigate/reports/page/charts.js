// The charts of a report, drawn with Observable Plot: scores of each sample, and the latency curves.
"use strict";

(() => {
  const { facts, started, make } = aigate;
  const COLOURS = { baseline: "var(--baseline)", candidate: "var(--candidate)" };
  const FEW = 9; // places that are counted rather than drawn as a cloud
  const MOST_PLACES = 2_500; // more are gathered on a grid
  const GRID = 40;
  const place = (id) => document.getElementById(id);
  const widthOf = (element) => Math.max(280, Math.min(620, element.clientWidth || 560));

  /** Samples by their pair of scores: how many there are at each place. */
  function places([now, before], round) {
    const counts = new Map();
    now.forEach((y, number) => {
      const x = before[number];
      if (y === null || x === null || x === undefined) return;
      const key = `${round(x)} ${round(y)}`;
      const at = counts.get(key) ?? { x: round(x), y: round(y), n: 0 };
      at.n++;
      counts.set(key, at);
    });
    return [...counts.values()];
  }

  function gathered(columns) {
    const exact = places(columns, (value) => value);
    return exact.length > MOST_PLACES ? places(columns, (value) => Math.round(value * GRID) / GRID) : exact;
  }

  function drawScatter() {
    const element = place("scatter");
    if (!element) return;
    const metric = aigate.metric();
    const columns = aigate.scoresOf(metric);
    place("scatter-title").textContent = facts.baseline === null ? `${metric}: how many samples have which score` : `${metric} of each sample: baseline and candidate`;
    const chart = facts.baseline === null ? histogram(columns[0], element) : scatter(columns, metric, element);
    element.replaceChildren(chart);
  }

  function scatter(columns, metric, element) {
    const points = gathered(columns);
    const lower = facts.metrics.find(({ name }) => name === metric)?.direction === "lower";
    const tone = ({ x, y }) => (x === y ? "var(--soft)" : y < x !== lower ? "var(--bad)" : "var(--good)");
    const few = points.length <= FEW;
    const most = Math.max(1, ...points.map(({ n }) => n));
    note(points, columns[0].length);
    return Plot.plot({
      className: "plot",
      width: widthOf(element),
      height: Math.min(420, widthOf(element) * 0.82),
      marginLeft: 48,
      marginBottom: 40,
      ariaLabel: `${metric} of each sample in the baseline and in the candidate`,
      x: { domain: [0, 1], label: "baseline →", inset: few ? 46 : 8, ticks: 5 },
      y: { domain: [0, 1], label: "↑ candidate", inset: few ? 46 : 8, ticks: 5, grid: true },
      r: { domain: [0, most], range: [0, few ? 44 : 14] },
      marks: [
        Plot.line([[0, 0], [1, 1]], { stroke: "var(--line)", strokeDasharray: "4 4" }),
        Plot.dot(points, { x: "x", y: "y", r: (point) => Math.max(point.n, most * (few ? 0.012 : 0.05)), fill: tone, fillOpacity: few ? 0.28 : 0.45, stroke: tone }),
        ...(few ? [Plot.text(points, { x: "x", y: "y", text: ({ n }) => String(n), fontWeight: 600, fontSize: 14, fill: "var(--ink)", stroke: "var(--ground)", strokeWidth: 3 })] : []),
        Plot.tip(points, Plot.pointer({ x: "x", y: "y", fill: "var(--ground)", stroke: "var(--line)", title: ({ x, y, n }) => `${n} sample${n === 1 ? "" : "s"}\n${+x.toFixed(3)} → ${+y.toFixed(3)}` })),
      ],
    });
  }

  function note(points, all) {
    const shown = points.reduce((sum, { n }) => sum + n, 0);
    const missing = all - shown;
    place("scatter-note").textContent = `Below the line the candidate scores lower.${missing ? ` ${missing} without a score in both runs.` : ""}`;
  }

  function histogram(scores, element) {
    const values = scores.filter((value) => value !== null);
    place("scatter-note").textContent = values.length < scores.length ? `${scores.length - values.length} without a score.` : "";
    return Plot.plot({
      className: "plot",
      width: widthOf(element),
      height: 320,
      marginLeft: 48,
      x: { domain: [0, 1.05], label: "score →" },
      y: { grid: true, label: "↑ samples" },
      marks: [Plot.rectY(values, Plot.binX({ y: "count" }, { x: (value) => value, thresholds: Array.from({ length: 22 }, (_, at) => at / 20), fill: COLOURS.candidate })), Plot.ruleY([0])],
    });
  }

  function drawCurves() {
    const element = place("ecdf");
    if (!element) return;
    const arms = Object.entries(facts.latency).filter(([, steps]) => steps.length);
    const points = arms.flatMap(([arm, steps]) => [{ arm, x: steps[0][0], y: 0 }, ...steps.map(([x, y]) => ({ arm, x, y }))]);
    const times = points.map(({ x }) => x).filter((x) => x > 0);
    const typical = Math.max(...arms.map(([, steps]) => steps.find(([, share]) => share >= 0.5)[0]));
    const wide = Math.max(...times) > 20 * typical;
    element.replaceChildren(
      Plot.plot({
        className: "plot",
        width: widthOf(element),
        height: 320,
        marginLeft: 48,
        marginBottom: 40,
        ariaLabel: "Share of answers by latency",
        x: wide ? { type: "log", domain: [Math.min(...times), Math.max(...times)], label: "seconds (log scale) →", grid: true, ticks: 5 } : { domain: [0, Math.max(...times, 0.001)], label: "seconds →", grid: true, ticks: 6 },
        y: { domain: [0, 1], label: "↑ share of answers", tickFormat: (value) => `${Math.round(value * 100)} %`, ticks: 5, grid: true },
        marks: [
          ...arms.map(([arm]) =>
            Plot.line(points.filter((point) => point.arm === arm && (!wide || point.x > 0)), { x: "x", y: "y", stroke: COLOURS[arm], strokeWidth: 2.2, strokeDasharray: arm === "baseline" ? "6 3" : null, curve: "step-after" }),
          ),
          Plot.tip(points, Plot.pointerX({ x: "x", y: "y", fill: "var(--ground)", stroke: "var(--line)", title: ({ arm, x, y }) => `${arm}\n${Math.round(y * 1000) / 10} % took ${+x.toPrecision(3)} s or less` })),
        ],
      }),
    );
  }

  function drawAll() {
    for (const [id, draw] of [["scatter", drawScatter], ["ecdf", drawCurves]]) {
      try {
        draw();
      } catch (error) {
        console.error(error);
        place(id).replaceChildren(make("p", { class: "empty" }, "This chart cannot be drawn."));
      }
    }
    document.documentElement.dataset.charts = "";
  }

  started.then(() => {
    drawAll();
    aigate.onMetric(drawScatter);
  });
})();
