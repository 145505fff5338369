"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const narrow = window.matchMedia("(max-width: 40rem)").matches;
  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const views = [];
  const brushed = new Map();

  // On a touch screen a brush would keep the page from scrolling.
  const withoutBrush = (spec) => {
    if (spec.params) spec.params = spec.params.filter((param) => param.name !== "brush");
    (spec.layer || []).forEach(withoutBrush);
    return spec;
  };

  const prepared = (spec) => {
    const config = structuredClone(charts.config);
    if (narrow) {
      // Words beside each other, over the axes of the figure of lines.
      if (rowsOf(spec) === charts.datasets.trials) texts(spec).forEach((layer) => { layer.mark.limit = 34; });
      config.legend.columns = 2;
      config.axis.labelLimit = 96;
      config.axis.titleFontSize = 11.5;
    }
    const datasets = Object.fromEntries(namesOf(spec).map((name) => [name, charts.datasets[name]]));
    return { ...(coarse || narrow ? withoutBrush(spec) : spec), config, datasets };
  };

  const namesOf = (spec) => [spec, ...(spec.layer || [])].filter((one) => one.data).map((one) => one.data.name);

  // A chart with a brush has the rows of its trials in all of its layers, or in the one that the brush is on.
  const rowsOf = (spec) => namesOf(spec).map((name) => charts.datasets[name]).find((rows) => rows.length && "n" in rows[0]) || [];

  const texts = (spec) => (spec.layer || []).filter((layer) => layer.mark.type === "text" && layer.mark.dx === undefined && layer.mark.align === undefined);

  const inside = (value, range) => {
    if (value === null || value === undefined) return false;
    if (range.length !== 2 || typeof range[0] !== "number") return range.includes(value);
    return Math.min(...range) <= value && value <= Math.max(...range);
  };

  // Of the figure of lines a brush gives parameters and a range of their coordinates.
  const matches = (row, ranges) => {
    if (ranges.axis) return ranges.axis.some((name) => inside(row[name === "score, %" ? "c_" : "c_" + name], ranges.at || [0, 1]));
    return Object.entries(ranges).every(([field, range]) => inside(row[field], range));
  };

  // One after the other: a chart that is being drawn takes no changes.
  let work = Promise.resolve();
  const choose = () => {
    const sets = [...brushed.values()];
    const chosen = sets.length ? sets.reduce((a, b) => new Set([...a].filter((n) => b.has(n)))) : null;
    const value = chosen && Object.fromEntries([...chosen].map((n) => [n, true]));
    work = work.then(async () => {
      for (const view of views) await view.signal("chosen", value || false).runAsync();
    });
    for (const row of document.querySelectorAll("#all-trials tbody tr")) row.hidden = chosen !== null && !chosen.has(Number(row.dataset.n));
    const bar = document.getElementById("chosen");
    bar.hidden = chosen === null;
    if (chosen) bar.firstElementChild.textContent = chosen.size + " of " + charts.datasets.trials.length + " trials chosen";
  };

  const listen = (view, spec) => {
    view.addSignalListener("brush", (_, ranges) => {
      const rows = rowsOf(spec).filter((row) => matches(row, ranges));
      if (Object.keys(ranges).length) brushed.set(view, new Set(rows.map((row) => row.n)));
      else if (!brushed.delete(view)) return;
      choose();
    });
  };

  const has = (spec, name) => [spec, ...(spec.layer || [])].some((one) => (one.params || []).some((param) => param.name === name));

  const draw = async () => {
    for (const element of document.querySelectorAll(".chart")) {
      const spec = prepared(charts.panels[element.dataset.figure][Number(element.dataset.panel)]);
      const options = { mode: "vega-lite", renderer: "svg", actions: false, logLevel: 1, tooltip: { theme: "custom" } };
      const { view } = await vegaEmbed(element, spec, options);
      if (has(spec, "chosen")) views.push(view);
      if (has(spec, "brush")) listen(view, spec);
      element.querySelector("svg").setAttribute("aria-hidden", "true");
      element.dataset.drawn = "yes";
    }
    document.documentElement.dataset.drawn = "yes";
  };

  const clear = () => {
    const cleared = [...brushed.keys()];
    brushed.clear();
    work = work.then(async () => {
      for (const view of cleared) await view.signal("brush_x", []).signal("brush_y", []).runAsync();
    });
    choose();
  };

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.by ?? row.cells[column].textContent;
      const order = (a, b) => (isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b));
      const rows = [...table.tBodies[0].rows].sort((a, b) => (down ? order(b, a) : order(a, b)));
      table.tBodies[0].append(...rows);
    }));
  };

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelector("#chosen button").addEventListener("click", clear);
  draw();
})();
